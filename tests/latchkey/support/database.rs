//! A database for one test.

use std::sync::atomic::{AtomicU32, Ordering};

use latchkey::embedded::Role;
use tokio::sync::Mutex;

use super::{
    PrivateCluster, Replication,
    cluster::{self, TEMPLATE},
};

/// A copy of the template, dropped with this value; or the database of a cluster of the test's own.
pub struct TestDatabase {
    name: String,
    private: Option<PrivateCluster>,
    replicated: Option<Replication>,
}

/// PostgreSQL copies a template for one at a time.
static COPYING: Mutex<()> = Mutex::const_new(());

impl TestDatabase {
    /// Makes the copy.
    pub async fn create() -> Self {
        Self::create_from(TEMPLATE).await
    }

    /// Makes a database without any tables.
    pub async fn create_empty() -> Self {
        Self::create_from("template1").await
    }

    async fn create_from(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let superuser = cluster::shared().superuser("postgres").await;
        let _one_at_a_time = COPYING.lock().await;
        let owner = Role::Owner.name();
        superuser.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")).await.unwrap();
        Self { name, private: None, replicated: None }
    }

    /// The empty database of a cluster that the test may stop.
    pub async fn create_private() -> Self {
        let private = Some(PrivateCluster::start().await);
        Self { name: latchkey::embedded::DATABASE.to_owned(), private, replicated: None }
    }

    /// The empty database of a primary that has a standby.
    pub async fn create_replicated() -> Self {
        let replicated = Some(Replication::start().await);
        Self { name: latchkey::embedded::DATABASE.to_owned(), private: None, replicated }
    }

    /// The primary and the standby of [`TestDatabase::create_replicated`].
    pub fn replication(&mut self) -> &mut Replication {
        self.replicated.as_mut().expect("the database is a replicated one")
    }

    /// The cluster of [`TestDatabase::create_private`].
    pub fn cluster(&self) -> &PrivateCluster {
        self.private.as_ref().expect("the database is one of a private cluster")
    }

    fn url(&self, role: Role) -> String {
        match (&self.private, &self.replicated) {
            (Some(private), _) => private.url(role),
            (None, Some(replicated)) => replicated.url(role),
            (None, None) => cluster::shared().url(role, &self.name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the serving role connects.
    pub fn serving_url(&self) -> String {
        self.url(Role::Serving)
    }

    /// How the owner connects.
    pub fn owner_url(&self) -> String {
        self.url(Role::Owner)
    }

    /// A connection of the owner.
    pub async fn owner(&self) -> tokio_postgres::Client {
        cluster::connect(&self.owner_url()).await
    }

    /// A connection of the serving role.
    pub async fn serving(&self) -> tokio_postgres::Client {
        cluster::connect(&self.serving_url()).await
    }

    /// A connection of the superuser.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        cluster::connect(&self.url(Role::Superuser)).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.private.is_some() || self.replicated.is_some() {
            return;
        }
        let name = std::mem::take(&mut self.name);
        // On a thread of its own: the test's runtime may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let superuser = cluster::shared().superuser("postgres").await;
                superuser.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            })
        });
        let _ = dropped.join();
    }
}
