//! Whoever sends again and again what is no token is told to wait, and nobody else notices.

use std::net::IpAddr;

use tonic::Code;

use crate::support::{
    Api, Caller, TestDatabase, TestServer, WHOAMI, details,
    keys::{forged, mint, token_id},
};

/// Tries that an address has at once.
const TRIES: usize = 100;

#[tokio::test]
async fn who_goes_on_guessing_is_told_to_wait_and_holders_never_notice() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let expired = server.token(&database, "dev@example.com", &[]).await;
    database.expire(&token_id(&expired)).await;
    let own = Caller::connect(&server.url()).await;
    own.call_with_token(WHOAMI, &token).await.unwrap();
    // Nothing of it reaches the tables.
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; LOCK personal_access_tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut refused = Vec::new();
    for number in 0..2 * TRIES {
        let guess = if number % 2 == 0 { forged() } else { "gitpod_pat_nonsense".to_owned() };
        refused.push(own.call_with_token(WHOAMI, &guess).await.unwrap_err());
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert!(refused[..TRIES].iter().all(|status| status.code() == Code::Unauthenticated));
    let told: Vec<_> = refused.iter().filter(|status| status.code() == Code::ResourceExhausted).collect();
    assert!(!told.is_empty(), "{:?}", refused.last());
    for status in told {
        let details = details(status);
        assert!(details.retry_info().unwrap().retry_delay.is_some_and(|delay| delay.as_secs() <= 1), "{status:?}");
        assert_eq!(details.error_info().unwrap().reason, "TOO_MANY_TRIES");
    }

    // Once more than may be: whoever holds a token, or held one, is answered as ever.
    while own.call_with_token(WHOAMI, &forged()).await.unwrap_err().code() != Code::ResourceExhausted {}
    for _ in 0..TRIES {
        own.call_with_token(WHOAMI, &token).await.unwrap();
        let ended = own.call_with_token(WHOAMI, &expired).await.unwrap_err();
        assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
        assert!(ended.message().starts_with("token expired on"), "{ended}");
    }
    let nobody = own.call(WHOAMI, &[]).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated, "no token is a mistake, and no guess: {nobody}");
    // Nor does another address.
    let elsewhere = Caller::connect_from(IpAddr::from([127, 0, 0, 2]), &server.url()).await;
    assert_eq!(elsewhere.call_with_token(WHOAMI, &forged()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_unknown_token_of_the_servers_own_key_is_a_guess_and_is_looked_up_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let (_, stolen_key) = mint(&server.keys(), 1);
    let mut api = Api::connect(&server.url(), Some(stolen_key.text.expose())).await;
    assert_eq!(api.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    // That there is none is remembered.
    let lock = database.owner().await;
    lock.batch_execute("BEGIN; LOCK personal_access_tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    for _ in 0..TRIES / 2 {
        assert_eq!(api.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
}
