//! One PostgreSQL for all tests of this program, and a migrated template that their databases are copies of.

use std::{
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use latchkey::{
    embedded::{Cluster, ClusterConfig, DataDirectory, DataDirectoryLock, Role},
    store::{StoreConfig, build_indexes, migrate},
};
use tokio_postgres::NoTls;

/// What a server that root starts connects as.
pub fn server_account() -> Vec<String> {
    if nix::unistd::geteuid().is_root() { vec!["latchkey".to_owned()] } else { Vec::new() }
}

/// The template's name.
pub const TEMPLATE: &str = "template_latchkey";

/// How to reach the cluster.
pub struct Shared {
    cluster: Cluster,
    _lock: DataDirectoryLock,
}

/// The cluster, started when it is first asked for.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        // A thread and a runtime of its own: tests' runtimes come and go.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let shared = runtime.block_on(start());
            // Kept for the life of the process: the child's reaper lives in it.
            std::mem::forget(runtime);
            shared
        })
        .join()
        .unwrap()
    })
}

impl Shared {
    /// A connection string for a database of the cluster.
    pub fn url(&self, role: Role, database: &str) -> String {
        self.cluster.connection_to(role, database)
    }

    /// A connection of the superuser.
    pub async fn superuser(&self, database: &str) -> tokio_postgres::Client {
        connect(&self.url(Role::Superuser, database)).await
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the cluster takes connections");
    tokio::spawn(async move {
        // Ends when the client is dropped, or when the test stops PostgreSQL.
        let _ = connection.await;
    });
    client
}

async fn start() -> Shared {
    let directory = tempfile::Builder::new().prefix("latchkey-tests-").tempdir().unwrap().keep();
    let data = DataDirectory::open(&directory).unwrap();
    let lock = DataDirectoryLock::for_server(&data, Duration::from_secs(1)).await.unwrap();
    let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let config = ClusterConfig {
        // Throw-away data. Many tests, each with some pools.
        options: vec![option("fsync", "off"), option("max_connections", "400"), option("shared_buffers", "64MB")],
        accounts: server_account(),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::open(&data, config).unwrap();
    cluster.ensure_running(&lock).await.unwrap();
    let postmaster = cluster.postmaster_pid().await.unwrap().expect("it has just been started");
    clean_up_after(postmaster, &directory);

    let owner = Role::Owner.name();
    let superuser = connect(&cluster.connection_to(Role::Superuser, "postgres")).await;
    superuser.batch_execute(&format!("CREATE DATABASE {TEMPLATE} OWNER {owner}")).await.unwrap();
    let template = StoreConfig::parse(&cluster.connection_to(Role::Owner, TEMPLATE)).unwrap();
    migrate(&template).await.unwrap();
    assert!(build_indexes(&template).await.unwrap());
    Shared { cluster, _lock: lock }
}

/// Leaves a process behind that ends PostgreSQL and removes its files when this one has ended, however it ends: a test
/// program has no last moment of its own. It waits for the end of a pipe that this process holds.
fn clean_up_after(postmaster: i32, directory: &std::path::Path) {
    // A zombie counts as ended: whoever could collect it may be waiting for this very script.
    let script = format!(
        "read -r _; kill -INT {postmaster}; \
         while grep -q '^State:[[:space:]]*[^ZX[:space:]]' /proc/{postmaster}/status 2>/dev/null; do sleep 0.1; done; rm -rf \"$0\""
    );
    let child = Command::new("setsid")
        .args(["sh", "-c", &script])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(child);
}
