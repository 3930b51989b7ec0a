//! The commands at work: on an embedded PostgreSQL and on one that was there before, without a server and beside one.

use std::{fs, io::Write, path::Path};

use tempfile::TempDir;

use super::{Directory, Operator, keys_in, takes};
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::key_line, token_text::token_id};

/// A user gets tokens, which are listed and revoked. Gives one that is left.
async fn makes_and_revokes(operator: &Operator, server: Option<&TestServer>, email: &str) -> String {
    let user = operator.creates_user(email).await;
    let first = operator.creates_token(email, &[]).await;
    let second = operator.creates_token(email, &["--read-only", "--valid-for", "90d"]).await;
    let (first_id, second_id) = (token_id(&first), token_id(&second));
    assert_eq!(operator.lists_ids(&["--user", email]).await, [second_id.as_str(), &first_id], "newest first");
    let everybody = operator.lists(&[]).await;
    for id in [&first_id, &second_id] {
        assert!(everybody.iter().any(|fields| fields[0] == *id && fields[1] == user), "{everybody:?}");
    }
    if let Some(server) = server {
        assert!(takes(server, &first).await && takes(server, &second).await);
    }

    assert_eq!(operator.does(&["revoke-token", &first_id]).await, "");
    if let Some(server) = server {
        let refused = server.api(&first).await.becomes_refused().await;
        assert!(refused.message().starts_with("token revoked on "), "{refused:?}");
        assert!(takes(server, &second).await, "it was another");
    }
    assert_eq!(operator.lists_ids(&["--user", email]).await, [second_id.as_str()], "revoked ones are hidden");
    assert_eq!(operator.does(&["revoke-token", &first_id]).await, "", "it is revoked, as was asked for");
    second
}

/// Adds another signing key to a file, in the way that README.md shows.
async fn adds_key(operator: &Operator, file: &Path) {
    let line = operator.does(&["generate-signing-key", "--generation", "2"]).await;
    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
}

/// The whole of it, from nothing.
async fn works(operator: &Operator, keys: &Path, start: impl AsyncFn() -> TestServer) {
    let early = makes_and_revokes(operator, None, "early@example.com").await;
    adds_key(operator, keys).await;

    let mut server = start().await;
    assert!(takes(&server, &early).await, "it was made before there was a server");
    let late = makes_and_revokes(operator, Some(&server), "late@example.com").await;
    assert_eq!(operator.does(&["activate-generation", "2"]).await, "");
    let newer = operator.creates_token("late@example.com", &[]).await;
    assert!(takes(&server, &newer).await);
    let said = operator.does(&["revoke-generation", "2"]).await;
    assert_eq!(said, "revoked generation 2 and 1 tokens made with it\n");
    let refused = server.api(&newer).await.becomes_refused().await;
    assert!(refused.message().starts_with("token revoked on "), "{refused:?}");
    assert!(takes(&server, &early).await && takes(&server, &late).await, "they were made with another key");
    assert_eq!(operator.lists_ids(&[]).await, [token_id(&late), token_id(&early)]);
    assert!(server.stop().await);

    let said = operator.does(&["revoke-generation", "1"]).await;
    assert_eq!(said, "revoked generation 1 and 2 tokens made with it\n");
    assert_eq!(operator.lists(&[]).await, Vec::<Vec<String>>::new());
    let mut server = start().await;
    for token in [&early, &late] {
        let refused = server.api(token).await.whoami().await.unwrap_err();
        assert!(refused.message().starts_with("token revoked on "), "{refused:?}");
    }
    assert!(server.stop().await);
}

#[tokio::test]
async fn commands_work_on_a_data_directory_without_a_server_and_beside_one() {
    let directory = Directory::new();
    let operator = Operator::of_directory(&directory);
    let start = async || {
        let data_dir = Some(directory.path().to_owned());
        TestServer::launch(ServerOptions { data_dir, ..ServerOptions::default() }).await.unwrap()
    };
    operator.creates_user("first@example.com").await;
    assert_eq!(directory.postmaster(), None, "a command ends what it began");
    works(&operator, &directory.signing_keys(), start).await;
    assert_eq!(directory.postmaster(), None);
}

#[tokio::test]
async fn commands_work_on_a_database_without_a_server_and_beside_one() {
    // Without any table: the first command makes them.
    let database = TestDatabase::create_empty().await;
    let place = TempDir::new().unwrap();
    let keys = keys_in(&place, &key_line(1));
    let start = async || {
        let args = vec!["--signing-keys".to_owned(), keys.display().to_string()];
        TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await
    };
    works(&Operator::of_database(&database).with_keys(&keys), &keys, start).await;
}

#[tokio::test]
async fn where_the_data_is_may_be_said_by_variables() {
    let database = TestDatabase::create().await;
    let place = TempDir::new().unwrap();
    let keys = keys_in(&place, &key_line(1));
    let mut command = super::latchkey();
    command
        .args(["admin", "create-user", "--email", "dev@example.com"])
        .env("LATCHKEY_DATABASE_URL", database.serving_url())
        .env("LATCHKEY_OWNER_DATABASE_URL", database.owner_url());
    crate::support::Ran::of(command).await.ended(0);
    for variable in ["LATCHKEY_SIGNING_KEYS", "LATCHKEY_DATA_DIR"] {
        let mut command = super::latchkey();
        command
            .args(["admin", "create-token", "--user", "dev@example.com", "--description", "x"])
            .env("LATCHKEY_DATABASE_URL", database.owner_url())
            .env(variable, if variable.ends_with("DIR") { place.path() } else { &keys });
        crate::support::Ran::of(command).await.ended(0);
    }
    let operator = Operator::of_database(&database);
    assert_eq!(operator.lists(&["--user", "dev@example.com"]).await.len(), 2);

    let directory = Directory::new();
    let mut command = super::latchkey();
    command.args(["admin", "create-user", "--email", "dev@example.com"]).env("LATCHKEY_DATA_DIR", directory.path());
    crate::support::Ran::of(command).await.ended(0);
    assert!(directory.path().join("postgres").exists());
}

#[tokio::test]
async fn what_needs_no_signing_key_asks_for_none() {
    let database = TestDatabase::create().await;
    let place = TempDir::new().unwrap();
    let keys = keys_in(&place, &key_line(1));
    let without = Operator::of_database(&database);
    without.creates_user("dev@example.com").await;
    let create = ["admin", "create-token", "--user", "dev@example.com", "--description", "x"];
    let ran = without.run(&create).await.ended(1).saying("no file of signing keys").saying("--signing-keys");
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    let token = Operator::of_database(&database).with_keys(&keys).creates_token("dev@example.com", &[]).await;
    assert_eq!(without.lists_ids(&[]).await, [token_id(&token)]);
    without.does(&["revoke-token", &token_id(&token)]).await;
    assert_eq!(without.lists_ids(&[]).await, Vec::<String>::new());
    without.does(&["revoke-generation", "1"]).await;
}
