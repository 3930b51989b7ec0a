//! Describing a token anew: its holder's alone, in one act with its entry, and nothing else of it.

use latchkey::pb::gitpod::v1::{PersonalAccessToken, UpdatePersonalAccessTokenRequest};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{assert_invalid, delete, get};
use crate::support::{Api, TestDatabase, TestServer, token_text::token_id, told};

async fn update(api: &mut Api, id: &str, description: Option<&str>) -> Result<PersonalAccessToken, Status> {
    let request = UpdatePersonalAccessTokenRequest {
        personal_access_token_id: id.to_owned(),
        description: description.map(str::to_owned),
    };
    Ok(api.tokens.update_personal_access_token(request).await?.into_inner().pat.unwrap())
}

/// Entries about a token that say so.
const UPDATES: &str = "SELECT count(*) FROM audit_logs WHERE action = 'token_update' AND subject_id = $1::text::uuid";

/// All of a row but its description, and which version of it that is.
const REST: &str = "SELECT (to_jsonb(t) - 'description')::text FROM personal_access_tokens t WHERE id = $1::text::uuid";
const VERSION: &str = "SELECT xmin::text FROM personal_access_tokens WHERE id = $1::text::uuid";

#[tokio::test]
async fn a_token_gets_another_description_and_nothing_else() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let created = api.create_token("ci").await;
    let known = created.personal_access_token.unwrap();
    let rest = database.text(REST, &[&known.id]).await;

    let widest = "\u{1F511}".repeat(255);
    for description in ["nightly", "<script>alert(1)</script>", widest.as_str()] {
        let said = update(&mut api, &known.id, Some(description)).await.unwrap();
        let expected = PersonalAccessToken { description: description.to_owned(), ..known.clone() };
        assert_eq!(said, expected);
        assert_eq!(get(&mut api, &known.id).await.unwrap(), expected);
    }
    assert_eq!(database.number(UPDATES, &[&known.id]).await, 3);
    assert_eq!(database.text(REST, &[&known.id]).await, rest);
    server.api(&created.token).await.whoami().await.expect("it is good as before");
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let known = api.create_token("ci").await.personal_access_token.unwrap();
    let version = database.text(VERSION, &[&known.id]).await;
    for description in [None, Some("ci")] {
        assert_eq!(update(&mut api, &known.id, description).await.unwrap(), known);
    }
    assert_eq!(database.text(VERSION, &[&known.id]).await, version);
    assert_eq!(database.number(UPDATES, &[&known.id]).await, 0);
}

#[tokio::test]
async fn a_description_is_what_it_may_be_when_a_token_is_made() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let id = token_id(&first);
    for bad in ["", " ", "a\nb", "a\u{202E}b", "x".repeat(256).as_str()] {
        assert_invalid(&update(&mut api, &id, Some(bad)).await.unwrap_err(), "description");
    }
    for bad in ["", "7", first.as_str()] {
        assert_invalid(&update(&mut api, bad, Some("x")).await.unwrap_err(), "personal_access_token_id");
    }
    assert_eq!(get(&mut api, &id).await.unwrap().description, "test");
    assert_eq!(database.number(UPDATES, &[&id]).await, 0);
}

#[tokio::test]
async fn others_tokens_and_revoked_ones_and_none_at_all_are_one_answer() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let own = server.user(&database, "dev@example.com").await;
    let other = server.user(&database, "other@example.com").await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let mut api = server.api(&own).await;
    let revoked = api.create_token("revoked").await.personal_access_token.unwrap().id;
    delete(&mut api, &revoked).await.unwrap();
    let nobodys = Uuid::from_u128(7).to_string();
    let without_id = |status: &Status, id: &str| {
        let (code, message, _, _) = told(status);
        (code, message.replace(id, "ID"))
    };
    let expected = (Code::NotFound, "no personal access token with ID ID".to_owned());
    for id in [&nobodys, &token_id(&other), &revoked] {
        assert_eq!(without_id(&update(&mut api, id, Some("mine")).await.unwrap_err(), id), expected);
        // Also where nothing would change.
        assert_eq!(without_id(&update(&mut api, id, None).await.unwrap_err(), id), expected);
    }
    let mine = "SELECT count(*) FROM personal_access_tokens WHERE description = 'mine'";
    assert_eq!(database.number(mine, &[]).await, 0);

    // Expired ones are listed, so they are described; and an admin describes those of the organization.
    let expired = api.create_token("expired").await.personal_access_token.unwrap().id;
    database.expire(&expired).await;
    assert_eq!(update(&mut api, &expired, Some("was for ci")).await.unwrap().description, "was for ci");
    let mut admin = server.api(&admin).await;
    assert_eq!(update(&mut admin, &token_id(&other), Some("of other")).await.unwrap().description, "of other");
    assert_eq!(update(&mut admin, &revoked, Some("x")).await.unwrap_err().code(), Code::NotFound);
}
