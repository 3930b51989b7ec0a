//! A message has a limit, and it is the same in every protocol.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{
    hostile::Claims,
    spoken::{BY_POST, Spoken},
};
use crate::support::{TestDatabase, TestServer};

const CREATE: &str = "gitpod.v1.TokenService/CreatePersonalAccessToken";
/// Bytes of a message, at the most.
const LIMIT: usize = 256 * 1024;

/// A request of this many bytes in its codec.
fn description(spoken: Spoken, bytes: usize) -> serde_json::Value {
    // In JSON the field's name and punctuation; in Protobuf a tag and the length.
    let around = if spoken.is_json() { r#"{"description":""}"#.len() } else { 4 };
    json!({ "description": "d".repeat(bytes - around) })
}

#[tokio::test]
async fn a_message_may_have_as_many_bytes_as_the_limit_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    for spoken in BY_POST {
        // It is read: what is wrong with it is its description.
        let read = spoken.call_as(server.address(), &token, CREATE, description(spoken, LIMIT)).await.unwrap_err();
        assert_eq!(read.code, "invalid_argument", "{spoken:?}: {read:?}");
        let over = spoken.call_as(server.address(), &token, CREATE, description(spoken, LIMIT + 1)).await.unwrap_err();
        assert_eq!(over.code, "resource_exhausted", "{spoken:?}: {over:?}");
        assert_eq!(over.status, if spoken.is_connect() { 429 } else { 200 }, "{spoken:?}");
        let far = spoken.call_as(server.address(), &token, CREATE, description(spoken, LIMIT * 4)).await.unwrap_err();
        assert_eq!(far.code, "resource_exhausted", "{spoken:?}: {far:?}");
    }
}

#[tokio::test]
async fn a_length_that_is_only_claimed_is_refused_before_anything_follows_or_is_allocated() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let claims = Claims::begin(&server);
    for spoken in BY_POST.into_iter().filter(|spoken| !spoken.is_connect()) {
        let headers = [("authorization", authorization.as_str())];
        let request = spoken.request(&format!("/{CREATE}"), b"", &headers);
        let claim = [0, 255, 255, 255, 255, 1, 2, 3];
        let request = request.map(|_| bytes::Bytes::copy_from_slice(&claim).into());
        let refused = spoken.answer_to(server.address(), request).await.unwrap_err();
        assert_eq!(refused.code, "resource_exhausted", "{spoken:?}: {refused:?}");
    }
    claims.assert_were_not_believed();
}

#[tokio::test]
async fn what_unpacks_to_more_than_the_limit_is_refused_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let (good, bomb) = (gzip(&[b' '; 16]), gzip(&vec![b' '; 1024 * 1024]));
    assert!(bomb.len() < LIMIT, "it is sent whole: {}", bomb.len());
    for spoken in BY_POST {
        let encoding = if spoken.is_connect() { "content-encoding" } else { "grpc-encoding" };
        let headers = [("authorization", authorization.as_str()), (encoding, "gzip")];
        for (packed, code) in [(&good, "invalid_argument"), (&bomb, "resource_exhausted")] {
            let mut request = spoken.request(&format!("/{CREATE}"), packed, &headers);
            if !spoken.is_connect() {
                // The flag of a compressed message.
                let length = u32::try_from(packed.len()).unwrap().to_be_bytes();
                let framed = [&[1], length.as_slice(), packed].concat();
                request = request.map(|_| bytes::Bytes::from(framed).into());
            }
            let refused = spoken.answer_to(server.address(), request).await.unwrap_err();
            // Spaces are no JSON; in Protobuf they are fields that nobody knows, and a description that is missing.
            assert_eq!(refused.code, code, "{spoken:?}: {refused:?}");
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    output.stdout
}
