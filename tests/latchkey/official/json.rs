//! The clients that speak plain JSON: `gitpod-sdk` 0.7.0 for Python, and `@gitpod/sdk` for TypeScript. They put the size and the token
//! of a page into the query alone, watch in JSON lines, and try again what failed unless they are told that it is of no use.

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
async fn whoever_goes_on_guessing_is_told_to_wait() {
    for client in BOTH {
        // Tries are counted for each address: of one client, and not of both.
        let database = TestDatabase::create().await;
        let server = TestServer::start(&database).await;
        let token = server.user(&database, "dev@example.com").await;
        run(client, "whoever_goes_on_guessing_is_told_to_wait", &server.url(), &token, &[]).await;
    }
}

#[tokio::test]
async fn a_time_out_of_a_call_is_the_clients_own_and_nothing_is_done_for_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let other = token_id(&server.token(&database, "dev@example.com", &[]).await);
    // Revoking a token waits for its row.
    let mut owner = database.owner().await;
    let holding = owner.transaction().await.unwrap();
    holding.execute("SELECT FROM personal_access_tokens FOR NO KEY UPDATE", &[]).await.unwrap();
    for client in BOTH {
        run(client, "a_call_that_takes_too_long", &server.url(), &token, &[&other]).await;
    }
    let superuser = database.superuser().await;
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("nobody waits", async || (superuser.execute(waiting, &[]).await.unwrap() == 0).then_some(())).await;
    holding.rollback().await.unwrap();
    let revoked = "SELECT count(*) FROM personal_access_tokens WHERE revoked_at IS NOT NULL";
    assert_eq!(database.number(revoked, &[]).await, 0);
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

#[tokio::test]
async fn what_is_mended_meanwhile_comes_to_a_good_end() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    for client in BOTH {
        let directory = tempfile::tempdir().unwrap();
        let refused = directory.path().join("refused");
        database.cluster().stop().await;
        eventually("it is noticed", async || api.clone().whoami().await.err()).await;
        let mending = async {
            eventually("it was refused", async || refused.exists().then_some(())).await;
            database.cluster().start_again().await;
        };
        let url = server.url();
        let arguments = [refused.to_str().unwrap()];
        tokio::join!(run(client, "what_is_mended_meanwhile", &url, &token, &arguments), mending);
    }
}
