//! Revoking a token: at once, for good, and only one's own.

use futures::future::join_all;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{assert_invalid, delete, get, list};
use crate::support::{TestDatabase, TestServer, token_text::token_id, told};

const REVOKED_AT: &str = "SELECT revoked_at::text FROM personal_access_tokens WHERE id = $1::text::uuid";
const REVOCATIONS: &str =
    "SELECT count(*) FROM audit_logs WHERE action = 'token_revoke' AND subject_id = $1::text::uuid";

#[tokio::test]
async fn a_second_delete_is_fine_and_changes_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let id = api.create_token("short").await.personal_access_token.unwrap().id;

    delete(&mut api, &id).await.unwrap();
    let revoked_at = database.text(REVOKED_AT, &[&id]).await;
    delete(&mut api, &id).await.expect("a second time is no error");
    server.admin(&database, &["revoke-token", &id]).await.expect("nor is the operator's");
    assert_eq!(database.text(REVOKED_AT, &[&id]).await, revoked_at, "the first time counts");
    assert_eq!(database.number(REVOCATIONS, &[&id]).await, 1, "one act, one entry");
}

#[tokio::test]
async fn ten_deletes_at_once_are_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let id = api.create_token("short").await.personal_access_token.unwrap().id;
    let deletes = (0..10).map(|_| {
        let (mut api, id) = (api.clone(), id.clone());
        async move { delete(&mut api, &id).await }
    });
    for deleted in join_all(deletes).await {
        deleted.unwrap();
    }
    assert_eq!(database.number(REVOCATIONS, &[&id]).await, 1);
}

#[tokio::test]
async fn a_token_can_revoke_itself() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    delete(&mut api, &token_id(&first)).await.unwrap();
    let refused = delete(&mut api, &token_id(&first)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().starts_with("token revoked on "), "{refused}");
}

#[tokio::test]
async fn no_use_that_begins_after_the_answer_is_let_in() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    for _ in 0..10 {
        let created = api.create_token("raced").await;
        let id = created.personal_access_token.unwrap().id;
        let user = server.api(&created.token).await;
        let (revoked, is_revoked) = tokio::sync::watch::channel(false);
        let users = (0..4).map(|_| {
            let (mut user, is_revoked) = (user.clone(), is_revoked.clone());
            tokio::spawn(async move {
                let mut let_in = 0;
                loop {
                    let was_revoked = *is_revoked.borrow();
                    match user.whoami().await {
                        Ok(_) => {
                            assert!(!was_revoked, "let in after the revocation was answered");
                            let_in += 1;
                        }
                        Err(status) => {
                            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
                            assert!(status.message().starts_with("token revoked on "), "{status}");
                            if was_revoked {
                                return let_in;
                            }
                        }
                    }
                }
            })
        });
        let users: Vec<_> = users.collect();
        user.clone().whoami().await.unwrap();
        delete(&mut api, &id).await.unwrap();
        revoked.send(true).unwrap();
        for user in users {
            user.await.unwrap();
        }
    }
}

#[tokio::test]
async fn anothers_token_and_none_at_all_are_one_answer() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let own = server.user(&database, "dev@example.com").await;
    let other = server.user(&database, "other@example.com").await;
    let (mut api, mut others) = (server.api(&own).await, server.api(&other).await);
    let live = token_id(&other);
    let ended = others.create_token("ended").await.personal_access_token.unwrap().id;
    delete(&mut others, &ended).await.unwrap();
    let nobodys = Uuid::from_u128(7).to_string();

    // Byte for byte, but for the ID that was asked for.
    let without_id = |status: &Status, id: &str| {
        let (code, message, details, keys) = told(status);
        assert_eq!(code, Code::NotFound, "{status}");
        assert!(message.contains(id), "{message}");
        let details: String = details.iter().map(|byte| char::from(*byte)).collect();
        (message.replace(id, "ID"), details.replace(id, "ID"), keys)
    };
    let expected = without_id(&get(&mut api, &nobodys).await.unwrap_err(), &nobodys);
    for id in [&nobodys, &live, &ended] {
        assert_eq!(without_id(&get(&mut api, id).await.unwrap_err(), id), expected, "get");
        assert_eq!(without_id(&delete(&mut api, id).await.unwrap_err(), id), expected, "delete");
    }
    others.whoami().await.expect("nothing was revoked");
    assert_eq!(list(&mut others).await.len(), 1);

    // An admin looks after everybody's.
    let admin = server.admin_user(&database, "admin@example.com").await;
    let mut admin = server.api(&admin).await;
    assert_eq!(get(&mut admin, &live).await.unwrap().id, live);
    delete(&mut admin, &live).await.unwrap();
    assert_eq!(others.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(get(&mut admin, &nobodys).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_no_uuid_names_no_token() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let own = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&own).await;
    let id = token_id(&own);
    for bad in
        ["", " ", "7", &id[1..], &format!("{id}0"), &format!(" {id}"), &id.replace('-', "_"), "'; --", own.as_str()]
    {
        for status in [get(&mut api, bad).await.unwrap_err(), delete(&mut api, bad).await.unwrap_err()] {
            assert_invalid(&status, "personal_access_token_id");
            assert!(!status.message().contains(&own), "what may be a token pasted in the wrong place is not repeated");
        }
    }
    api.whoami().await.expect("nothing was revoked");
}
