//! Who gets in, and what the serving role may do.

use std::process::Command;

use latchkey::embedded::{Account, Cluster, ClusterConfig, DataDirectoryLock, Role, Start};
use nix::unistd::Uid;
use tokio_postgres::NoTls;

use crate::account::{run, skip_unless_root};
use crate::place::{Place, WAIT, await_true, connect, text};

pub async fn the_serving_role_makes_nothing() {
    let place = Place::new();
    let (cluster, _lock) = place.start().await;
    let serving = connect(&cluster.connection(Role::Serving)).await;
    for statement in [
        "CREATE TABLE t (n int)",
        "CREATE TEMPORARY TABLE t (n int)",
        "CREATE SCHEMA s",
        "CREATE DATABASE d",
        "CREATE ROLE r",
        "SET ROLE latchkey_owner",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER SYSTEM SET fsync = off",
    ] {
        let error = serving.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{statement}: {error:?}");
    }
    let rights = "SELECT concat(rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls) FROM pg_roles \
                  WHERE rolname = current_user";
    assert_eq!(text(&serving, rights).await, "fffff");
    for database in ["postgres", "template1"] {
        let Err(error) = tokio_postgres::connect(&cluster.connection_to(Role::Serving, database), NoTls).await else {
            panic!("the serving role may connect to {database}");
        };
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error:?}");
    }
}

#[test]
fn other_accounts_get_in_only_by_the_map() {
    if skip_unless_root() {
        return;
    }
    run(async {
        let place = Place::new();
        let (daemon, nobody) = (Account::named("daemon").unwrap(), Account::named("nobody").unwrap());
        let config = ClusterConfig { accounts: vec!["daemon".to_owned()], ..ClusterConfig::default() };
        let cluster = Cluster::open(&place.directory, config).unwrap();
        let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
        cluster.ensure_running(&lock).await.unwrap();
        let psql = |uid: Uid, gid: nix::unistd::Gid, role| {
            let connection = cluster.connection(role);
            let output = Command::new("setpriv")
                .args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "psql"])
                .args(["-XAtc", "SELECT current_user", &connection])
                .current_dir("/")
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
        };
        assert_eq!(psql(daemon.uid(), daemon.gid(), Role::Serving), (true, "latchkey_serving".to_owned()));
        for (uid, gid, role, reason) in [
            (daemon.uid(), daemon.gid(), Role::Owner, "Peer authentication failed"),
            (daemon.uid(), daemon.gid(), Role::Superuser, "Peer authentication failed"),
            // With the group that passes the directory, so that it is the peer check that refuses.
            (nobody.uid(), daemon.gid(), Role::Serving, "Peer authentication failed"),
            (nobody.uid(), daemon.gid(), Role::Superuser, "Peer authentication failed"),
            (nobody.uid(), nobody.gid(), Role::Serving, "Permission denied"),
        ] {
            let (success, said) = psql(uid, gid, role);
            assert!(!success && said.contains(reason), "{uid} {gid} {role:?}: {said}");
        }
        // Who may connect follows the configuration, also of a PostgreSQL that is adopted.
        let cluster = Cluster::open(&place.directory, ClusterConfig::default()).unwrap();
        assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
        await_true(|| !psql(daemon.uid(), daemon.gid(), Role::Serving).0, "the refusal of an account no longer named");
    });
}
