//! The clients that speak plain JSON: `gitpod-sdk` 0.7.0 for Python, and `@gitpod/sdk` for TypeScript. They put the size and the token
//! of a page into the query alone, watch in JSON lines, and try again what failed unless they are told that it is of no use.

use std::path::Path;

use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;

use super::script::{
    Client::{self, Json, TypeScript},
    run,
};
use crate::support::{LocalServer, TestDatabase, TestServer, eventually, keys::token_id};

const BOTH: [Client; 2] = [Json, TypeScript];

#[tokio::test]
async fn environments_live_and_die_by_each_client() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    let token = local.user("dev@example.com").await;
    for client in BOTH {
        for base in ["", "/api"] {
            let base = format!("{}{base}", local.server().url());
            run(client, "the_life_of_an_environment", &base, &token, &["https://github.com/owner/name"]).await;
        }
    }
}

#[tokio::test]
async fn lists_come_to_their_end_with_everything_once() {
    for client in BOTH {
        let database = TestDatabase::create().await;
        let server = TestServer::start(&database).await;
        let token = server.user(&database, "dev@example.com").await;
        let mut api = server.api(&token).await;
        for number in 0..4 {
            api.create_token(&format!("number {number}")).await;
        }
        let mut environments = vec![];
        for _ in 0..3 {
            environments.push(database.environment_of(&token_id(&token)).await);
        }
        let environments: Vec<&str> = environments.iter().map(String::as_str).collect();
        run(client, "lists_end_and_have_everything_once", &server.url(), &token, &environments).await;
    }
}

#[tokio::test]
async fn errors_arrive_as_each_clients_own_exceptions() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let reader = server.token(&database, "dev@example.com", &["--read-only"]).await;
    for client in BOTH {
        run(client, "errors_are_the_clients_own", &server.url(), &token, &[&reader]).await;
        run(client, "what_cannot_be_mended_is_asked_once", &server.url(), &token, &[]).await;
    }
    run(Json, "a_time_out_is_the_clients_own", &server.url(), &token, &[]).await;
}

#[tokio::test]
async fn events_come_line_by_line_until_the_token_ends() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let watching = api.create_token("watches").await.token;
    let directory = tempfile::tempdir().unwrap();
    let files = ["watching", "created", "deleted"].map(|name| directory.path().join(name));
    let there = async |file: &Path| {
        eventually(&format!("{} is there", file.display()), async || file.exists().then_some(())).await;
    };
    let happening = async {
        there(&files[0]).await;
        database.environment_of(&token_id(&token)).await;
        there(&files[1]).await;
        database.owner().await.batch_execute("DELETE FROM environments").await.unwrap();
        there(&files[2]).await;
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&watching) };
        api.tokens.delete_personal_access_token(request).await.unwrap();
    };
    let url = server.url();
    let arguments: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    tokio::join!(run(Json, "events_come_as_they_happen", &url, &watching, &arguments), happening);
}

#[tokio::test]
async fn what_may_be_mended_is_asked_again_and_nothing_else() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    database.cluster().stop().await;
    let api = server.api(&token).await;
    eventually("it is noticed", async || api.clone().whoami().await.err()).await;
    run(Json, "what_may_be_mended_is_asked_again", &server.url(), &token, &[]).await;
}
