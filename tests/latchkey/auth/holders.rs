//! Who proves to hold a token that is good no more is told why, and since when; and what cannot be decided is called so.

use std::time::Duration;

use latchkey::{
    domain::token::{Generation, SigningKeys},
    pb::gitpod::v1::{CreateEnvironmentAccessTokenRequest, DeletePersonalAccessTokenRequest},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use uuid::Uuid;

use super::minted;
use crate::support::{
    Caller, TestDatabase, TestServer, WHOAMI, details, eventually, http1,
    token_text::{TokenText, token_id},
    told,
};

const CREATE: &str = "/gitpod.v1.TokenService/CreatePersonalAccessToken";
const EXEC: &str = "/supervisor.v1.EnvironmentOpsService/Exec";

/// Reads and writes are refused, with one message, as soon as the server has heard of it.
async fn refused(caller: &Caller, token: &str, message: &str) {
    let read = eventually(message, async || {
        caller.call_with_token(WHOAMI, token).await.err().filter(|status| status.message() == message)
    })
    .await;
    let write = caller.call_with_token(CREATE, token).await.unwrap_err();
    assert_eq!(told(&read), told(&write));
    assert_eq!(read.code(), Code::Unauthenticated);
    assert_eq!(details(&read).error_info().unwrap().reason, "UNAUTHENTICATED");
}

/// A time of a token, as RFC 3339 has it.
async fn time(database: &TestDatabase, column: &str, id: &str) -> String {
    let query = format!(
        "SELECT to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM personal_access_tokens
         WHERE id = $1::text::uuid"
    );
    database.text(&query, &[&id]).await
}

#[tokio::test]
async fn expired_revoked_and_suspended() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let other = server.user(&database, "other@example.com").await;
    let id = token_id(&token);
    let caller = Caller::connect(&server.url()).await;

    database.suspend("dev@example.com", true).await;
    let message = "the account of this token is suspended; ask an admin of your organization";
    refused(&caller, &token, message).await;
    caller.call_with_token(WHOAMI, &other).await.expect("nobody else is suspended");
    database.suspend("dev@example.com", false).await;
    eventually("who may act again needs no new token", async || caller.call_with_token(WHOAMI, &token).await.ok())
        .await;

    database.expire(&id).await;
    let expired = format!("token expired on {}; create a new one", time(&database, "expires_at", &id).await);
    refused(&caller, &token, &expired).await;

    server.admin(&database, &["revoke-token", &id]).await.unwrap();
    let revoked = format!("token revoked on {}; create a new one", time(&database, "revoked_at", &id).await);
    refused(&caller, &token, &revoked).await;
}

#[tokio::test]
async fn a_token_of_an_environment_ends_with_what_it_was_made_from() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let caller = Caller::connect(&server.url()).await;
    let environment_token = |email: &'static str| {
        let (database, server) = (&database, &server);
        async move {
            let token = server.user(database, email).await;
            let environment_id = database.environment_of(&token_id(&token)).await;
            let mut api = server.api(&token).await;
            let request = CreateEnvironmentAccessTokenRequest { environment_id: environment_id.clone() };
            let answer = api.environments.create_environment_access_token(request).await.unwrap();
            (api, token_id(&token), environment_id, answer.into_inner().access_token)
        }
    };

    let (mut api, parent, _, token) = environment_token("revoked@example.com").await;
    let alive = caller.call_with_token(EXEC, &token).await.unwrap_err();
    assert_ne!(alive.code(), Code::Unauthenticated, "{alive}");
    let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: parent.clone() };
    api.tokens.delete_personal_access_token(delete).await.unwrap();
    let status = caller.call_with_token(EXEC, &token).await.unwrap_err();
    let revoked = format!("token revoked on {}; create a new one", time(&database, "revoked_at", &parent).await);
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, revoked.as_str()));

    let (_, parent, _, token) = environment_token("expired@example.com").await;
    database.expire(&parent).await;
    let status = caller.call_with_token(EXEC, &token).await.unwrap_err();
    let expired = format!("token expired on {}; create a new one", time(&database, "expires_at", &parent).await);
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, expired.as_str()));

    let (_, _, _, token) = environment_token("suspended@example.com").await;
    database.suspend("suspended@example.com", true).await;
    let status = caller.call_with_token(EXEC, &token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("is suspended"), "{status}");

    let (_, _, environment, token) = environment_token("deleted@example.com").await;
    let owner = database.owner().await;
    let delete = "UPDATE environments SET desired_phase = 'deleted' WHERE id = $1::text::uuid";
    assert_eq!(owner.execute(delete, &[&environment]).await.unwrap(), 1);
    let status = caller.call_with_token(EXEC, &token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().starts_with("token revoked on"), "whoever holds it is told: {status}");
    owner.execute("DELETE FROM environments WHERE id = $1::text::uuid", &[&environment]).await.unwrap();
    let nobody = told(&caller.call(EXEC, &[]).await.unwrap_err());
    eventually("of an environment that is gone nothing is known", async || {
        (told(&caller.call_with_token(EXEC, &token).await.unwrap_err()) == nobody).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_that_another_server_has_makes_no_forgeries() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    let generation = Generation::new(2);
    let keys = SigningKeys::parse(SigningKeys::generate_line(generation).unwrap().expose()).unwrap();
    let elsewhere = minted(&keys, generation, Uuid::from_u128(7));

    let nobody = told(&caller.call(WHOAMI, &[]).await.unwrap_err());
    assert_eq!(told(&caller.call_with_token(WHOAMI, &elsewhere).await.unwrap_err()), nobody, "a key nobody knows");

    let check_value = keys.check_values().next().unwrap().1;
    let owner = database.owner().await;
    let insert =
        "INSERT INTO signing_keys (generation, check_value, state, activated_at) VALUES (2, $1, 'verifying', now())";
    owner.execute(insert, &[&check_value.as_bytes().as_slice()]).await.unwrap();
    let status = eventually("the server looks at the known keys again", || async {
        let status = caller.call_with_token(WHOAMI, &elsewhere).await.unwrap_err();
        (status.code() != Code::Unauthenticated).then_some(status)
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(details(&status).retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    // A forgery with that number cannot be told from a genuine token here, so it is told the same.
    let mut forged = TokenText::read(&elsewhere);
    forged.body[48] ^= 1;
    assert_eq!(told(&caller.call_with_token(WHOAMI, &forged.write()).await.unwrap_err()), told(&status));
    caller.call_with_token(WHOAMI, &token).await.expect("what this server can verify, it does");

    // Not ready: balancers are told.
    eventually("the server calls itself not ready", || async {
        let ready = http1::get(server.address(), "/readyz", "").await;
        ready.starts_with("HTTP/1.1 503").then_some(()).inspect(|()| assert!(ready.contains("generation 2"), "{ready}"))
    })
    .await;
    let health = HealthClient::new(caller.channel());
    eventually("the health service says so too", || async {
        let check = HealthCheckRequest { service: "latchkey.Verification".to_owned() };
        let answer = health.clone().check(check).await.unwrap().into_inner();
        (answer.status() == ServingStatus::NotServing).then_some(())
    })
    .await;

    owner
        .execute("UPDATE signing_keys SET state = 'revoked', revoked_at = now() WHERE generation = 2", &[])
        .await
        .unwrap();
    eventually("tokens of a revoked key are a stranger's", || async {
        (told(&caller.call_with_token(WHOAMI, &elsewhere).await.unwrap_err()) == nobody).then_some(())
    })
    .await;
    eventually("the server is ready again", || async {
        http1::get(server.address(), "/readyz", "").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}
