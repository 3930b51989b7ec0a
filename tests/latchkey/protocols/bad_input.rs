//! Whatever is malformed is answered in the protocol's own words, and the connection goes on.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::spoken::Spoken;
use crate::support::{SOON, TestDatabase, TestServer};

const IDENTITY: &str = "/gitpod.v1.IdentityService/GetAuthenticatedIdentity";
const CREATE: &str = "/gitpod.v1.TokenService/CreatePersonalAccessToken";
const LIST: &str = "/gitpod.v1.TokenService/ListPersonalAccessTokens";
const LOGS: &str = "/gitpod.v1.EventService/ListAuditLogs";

/// One connection, used again and again.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authorization: String,
}

impl Connection {
    async fn open(address: &str, token: &str) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender, authorization: format!("Bearer {token}") }
    }

    /// Status, headers and body of an answer.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, HeaderMap, Vec<u8>) {
        let authorization = [("authorization", self.authorization.as_str())];
        let mut request = Request::builder().method(method).uri(path).header("host", "latchkey.test");
        for (name, value) in authorization.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        tokio::time::timeout(SOON, self.sender.ready()).await.unwrap().expect("the connection goes on");
        let answer = tokio::time::timeout(SOON, self.sender.send_request(request)).await.expect("in time").unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (parts.status.as_u16(), parts.headers, body)
    }

    async fn assert_goes_on(&mut self, what: &str) {
        let (status, _, body) = self.send("POST", IDENTITY, &[("content-type", "application/json")], b"{}").await;
        assert_eq!(status, 200, "after {what}: {}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test]
async fn an_error_has_code_message_and_details_and_nothing_else() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut connection = Connection::open(server.address(), &token).await;
    let request = br#"{"pagination":{"pageSize":-1}}"#;
    let (status, headers, body) = connection.send("POST", LIST, &[("content-type", "application/json")], request).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (400, "application/json"));
    let error: Value = serde_json::from_slice(&body).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&error), ["code", "details", "message"], "{error}");
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["message"].as_str().unwrap().starts_with("pagination.page_size: "), "{error}");
    for detail in error["details"].as_array().unwrap() {
        assert_eq!(keys(detail), ["debug", "type", "value"], "{error}");
        assert!(!detail["value"].as_str().unwrap().contains('='), "unpadded: {detail}");
    }
    let violations = error["details"].as_array().unwrap().iter().find(|one| one["type"] == "google.rpc.BadRequest");
    assert_eq!(violations.unwrap()["debug"]["fieldViolations"][0]["field"], "pagination.page_size");
}

#[tokio::test]
async fn what_is_asked_for_in_the_wrong_way_is_told_the_right_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut connection = Connection::open(server.address(), &token).await;
    for content_type in ["text/plain", "application/xml", "application/jsonx", "application/x-www-form-urlencoded", ""]
    {
        let (status, headers, _) = connection.send("POST", CREATE, &[("content-type", content_type)], b"{}").await;
        assert_eq!(status, 415, "{content_type}");
        let accepted = headers["accept-post"].to_str().unwrap();
        assert!(accepted.contains("application/json") && accepted.contains("application/grpc-web"), "{accepted}");
        connection.assert_goes_on(content_type).await;
    }
    let (status, headers, _) = connection.send("POST", CREATE, &[], b"{}").await;
    assert!(status == 415 && headers.contains_key("accept-post"), "no content type: {status}");
    connection.assert_goes_on("no content type").await;

    // A method with side effects is not asked for by GET, whatever the query says.
    for query in ["", "?connect=v1&encoding=json&message=%7B%7D"] {
        let (status, headers, _) = connection.send("GET", &format!("{CREATE}{query}"), &[], b"").await;
        assert_eq!((status, &headers["allow"]), (405, &"POST".parse().unwrap()), "{query}");
        connection.assert_goes_on("GET").await;
    }
    assert_eq!(database.number("SELECT count(*) FROM personal_access_tokens", &[]).await, 1, "nothing was made");
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        let (status, headers, _) = connection.send(method, IDENTITY, &[], b"").await;
        assert_eq!((status, &headers["allow"]), (405, &"GET, POST".parse().unwrap()), "{method}");
        connection.assert_goes_on(method).await;
    }

    // A stream is not asked for as if it were none.
    let watch = "/grpc.health.v1.Health/Watch";
    let (status, headers, _) = connection.send("POST", watch, &[("content-type", "application/json")], b"{}").await;
    assert_eq!(status, 415);
    assert!(headers["accept-post"].to_str().unwrap().contains("application/connect+json"));
    connection.assert_goes_on("a stream as JSON").await;
}

