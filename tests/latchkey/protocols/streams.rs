//! Streams in every protocol: each message as soon as it is there.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use latchkey::domain::clock::boot_time;
use serde_json::{Value, json};

use super::spoken::{Spoken, framed, from_protobuf, to_protobuf, types};
use crate::support::{SOON, TestDatabase, TestServer, eventually, token_text::token_id};

pub(super) const WATCH: &str = "grpc.health.v1.Health/Watch";
const WATCH_EVENTS: &str = "gitpod.v1.EventService/WatchEvents";

/// A protocol, with its codec, as it has streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streamed {
    ConnectJson,
    ConnectProto,
    GrpcWeb,
    Grpc,
}

pub(super) const EVERY: [Streamed; 4] =
    [Streamed::ConnectJson, Streamed::ConnectProto, Streamed::GrpcWeb, Streamed::Grpc];

/// How late a stream may end after its token.
const BOUND: Duration = Duration::from_secs(5);

/// A stream of answers.
pub(super) struct Stream {
    streamed: Streamed,
    rpc: &'static str,
    response: Response<Incoming>,
    buffer: Vec<u8>,
    trailers: HeaderMap,
}

impl Streamed {
    fn content_type(self) -> &'static str {
        match self {
            Self::ConnectJson => "application/connect+json",
            Self::ConnectProto => "application/connect+proto",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::Grpc => "application/grpc",
        }
    }

    /// The name of the header for deadlines, and this many milliseconds in it.
    pub(super) fn timeout(self, milliseconds: u32) -> (&'static str, String) {
        match self {
            Self::ConnectJson | Self::ConnectProto => Spoken::ConnectProto.timeout(milliseconds),
            Self::GrpcWeb | Self::Grpc => Spoken::Grpc.timeout(milliseconds),
        }
    }

    /// Sends these messages, all of them before any answer is read.
    pub(super) async fn open(
        self,
        address: &str,
        rpc: &'static str,
        headers: &[(&str, &str)],
        messages: &[Value],
    ) -> Stream {
        let (input, _) = types(rpc);
        let encode = |message: &Value| match self {
            Self::ConnectJson => framed(message.to_string().as_bytes()),
            Self::ConnectProto | Self::GrpcWeb | Self::Grpc => framed(&to_protobuf(&input, message)),
        };
        let body: Vec<Bytes> = messages.iter().map(encode).collect();
        let mut request = Request::post(format!("/{rpc}")).header("host", "latchkey.test");
        for (name, value) in [("content-type", self.content_type())].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.concat()))).unwrap();
        // Only gRPC needs HTTP/2.
        let over = if self == Self::Grpc { Spoken::Grpc } else { Spoken::ConnectProto };
        let response = tokio::time::timeout(SOON, over.send(address, request)).await.expect("answered in time");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], self.content_type());
        Stream { streamed: self, rpc, response, buffer: Vec::new(), trailers: HeaderMap::new() }
    }
}

impl Stream {
    /// The next message; or how the stream ends, in Connect's words.
    pub(super) async fn next(&mut self) -> Result<Value, String> {
        tokio::time::timeout(SOON, self.read()).await.expect("something comes in time")
    }

    async fn read(&mut self) -> Result<Value, String> {
        loop {
            if let Some((flags, message)) = self.take() {
                let (_, output) = types(self.rpc);
                return match (flags, self.streamed) {
                    (0, Streamed::ConnectJson) => Ok(serde_json::from_slice(&message).unwrap()),
                    (0, _) => Ok(from_protobuf(output, &message)),
                    (2, Streamed::ConnectJson | Streamed::ConnectProto) => {
                        let end: Value = serde_json::from_slice(&message).unwrap();
                        Err(end["error"]["code"].as_str().unwrap_or("ok").to_owned())
                    }
                    (0x80, Streamed::GrpcWeb) => Err(code(std::str::from_utf8(&message).unwrap())),
                    other => panic!("{other:?}"),
                };
            }
            match self.response.frame().await {
                Some(frame) => match frame.expect("the stream is not broken off").into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(other) => self.trailers = other.into_trailers().unwrap(),
                },
                None => {
                    assert_eq!((self.streamed, self.buffer.len()), (Streamed::Grpc, 0), "an end that says nothing");
                    // What has not even begun has its end in its head.
                    let end =
                        self.trailers.get("grpc-status").unwrap_or_else(|| &self.response.headers()["grpc-status"]);
                    let status = end.to_str().unwrap();
                    return Err(code(&format!("grpc-status: {status}\r\n")));
                }
            }
        }
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let length = u32::from_be_bytes(self.buffer.get(1..5)?.try_into().unwrap()) as usize;
        let message = self.buffer.get(5..5 + length)?.to_vec();
        let flags = self.buffer[0];
        self.buffer.drain(..5 + length);
        Some((flags, message))
    }
}

fn code(trailers: &str) -> String {
    let number = trailers.lines().find_map(|line| line.strip_prefix("grpc-status: ")).expect("a status");
    super::spoken::CODES[number.parse::<usize>().unwrap()].to_owned()
}

