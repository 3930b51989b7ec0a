//! Migrations by several at once, and behind somebody who does not let go.

use std::{collections::HashSet, process::Stdio, time::Duration};

use latchkey::store::{MigrateError, StoreConfig, migrate};
use tokio::process::Command;

use crate::support::{TestDatabase, TestServer, eventually, keys::key_line, server::LATCHKEY};

/// The lock that those who migrate take: "latchkey" in ASCII.
const LOCK: &str = "SELECT pg_advisory_lock(7809651199139603833)";

async fn migrate_by_command(database: &TestDatabase) -> (bool, String) {
    let output = Command::new(LATCHKEY)
        .args(["migrate", "--database-url", &database.owner_url()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn servers_and_commands_migrate_an_empty_database_at_once() {
    let database = TestDatabase::create_empty().await;
    let key = key_line(1);
    let options = || crate::support::ServerOptions { signing_keys: Some(key.clone()), ..Default::default() };
    let commands = futures::future::join_all((0..4).map(|_| migrate_by_command(&database)));
    let (one, two, said) = tokio::join!(
        TestServer::try_start_with(&database, options()),
        TestServer::try_start_with(&database, options()),
        commands
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    let mut names = HashSet::new();
    for (success, said) in said {
        assert!(success, "{said}");
        for name in said.lines() {
            assert!(names.insert(name.to_owned()), "{name} ran twice");
        }
    }
    let owner = database.owner().await;
    let run: i64 = owner.query_one("SELECT count(*) FROM __diesel_schema_migrations", &[]).await.unwrap().get(0);
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert_eq!(usize::try_from(run).unwrap(), folders);
    let organizations: i64 = owner.query_one("SELECT count(*) FROM organizations", &[]).await.unwrap().get(0);
    assert_eq!(organizations, 1);
    let token = one.user(&database, "dev@example.com").await;
    two.api(&token).await.whoami().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_the_lock_taken_waits_and_then_says_so() {
    let database = TestDatabase::create_empty().await;
    let holder = database.owner().await;
    holder.batch_execute(LOCK).await.unwrap();
    let waiting = migrate_by_command(&database);
    let released = async {
        eventually("the command asks for the lock", async || {
            let asking = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid() AND datname = current_database()";
            (holder.query_one(asking, &[]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
        })
        .await;
        let made = "SELECT to_regclass('organizations')::text";
        assert_eq!(holder.query_one(made, &[]).await.unwrap().get::<_, Option<&str>>(0), None, "it does wait");
        // Nor does it wait for ever.
        let mut impatient = StoreConfig::parse(&database.owner_url()).unwrap();
        impatient.migration_patience = Duration::from_millis(200);
        let refused = migrate(&impatient).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Locked(_)), "{refused}");
        assert!(refused.to_string().contains("another server has been migrating this database for more than"));
        holder.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    };
    let ((success, said), ()) = tokio::join!(waiting, released);
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert!(success && said.lines().count() == folders, "{said}");
}