#[tokio::test]
async fn what_is_no_message_is_an_error_and_the_connection_goes_on() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut connection = Connection::open(server.address(), &token).await;
    let deep = format!(r#"{{"pagination":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let json = [("content-type", "application/json")];
    for body in [
        "",
        "nonsense",
        "[]",
        "{",
        "{}{}",
        r#"{"pagination":{"pageSize":99999999999}}"#,
        r#"{"pagination":{"pageSize":1.5}}"#,
        r#"{"pagination":{"token":"\ud800"}}"#,
        r#"{"pagination":7}"#,
        r#"{"sort":{"order":"NO_SUCH_ORDER"}}"#,
        r#"{"filter":{"subjectTypes":["RESOURCE_TYPE_NO_SUCH"],"new":1}}"#,
        &deep,
    ] {
        let (status, _, answer) = connection.send("POST", LOGS, &json, body.as_bytes()).await;
        let error: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")), "{body:.60}: {error}");
        connection.assert_goes_on(&format!("{body:.60}")).await;
    }
    for query in [
        "",
        "?connect=v1&message=%7B%7D",
        "?connect=v1&encoding=json&base64=1&message=%%%",
        "?connect=v2&encoding=json&message=%7B%7D",
        "?connect=v1&encoding=json&message=%7B",
        "?connect=v1&encoding=json&compression=gzip&base64=1&message=e30",
    ] {
        let (status, _, answer) = connection.send("GET", &format!("{LIST}{query}"), &[], b"").await;
        assert_eq!(status, 400, "{query}: {}", String::from_utf8_lossy(&answer));
        connection.assert_goes_on(query).await;
    }
    let unknown = [("content-type", "application/json"), ("content-encoding", "br")];
    let (status, ..) = connection.send("POST", LIST, &unknown, b"{}").await;
    assert_eq!(status, 501, "a compression that is not known");
    connection.assert_goes_on("a compression that is not known").await;
    let version = [("content-type", "application/json"), ("connect-protocol-version", "2")];
    let (status, ..) = connection.send("POST", LIST, &version, b"{}").await;
    assert_eq!(status, 400, "another version of the protocol");
    connection.assert_goes_on("another version").await;
}

#[tokio::test]
async fn half_an_envelope_is_an_error_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    for spoken in [Spoken::GrpcWeb, Spoken::GrpcWebJson, Spoken::Grpc, Spoken::GrpcJson] {
        let headers = [("authorization", authorization.as_str())];
        for (body, codes) in [
            (&[][..], ["unimplemented", "unimplemented"]),
            (&[0, 0, 0], ["invalid_argument", "unimplemented"]),
            (&[0, 0, 0, 0, 7, 1, 2], ["invalid_argument", "internal"]),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ["unimplemented", "unimplemented"]),
        ] {
            let request = spoken.request(IDENTITY, b"", &headers).map(|_| Bytes::copy_from_slice(body).into());
            let failure = spoken.answer_to(server.address(), request).await.unwrap_err();
            assert!(codes.contains(&failure.code.as_str()), "{spoken:?} {body:?}: {failure:?}");
        }
    }
}