#[tokio::test]
async fn a_message_is_sent_at_once_and_the_stream_stays_open() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let mut open = Vec::new();
    for streamed in EVERY {
        // Nothing follows the first message until the server ends: whoever held it back would hold it for ever.
        let mut stream = streamed.open(server.address(), WATCH, &[], &[json!({})]).await;
        assert_eq!(stream.next().await, Ok(json!({ "status": "SERVING" })), "{streamed:?}");
        open.push(stream);
    }
    let ending = tokio::spawn(async move {
        for mut stream in open {
            assert_eq!(stream.next().await, Ok(json!({ "status": "NOT_SERVING" })), "{:?}", stream.streamed);
        }
    });
    assert!(server.stop().await, "{}", server.log());
    ending.await.unwrap();
}

#[tokio::test]
async fn both_versions_of_reflection_are_reached_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for rpc in [
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        for streamed in EVERY {
            // Two questions, two answers; on HTTP/1.1 the second is asked before the first is answered.
            let ask = json!({ "listServices": "*" });
            let mut stream = streamed.open(server.address(), rpc, &[], &[ask.clone(), ask]).await;
            for _ in 0..2 {
                let listed = stream.next().await.unwrap();
                let services = listed["listServicesResponse"]["service"].as_array().unwrap();
                assert_eq!(services.len(), 12, "{streamed:?} {rpc}: {services:?}");
                assert!(services.contains(&json!({ "name": "gitpod.v1.TokenService" })), "{services:?}");
            }
            assert_eq!(stream.next().await, Err("ok".to_owned()), "{streamed:?} {rpc}");
        }
    }
}

#[tokio::test]
async fn health_is_told_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for spoken in super::spoken::BY_POST {
        let check = "grpc.health.v1.Health/Check";
        let health = spoken.call(server.address(), check, &[], json!({})).await;
        assert_eq!(health, Ok(json!({ "status": "SERVING" })), "{spoken:?}");
        let unknown = spoken.call(server.address(), check, &[], json!({ "service": "no.such.Service" })).await;
        assert_eq!(unknown.unwrap_err().code, "not_found", "{spoken:?}");
    }
}

#[tokio::test]
async fn a_stream_is_logged_and_ends_with_its_token_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let nowhere = uuid::Uuid::from_u128(7).to_string();
    let mut open = Vec::new();
    for streamed in EVERY {
        let headers = [("authorization", authorization.as_str())];
        let message = json!({ "environmentId": nowhere });
        let mut stream = streamed.open(server.address(), WATCH_EVENTS, &headers, &[message]).await;
        assert_eq!(stream.next().await.unwrap()["operation"], "RESOURCE_OPERATION_DELETE", "{streamed:?}");
        open.push(stream);
    }
    // While they are open: who only looked is seen, too.
    let reads = format!(
        "SELECT coalesce(sum(count), 0)::bigint FROM (
            SELECT rpc, outcome::text, count, token_id FROM audit_tallies
            UNION ALL SELECT rpc, outcome::text, count, token_id FROM audit_logs WHERE action = 'read'
         ) seen
         WHERE token_id = '{}' AND rpc = 'gitpod.v1.EventService/WatchEvents' AND outcome = 'succeeded'",
        token_id(&token)
    );
    let superuser = database.superuser().await;
    eventually("each is written down", || async {
        let seen: i64 = superuser.query_one(&reads, &[]).await.unwrap().get(0);
        (seen == 4).then_some(())
    })
    .await;
    server.admin(&database, &["revoke-token", &token_id(&token).to_string()]).await.unwrap();
    let revoked = boot_time();
    for mut stream in open {
        assert_eq!(stream.next().await, Err("unauthenticated".to_owned()), "{:?}", stream.streamed);
        let took = boot_time().saturating_sub(revoked);
        assert!(took < BOUND, "{:?}: {took:?}", stream.streamed);
    }
    // That each was sent away is seen as well, as it is of a command.
    let ends = format!(
        "SELECT count(*), count(DISTINCT request_id) FROM audit_logs
         WHERE token_id = '{}' AND rpc = 'gitpod.v1.EventService/WatchEvents' AND action = 'credential_refuse'
         AND outcome = 'denied' AND reason = 'ended meanwhile'",
        token_id(&token)
    );
    eventually("each end is written down", || async {
        let row = superuser.query_one(&ends, &[]).await.unwrap();
        (row.get::<_, i64>(0) == 4 && row.get::<_, i64>(1) == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_nothing_happens_something_comes_that_says_nothing_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let authorization = format!("Bearer {}", server.user(&database, "dev@example.com").await);
    let (address, headers) = (server.address(), [("authorization", authorization.as_str())]);
    // All at once: each is silent for as long as it may be.
    let streams = EVERY.map(async |streamed| {
        let mut stream = streamed.open(address, WATCH_EVENTS, &headers, &[json!({})]).await;
        assert_eq!(stream.next().await, Ok(json!({})), "{streamed:?}");
    });
    let lines = async {
        let headers = [headers[0], ("accept", "application/jsonl")];
        let request = Spoken::ConnectJson.request(&format!("/{WATCH_EVENTS}"), b"{}", &headers);
        let mut response = Spoken::ConnectJson.send(address, request).await;
        assert_eq!(response.headers()["content-type"], "application/jsonl");
        let first = tokio::time::timeout(SOON, response.frame()).await.expect("something comes in time").unwrap();
        assert_eq!(first.unwrap().into_data().unwrap(), " ", "half a line, which the next event makes whole");
    };
    tokio::join!(futures::future::join_all(streams), lines);
}
