//! Who says yes: with a session that is good, then and when the token is made.

use latchkey::{domain::principal::Credential, service::ServiceError};

use super::{Person, begin, token_of, tokens};
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::key_line};

const YES_NO_MORE: &str = "has signed out or may not any more";

#[tokio::test]
async fn a_yes_counts_as_long_as_who_said_it_may_act() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for (email, ends) in [
        (
            "suspended@example.com",
            "UPDATE principals SET status = 'suspended' WHERE id = (SELECT principal_id FROM sessions WHERE id = $1::text::uuid)",
        ),
        ("out@example.com", "UPDATE sessions SET revoked_at = now() WHERE id = $1::text::uuid"),
        ("idle@example.com", "UPDATE sessions SET idle_expires_at = now() WHERE id = $1::text::uuid"),
        ("cleared@example.com", "DELETE FROM sessions WHERE id = $1::text::uuid"),
    ] {
        let person = Person::new(&database, &server, email).await;
        let (said_before, waits) = (begin(&server, "").await, begin(&server, "").await);
        person.say(&said_before.user_code, true).await.unwrap();
        assert_eq!(database.owner().await.execute(ends, &[&person.session()]).await.unwrap(), 1);
        said_before.redeem(&server).await.assert_error(400, "access_denied", YES_NO_MORE);
        said_before.redeem(&server).await.assert_error(400, "access_denied", "");
        // A call that was let in before says nothing any more.
        assert!(matches!(person.find(&waits.user_code).await, Err(ServiceError::Ended(_))), "{email}");
        assert!(matches!(person.say(&waits.user_code, true).await, Err(ServiceError::Ended(_))), "{email}");
        waits.redeem(&server).await.assert_error(400, "authorization_pending", "");
    }
    assert_eq!(tokens(&database).await, 0);
}

#[tokio::test]
async fn what_was_made_with_a_key_that_is_revoked_is_good_for_nothing() {
    let database = TestDatabase::create().await;
    let keys = key_line(1) + &key_line(2);
    let options = ServerOptions { signing_keys: Some(keys), ..ServerOptions::default() };
    let server = TestServer::start_with(&database, options).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let (said_before, waits) = (begin(&server, "").await, begin(&server, "").await);
    person.say(&said_before.user_code, true).await.unwrap();
    server.admin(&database, &["activate-generation", "2"]).await.unwrap();
    server.admin(&database, &["revoke-generation", "1"]).await.unwrap();
    for begun in [&said_before, &waits] {
        begun.redeem(&server).await.assert_error(400, "invalid_grant", "");
    }
    assert!(person.find(&waits.user_code).await.is_err());
    let begun = begin(&server, "").await;
    let other = Person::new(&database, &server, "other@example.com").await;
    database.owner().await.batch_execute("UPDATE sessions SET key_generation = 2").await.unwrap_err();
    assert!(matches!(other.say(&begun.user_code, true).await, Err(ServiceError::Ended(_))), "a session of that key");
}

#[tokio::test]
async fn a_token_says_yes_to_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut person = Person::new(&database, &server, "dev@example.com").await;
    let token = server.token(&database, "dev@example.com", &[]).await;
    let id = crate::support::token_text::token_id(&token).parse().unwrap();
    person.actor.credential = Credential::PersonalAccessToken { id, read_only: false };
    let begun = begin(&server, "").await;
    assert!(matches!(person.say(&begun.user_code, true).await, Err(ServiceError::Ended(_))));
    begun.redeem(&server).await.assert_error(400, "authorization_pending", "");
}

#[tokio::test]
async fn who_has_as_many_tokens_as_may_be_is_told_so() {
    let database = TestDatabase::create().await;
    let options = ServerOptions { args: vec!["--tokens-per-user=1".to_owned()], ..ServerOptions::default() };
    let server = TestServer::start_with(&database, options).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let token = server.token(&database, "dev@example.com", &[]).await;
    let begun = begin(&server, "").await;
    person.say(&begun.user_code, true).await.unwrap();
    begun.redeem(&server).await.assert_error(400, "access_denied", "revoke one first");
    let id = crate::support::token_text::token_id(&token);
    server.admin(&database, &["revoke-token", &id]).await.unwrap();
    token_of(&begun.redeem(&server).await);
}
