//! `gitpod-sdk` 1.2.0 for Python. It makes a connection for each call, appends to the base URL as it is, and looks at an
//! environment before it watches it.

use super::script::{Client::Protobuf, run};
use crate::support::{LocalServer, TestDatabase, TestServer, eventually};

#[tokio::test]
async fn environments_live_and_die_by_the_client_under_every_base_url() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    let token = local.user("dev@example.com").await;
    for base in ["", "/", "/api", "/api/"] {
        let base = format!("{}{base}", local.server().url());
        run(Protobuf, "the_life_of_an_environment", &base, &token, &["https://github.com/owner/name"]).await;
    }
}

#[tokio::test]
async fn an_environment_is_made_from_a_branch() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    local.git.add_commit("owner/name", "side", "main", &[("side.txt", "x\n")]);
    let token = local.user("dev@example.com").await;
    run(Protobuf, "an_environment_from_git", &local.server().url(), &token, &["https://github.com/owner/name"]).await;
}

#[tokio::test]
async fn why_an_environment_failed_is_told_by_the_client() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    run(Protobuf, "an_environment_that_fails", &local.server().url(), &token, &["https://github.com/owner/none"]).await;
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_by_the_client() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    run(Protobuf, "identity_and_tokens", &format!("{}/api", server.url()), &token, &[]).await;
}

#[tokio::test]
async fn errors_arrive_as_the_clients_own_exceptions() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let reader = server.token(&database, "dev@example.com", &["--read-only"]).await;
    run(Protobuf, "errors_are_the_clients_own", &server.url(), &token, &[&reader]).await;
    run(Protobuf, "a_deadline_ends_a_watch", &server.url(), &token, &[]).await;
}

#[tokio::test]
async fn whoever_goes_on_guessing_is_told_to_wait() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    run(Protobuf, "whoever_goes_on_guessing_is_told_to_wait", &server.url(), &token, &[]).await;
}

#[tokio::test]
async fn an_outage_arrives_as_unavailable() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    database.cluster().stop().await;
    eventually("it is noticed", async || api.clone().whoami().await.err()).await;
    run(Protobuf, "unavailable_is_not_tried_again", &server.url(), &token, &[]).await;
    // All that was asked over HTTP with its statuses: the test's own client speaks gRPC, whose status is always 200.
    let asked = server.log().lines().filter(|line| line.contains("answered status=503")).count();
    assert_eq!(asked, 1, "{}", server.log());
    database.cluster().start_again().await;
    eventually("all is well again", async || api.clone().whoami().await.ok()).await;
}
