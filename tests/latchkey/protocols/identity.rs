//! Who one is, in every protocol; and what JSON looks like.

use serde_json::json;

use super::spoken::{BY_POST, EVERY, Spoken};
use crate::support::{TestDatabase, TestServer, token_text::token_id};

const IDENTITY: &str = "gitpod.v1.IdentityService/GetAuthenticatedIdentity";
const TOKENS: &str = "gitpod.v1.TokenService";

#[tokio::test]
async fn callers_are_told_who_they_are_in_every_protocol_and_at_every_spelling_of_the_path() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let id = server.api(&token).await.whoami().await.unwrap();
    let authorization = format!("Bearer {token}");
    for spoken in EVERY {
        for base in ["/", "/api/", "//", "/api//"] {
            let headers = [("authorization", authorization.as_str())];
            let path = format!("{base}{IDENTITY}");
            let identity = spoken.call_at(server.address(), &path, IDENTITY, &headers, json!({})).await.unwrap();
            assert_eq!(identity["subject"], json!({ "id": id, "principal": "PRINCIPAL_USER" }), "{spoken:?} {path}");
            // What has no value is not written.
            assert_eq!(identity.get("organizationTier"), None, "{spoken:?} {identity}");
        }
    }
}

#[tokio::test]
async fn a_token_is_made_listed_and_revoked_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    for spoken in BY_POST {
        let call = async |token: &str, method: &str, message| {
            spoken.call_as(server.address(), token, &format!("{TOKENS}/{method}"), message).await
        };
        let request = json!({ "description": "made", "validFor": "3600s", "readOnly": true });
        let created = call(&token, "CreatePersonalAccessToken", request).await.unwrap();
        let (new, known) = (created["token"].as_str().unwrap(), &created["personalAccessToken"]);
        assert_eq!(known["id"], token_id(new), "{spoken:?}");
        let list = json!({ "pagination": { "pageSize": 1 } });
        let listed = call(new, "ListPersonalAccessTokens", list.clone()).await.unwrap();
        assert_eq!(listed["personalAccessTokens"][0]["id"], known["id"], "{spoken:?}");
        let next = json!({ "pagination": { "pageSize": 1, "token": listed["pagination"]["nextToken"] } });
        let listed = call(new, "ListPersonalAccessTokens", next).await.unwrap();
        assert_ne!(listed["personalAccessTokens"][0]["id"], known["id"], "{spoken:?}");
        let delete = json!({ "personalAccessTokenId": known["id"] });
        assert_eq!(call(&token, "DeletePersonalAccessToken", delete).await.unwrap(), json!({}), "{spoken:?}");
        let revoked = call(new, "ListPersonalAccessTokens", list).await.unwrap_err();
        assert_eq!(revoked.code, "unauthenticated", "{spoken:?}");
        assert!(revoked.message.starts_with("token revoked on "), "{spoken:?}: {revoked:?}");
    }
}

#[tokio::test]
async fn json_may_have_fields_that_the_server_does_not_know() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let request = json!({ "pagination": { "page_size": 1, "later": [{ "a": null }] }, "new": "x", "filter": null });
    let list = format!("{TOKENS}/ListPersonalAccessTokens");
    let listed = Spoken::ConnectJson.call_as(server.address(), &token, &list, request).await.unwrap();
    let listed = listed["personalAccessTokens"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    let keys: Vec<&String> = listed[0].as_object().unwrap().keys().collect();
    // A token that may write has no `readOnly`, and one that was never used no `lastUsed`.
    assert!(!keys.contains(&&"readOnly".to_owned()) && keys.contains(&&"expiresAt".to_owned()), "{keys:?}");
}
