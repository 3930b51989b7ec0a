//! Who is not let in is told so in their own protocol, whatever they send.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::spoken::{BY_POST, EVERY};
use crate::support::{SOON, TestDatabase, TestServer, eventually, http1, token_text::token_id};

const IDENTITY: &str = "gitpod.v1.IdentityService/GetAuthenticatedIdentity";
const CREATE: &str = "gitpod.v1.TokenService/CreatePersonalAccessToken";
const GET: &str = "gitpod.v1.TokenService/GetPersonalAccessToken";

#[tokio::test]
async fn strangers_are_refused_in_their_own_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for spoken in EVERY {
        for headers in [&[][..], &[("authorization", "Bearer nonsense")]] {
            let refused = spoken.call(server.address(), IDENTITY, headers, json!({})).await.unwrap_err();
            assert_eq!(refused.code, "unauthenticated", "{spoken:?}");
            assert!(refused.message.contains("a valid token is needed"), "{spoken:?}: {refused:?}");
            assert_eq!(refused.details[0].0, "google.rpc.ErrorInfo", "{spoken:?}");
            assert_eq!(refused.status, if spoken.is_connect() { 401 } else { 200 }, "{spoken:?}");
            assert_eq!(refused.headers["www-authenticate"], "Bearer", "{spoken:?}");
            assert!(refused.headers.contains_key("x-request-id"), "{spoken:?}");
        }
        let unknown = spoken.call_at(server.address(), "/no.such.Service/Method", IDENTITY, &[], json!({})).await;
        let unknown = unknown.unwrap_err();
        assert_eq!((unknown.code.as_str(), unknown.message.as_str()), ("unimplemented", "there is no such RPC here"));
        assert_eq!(unknown.status, if spoken.is_connect() { 404 } else { 200 }, "{spoken:?}");
    }
    // A stream of Connect's ends in its last envelope.
    let watch = "/supervisor.v1.EnvironmentOpsService/Exec";
    let request = format!(
        "POST {watch} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/connect+json\r\ncontent-length: 0\r\n\r\n"
    );
    let answer = http1::send(server.address(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/connect+json\r\n"), "{answer}");
    assert!(answer.contains(r#"{"error":{"code":"unauthenticated","message":"a valid token"#), "{answer}");
}

#[tokio::test]
async fn a_revoked_token_is_refused_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    for spoken in EVERY {
        spoken.call_as(server.address(), &token, IDENTITY, json!({})).await.expect("good before");
    }
    server.admin(&database, &["revoke-token", &token_id(&token)]).await.unwrap();
    server.api(&token).await.becomes_refused().await;
    for spoken in EVERY {
        let refused = spoken.call_as(server.address(), &token, IDENTITY, json!({})).await.unwrap_err();
        assert_eq!(refused.code, "unauthenticated", "{spoken:?}");
        assert!(refused.message.starts_with("token revoked on "), "{spoken:?}: {refused:?}");
    }
}

#[tokio::test]
async fn what_a_token_is_not_good_for_is_denied_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.user(&database, "dev@example.com").await;
    let token = server.token(&database, "dev@example.com", &["--read-only"]).await;
    for spoken in BY_POST {
        let denied = spoken.call_as(server.address(), &token, CREATE, json!({})).await.unwrap_err();
        assert_eq!(denied.code, "permission_denied", "{spoken:?}");
        assert_eq!(denied.status, if spoken.is_connect() { 403 } else { 200 }, "{spoken:?}");
        assert!(denied.message.contains("this token is read-only"), "{spoken:?}: {denied:?}");
    }
}

#[tokio::test]
async fn an_outage_says_when_to_try_again_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let owner = database.owner().await;
    owner.batch_execute("ALTER TABLE personal_access_tokens RENAME TO away").await.unwrap();
    for spoken in EVERY {
        let unavailable = spoken.call_as(server.address(), &token, IDENTITY, json!({})).await.unwrap_err();
        assert_eq!(unavailable.code, "unavailable", "{spoken:?}");
        assert_eq!(unavailable.status, if spoken.is_connect() { 503 } else { 200 }, "{spoken:?}");
        let types: Vec<&str> = unavailable.details.iter().map(|(name, _)| name.as_str()).collect();
        assert!(types.contains(&"google.rpc.RetryInfo"), "{spoken:?}: {types:?}");
        if spoken.is_connect() {
            assert_eq!(unavailable.headers["retry-after"], "1", "{spoken:?}");
        }
    }
    owner.batch_execute("ALTER TABLE away RENAME TO personal_access_tokens").await.unwrap();
}

#[tokio::test]
async fn a_long_body_without_a_token_is_refused_unread_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let length = 4 * 1024 * 1024;
    for (content_type, refusal) in [
        ("application/json", "\"code\":\"unauthenticated\""),
        ("application/proto", "\"code\":\"unauthenticated\""),
        ("application/connect+proto", "\"code\":\"unauthenticated\""),
        ("application/grpc-web", "grpc-status: 16\r\n"),
        ("application/grpc-web+json", "grpc-status: 16\r\n"),
        ("application/grpc", "grpc-status: 16\r\n"),
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /{CREATE} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        // Not one byte of the body is sent before the answer is there.
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = async {
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&answer).contains(refusal) {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => panic!("{content_type}: {}", String::from_utf8_lossy(&answer)),
                    count => answer.extend_from_slice(&buffer[..count]),
                }
            }
        };
        tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{content_type}: no answer"));
    }
}

#[tokio::test]
async fn reads_and_denials_are_logged_whatever_the_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let superuser = database.superuser().await;
    for spoken in EVERY {
        let email = format!("{spoken:?}@example.com").to_lowercase();
        let token = server.user(&database, &email).await;
        spoken.call_as(server.address(), &token, IDENTITY, json!({})).await.unwrap();
        let nobodys = json!({ "personalAccessTokenId": uuid::Uuid::from_u128(7).to_string() });
        let missing = spoken.call_as(server.address(), &token, GET, nobodys).await.unwrap_err();
        assert_eq!(missing.code, "not_found", "{spoken:?}");
        // What a mistake in the request leaves is no read.
        let bad = json!({ "personalAccessTokenId": "no ID" });
        let invalid = spoken.call_as(server.address(), &token, GET, bad).await.unwrap_err();
        assert_eq!(invalid.code, "invalid_argument", "{spoken:?}");
        let seen = eventually("the reads are written down", || async {
            let query = format!(
                "SELECT string_agg(rpc || ' ' || outcome || ' ' || count, ', ' ORDER BY rpc) FROM (
                    SELECT rpc, outcome::text, count, token_id FROM audit_tallies
                    UNION ALL SELECT rpc, outcome::text, count, token_id FROM audit_logs WHERE action = 'read'
                 ) seen WHERE token_id = '{}'",
                token_id(&token)
            );
            let seen: Option<String> = superuser.query_one(&query, &[]).await.unwrap().get(0);
            seen.filter(|seen| seen.contains(", "))
        })
        .await;
        assert_eq!(seen, format!("{IDENTITY} succeeded 1, {GET} denied 1"), "{spoken:?}");
    }
}
