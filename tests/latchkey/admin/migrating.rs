//! Bringing the tables up to date, and a role that may not.

use std::fs;

use tempfile::TempDir;

use super::{Directory, Operator, keys_in};
use latchkey::embedded::Role;

use crate::support::{Ran, ServerOptions, TestDatabase, TestServer, keys::key_line};

/// The names of all migrations, in their order.
fn migrations() -> String {
    let folders = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut names: Vec<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().map(|name| name.split('_').next().unwrap().replace('-', "") + "\n").collect()
}

#[tokio::test]
async fn a_data_directory_is_migrated_once_without_a_server_and_beside_one() {
    let directory = Directory::new();
    let operator = Operator::of_directory(&directory);
    let ran = operator.run(&["migrate"]).await.ended(0);
    assert_eq!((ran.stdout, ran.stderr.as_str()), (migrations(), ""), "the names of what has run");
    assert_eq!(directory.postmaster(), None, "it ends what it began");
    assert!(!directory.signing_keys().exists(), "nothing but the tables is made");
    for _ in 0..2 {
        let ran = operator.run(&["migrate"]).await.ended(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    }
    let data_dir = Some(directory.path().to_owned());
    let mut server = TestServer::launch(ServerOptions { data_dir, ..ServerOptions::default() }).await.unwrap();
    assert_eq!(operator.run(&["migrate"]).await.ended(0).stdout, "");
    server.anonymous().await.whoami().await.expect_err("it serves, and knows nobody");
    assert!(directory.postmaster().is_some(), "it is the server's");
    assert!(server.stop().await);
    assert_eq!(directory.postmaster(), None);
}

/// What a server, and each command, says with just this URL.
async fn refused(url: &str, keys: &str) -> Vec<Ran> {
    let place = ["--database-url", url, "--signing-keys", keys];
    let mut all = Vec::new();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off"][..],
        &["migrate"],
        &["admin", "list-tokens"],
        &["admin", "create-user", "--email", "dev@example.com"],
    ] {
        let mut command = super::latchkey();
        command.args(arguments).args(place);
        let ran = Ran::of(command).await.ended(1);
        assert!(ran.stdout.is_empty(), "{arguments:?}: {ran:#?}");
        all.push(ran);
    }
    all
}

#[tokio::test]
async fn a_role_that_may_not_migrate_is_told_to_name_the_owner() {
    let place = TempDir::new().unwrap();
    let keys = keys_in(&place, &key_line(1)).display().to_string();
    // Whether there is something to migrate, or nothing any more.
    for database in [TestDatabase::create_empty().await, TestDatabase::create().await] {
        for ran in refused(&database.serving_url(), &keys).await {
            let ran = ran.saying("latchkey_serving may not migrate this database");
            ran.saying("--owner-database-url").saying("LATCHKEY_OWNER_DATABASE_URL");
        }
    }
    // The advice, taken.
    let database = TestDatabase::create_empty().await;
    let urls = ["--database-url", &database.serving_url(), "--owner-database-url", &database.owner_url()];
    let mut command = super::latchkey();
    command.arg("migrate").args(urls);
    assert_eq!(Ran::of(command).await.ended(0).stdout, migrations());
}

#[tokio::test]
async fn the_owner_may_serve_once_it_has_been_granted_that() {
    // A cluster of its own: a grant is the whole cluster's.
    let database = TestDatabase::create_private().await;
    database.cluster().let_server_in_as(Role::Owner, &database.superuser().await).await;
    let signing_keys = Some(key_line(1));
    let args = ["--database-url".to_owned(), database.owner_url()].to_vec();
    let serve = async || {
        let options = ServerOptions { args: args.clone(), signing_keys: signing_keys.clone(), ..Default::default() };
        TestServer::launch(options).await
    };
    let said = serve().await.err().expect("it does not start");
    assert!(said.contains("permission denied to set role") && said.contains("--database-url"), "{said}");
    let (_, advice) = said.trim_end().split_once("have an administrator run: ").expect("there is a way out");
    assert_eq!(advice, "GRANT latchkey_serving TO latchkey_owner");
    database.superuser().await.batch_execute(advice).await.unwrap();
    let server = serve().await.unwrap();
    let token = server.user(&database, "dev@example.com").await;
    assert!(super::takes(&server, &token).await);
}
