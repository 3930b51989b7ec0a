//! Several servers on one database: what one of them ends, it refuses at once, and the others as soon as they hear of it.

use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;
use tonic::Code;

use crate::support::{
    Api, TestDatabase, TestServer, eventually,
    keys::{key_line, mint_with_id, token_id},
};

async fn revoke(api: &mut Api, id: &str) {
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id.to_owned() };
    api.tokens.delete_personal_access_token(request).await.unwrap();
}

#[tokio::test]
async fn a_revocation_counts_at_once_where_it_is_made_and_soon_everywhere() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let [second, third] =
        [TestServer::start_beside(&first, &database).await, TestServer::start_beside(&first, &database).await];
    let token = first.user(&database, "dev@example.com").await;
    for round in 0..20 {
        let other = first.token(&database, "dev@example.com", &[]).await;
        let mut callers = Vec::new();
        for server in [&first, &second, &third] {
            let mut api = server.api(&other).await;
            // Twice: looked up, and remembered.
            for _ in 0..2 {
                api.whoami().await.unwrap();
            }
            callers.push(api);
        }
        let revoking = [&first, &second, &third][round % 3];
        revoke(&mut revoking.api(&token).await, &token_id(&other)).await;
        let refused = callers[round % 3].whoami().await.expect_err("who has revoked it knows");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        for mut api in callers {
            let refused = eventually("the others hear of it", async || api.clone().whoami().await.err()).await;
            assert!(refused.message().starts_with("token revoked on"), "{refused}");
            api.whoami().await.expect_err("it stays so");
        }
    }
}

#[tokio::test]
async fn one_statement_that_revokes_a_hundred_thousand_tokens_reaches_everybody() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let [second, third] =
        [TestServer::start_beside(&first, &database).await, TestServer::start_beside(&first, &database).await];
    let token = first.user(&database, "dev@example.com").await;
    let others = [first.token(&database, "dev@example.com", &[]).await, first.user(&database, "b@example.com").await];
    database.add_tokens(&token_id(&token), 100_000).await;
    let mut callers = Vec::new();
    for server in [&first, &second, &third] {
        for token in [&token, &others[0], &others[1]] {
            let mut api = server.api(token).await;
            for _ in 0..2 {
                api.whoami().await.unwrap();
            }
            callers.push(api);
        }
    }
    let revoke = "UPDATE personal_access_tokens SET revoked_at = now() WHERE revoked_at IS NULL";
    assert_eq!(database.owner().await.execute(revoke, &[]).await.unwrap(), 100_003);
    for api in callers {
        let refused = api.becomes_refused().await;
        assert!(refused.message().starts_with("token revoked on"), "{refused}");
    }
}

#[tokio::test]
async fn what_is_remembered_is_not_asked_for_again() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    api.whoami().await.unwrap();
    // Whoever looks a token up waits from now on.
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; LOCK principals IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for _ in 0..100 {
        api.whoami().await.unwrap();
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_forged_text_with_a_remembered_id_is_refused_and_changes_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    api.whoami().await.unwrap();
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; LOCK principals IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let id = token_id(&token).parse().unwrap();
    // Made with the server's own key, of the same ID: its tag is good, and its secret another.
    for (_, forged) in [mint_with_id(&server.keys(), 1, id), mint_with_id(&key_line(1), 1, id)] {
        let refused = server.api(forged.text.expose()).await.whoami().await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert!(refused.message().starts_with("a valid token is needed"), "a stranger is told nothing: {refused}");
        api.whoami().await.unwrap();
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
}
