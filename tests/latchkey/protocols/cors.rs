//! Pages of other origins, as their browsers ask for them.

use std::collections::BTreeSet;

use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use super::spoken::Spoken;
use crate::support::{ServerOptions, TestDatabase, TestServer};

const IDENTITY: &str = "/gitpod.v1.IdentityService/GetAuthenticatedIdentity";
const APP: &str = "https://app.example";

async fn open_to(database: &TestDatabase, origins: &str) -> TestServer {
    let env = vec![("LATCHKEY_CORS_ALLOWED_ORIGINS".to_owned(), origins.to_owned())];
    TestServer::start_with(database, ServerOptions { env, ..ServerOptions::default() }).await
}

async fn send(server: &TestServer, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(path).header("host", "latchkey.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if method == "POST" { "{}" } else { "" };
    Spoken::ConnectJson.send(server.address(), request.body(Full::new(body.into())).unwrap()).await
}

/// What a browser asks before it lets a page call.
async fn preflight(server: &TestServer, origin: &str, path: &str) -> Response<Incoming> {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,connect-protocol-version,content-type"),
    ];
    send(server, "OPTIONS", path, &asked).await
}

/// The words of a header that lists some.
fn words<'a>(headers: &'a HeaderMap, name: &str) -> BTreeSet<&'a str> {
    let all = headers.get_all(name).iter();
    all.flat_map(|value| value.to_str().unwrap().split(',').map(str::trim)).collect()
}

fn is_of_cors(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("access-control-"))
}

#[tokio::test]
async fn no_page_of_another_origin_may_call_unless_it_is_named() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let asked = preflight(&server, APP, IDENTITY).await;
    assert!(asked.status() == 401 && !is_of_cors(asked.headers()), "{asked:?}");
    let headers =
        [("authorization", &*format!("Bearer {token}")), ("content-type", "application/json"), ("origin", APP)];
    let answer = send(&server, "POST", IDENTITY, &headers).await;
    assert!(answer.status() == 200 && !is_of_cors(answer.headers()), "{answer:?}");
}

#[tokio::test]
async fn a_page_of_a_named_origin_may_call_and_read_the_answer() {
    let database = TestDatabase::create().await;
    let server = open_to(&database, "http://localhost:3000,https://app.example").await;
    let token = server.user(&database, "dev@example.com").await;

    // Before it is known who calls, wherever the API is.
    for path in [IDENTITY, "/api/gitpod.v1.TokenService/CreatePersonalAccessToken"] {
        let asked = preflight(&server, APP, path).await;
        let headers = asked.headers();
        assert_eq!((asked.status().as_u16(), &headers["access-control-allow-origin"]), (200, &APP.parse().unwrap()));
        assert_eq!(words(headers, "access-control-allow-methods"), ["GET", "POST"].into());
        let sent = words(headers, "access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "connect-protocol-version",
            "connect-timeout-ms",
            "x-grpc-web",
            "grpc-timeout",
            "x-user-agent",
        ] {
            assert!(sent.contains(name), "{name} in {sent:?}");
        }
        assert!(!sent.contains("cookie") && !sent.contains("*"), "{sent:?}");
        assert!(!headers.contains_key("access-control-allow-credentials"), "{headers:?}");
    }

    // The answer, good or bad.
    let good = format!("Bearer {token}");
    for (authorization, status) in [(good.as_str(), 200), ("Bearer x", 401)] {
        let headers = [("authorization", authorization), ("content-type", "application/json"), ("origin", APP)];
        let answer = send(&server, "POST", IDENTITY, &headers).await;
        let headers = answer.headers();
        assert_eq!(
            (answer.status().as_u16(), &headers["access-control-allow-origin"]),
            (status, &APP.parse().unwrap())
        );
        let read = words(headers, "access-control-expose-headers");
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
            assert!(read.contains(name), "{name} in {read:?}");
        }
        assert!(!headers.contains_key("access-control-allow-credentials"), "{headers:?}");
    }
}

#[tokio::test]
async fn answers_differ_by_origin_and_say_so() {
    let database = TestDatabase::create().await;
    let server = open_to(&database, APP).await;
    for origin in ["https://other.example", "https://app.example.other.example", "http://app.example", "null"] {
        let asked = preflight(&server, origin, IDENTITY).await;
        assert!(!asked.headers().contains_key("access-control-allow-origin"), "{origin}: {asked:?}");
        let headers = [("content-type", "application/json"), ("origin", origin)];
        let answer = send(&server, "POST", IDENTITY, &headers).await;
        assert!(answer.status() == 401, "it is refused for what it lacks: {answer:?}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{origin}: {answer:?}");
        assert!(words(answer.headers(), "vary").contains("origin"), "{origin}: {answer:?}");
    }
    // A cache must not give one without these headers to who needs them.
    let plain = send(&server, "POST", IDENTITY, &[("content-type", "application/json")]).await;
    assert!(words(plain.headers(), "vary").contains("origin"), "{plain:?}");
    assert!(!plain.headers().contains_key("access-control-allow-origin"), "{plain:?}");
}

#[tokio::test]
async fn origins_that_no_browser_sends_are_mistakes() {
    let database = TestDatabase::create().await;
    let args = ["--cors-allowed-origin", "*", "--cors-allowed-origin", "app.example,https://app.example/"];
    let args = args.map(str::to_owned).to_vec();
    let options = ServerOptions { args, ..ServerOptions::default() };
    let Err(said) = TestServer::try_start_with(&database, options).await else { panic!("it started") };
    for mistake in
        ["origin *: ", "origin app.example: ", "origin https://app.example/: browsers write it https://app.example\n"]
    {
        assert!(said.contains(mistake), "{mistake} in: {said}");
    }
}
