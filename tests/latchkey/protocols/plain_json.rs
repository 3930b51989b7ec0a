//! What clients rely on that speak JSON over HTTP and know no protocol.

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{spoken::Spoken, streams::WATCH};
use crate::support::{SOON, TestDatabase, TestServer, token_text::token_id};

const TOKENS: &str = "gitpod.v1.TokenService";
const LIST: &str = "gitpod.v1.TokenService/ListPersonalAccessTokens";

/// Asks for a list with this query and this body. Returns the IDs that it has and the token of the next page.
async fn page(address: &str, token: &str, query: &str, body: Value) -> (Vec<String>, String) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let path = format!("/api/{LIST}{query}");
    let listed = Spoken::ConnectJson.call_at(address, &path, LIST, &headers, body).await.unwrap();
    let ids = listed["personalAccessTokens"].as_array().unwrap().iter();
    let ids = ids.map(|token| token["id"].as_str().unwrap().to_owned()).collect();
    (ids, listed["pagination"]["nextToken"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn pages_that_are_asked_for_in_the_query_alone_come_to_an_end() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut all = vec![token_id(&token).to_string()];
    for _ in 0..4 {
        all.push(token_id(&server.token(&database, "dev@example.com", &[]).await).to_string());
    }
    // As a client does that never changes its body.
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let query = match next.as_str() {
            "" => "?pageSize=2".to_owned(),
            next => format!("?token={next}&pageSize=2"),
        };
        let (ids, following) = page(server.address(), &token, &query, json!({})).await;
        assert!(ids.len() <= 2 && seen.len() < all.len(), "{query}: {ids:?} after {seen:?}");
        seen.extend(ids);
        next = following;
        if next.is_empty() {
            break;
        }
    }
    seen.sort();
    all.sort();
    assert_eq!(seen, all);

    // The query wins, and what it does not say is the body's.
    let body = json!({ "pagination": { "pageSize": 3 } });
    assert_eq!(page(server.address(), &token, "?page_size=1", body.clone()).await.0.len(), 1);
    let (first, next) = page(server.address(), &token, "", body.clone()).await;
    assert_eq!(first.len(), 3);
    let (rest, _) = page(server.address(), &token, &format!("?token={next}"), body).await;
    assert_eq!(rest.len(), 2);
    assert!(rest.iter().all(|id| !first.contains(id)));
}

#[tokio::test]
async fn a_bad_page_in_the_query_is_refused_by_name() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    for (query, name) in [
        ("pageSize=ten", "pageSize"),
        ("page_size=9999999999", "page_size"),
        ("pageSize=-1", "pagination.page_size"),
        ("token=x&token=y", "token"),
        ("token=made-up", "pagination.token"),
    ] {
        let path = format!("/{LIST}?{query}");
        let call = |spoken: Spoken| spoken.call_at(server.address(), &path, LIST, &headers, json!({}));
        let refused = call(Spoken::ConnectJson).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.status), ("invalid_argument", 400), "{query}");
        assert!(refused.message.starts_with(name), "{query}: {refused:?}");
        // Who speaks a protocol says it in the message.
        for spoken in [Spoken::ConnectProto, Spoken::GrpcWebJson, Spoken::Grpc] {
            call(spoken).await.unwrap_or_else(|failure| panic!("{spoken:?} {query}: {failure:?}"));
        }
    }
}

#[tokio::test]
async fn what_another_try_cannot_mend_says_so() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let failure = async |authorization: &str, path: &str, body: &[u8], more: &[(&str, &str)]| {
        let headers = [&[("authorization", authorization)], more].concat();
        let request = Spoken::ConnectJson.request(path, body, &headers);
        let failure = Spoken::ConnectJson.answer_to(server.address(), request).await.unwrap_err();
        (failure.status, failure.headers.get("x-should-retry").map(|value| value.to_str().unwrap().to_owned()))
    };
    let no = Some("false".to_owned());
    let list = format!("/{LIST}");
    let create = format!("/{TOKENS}/CreatePersonalAccessToken");
    let long = vec![b' '; 300 * 1024];
    // Said by the layers in front, the engine, and a handler.
    assert_eq!(failure("Bearer x", &list, b"{}", &[]).await, (401, no.clone()));
    assert_eq!(failure(&authorization, "/no.such.Service/Method", b"{}", &[]).await, (404, no.clone()));
    assert_eq!(failure(&authorization, &list, b"{}", &[("content-encoding", "br")]).await, (501, no.clone()));
    assert_eq!(failure(&authorization, &list, &long, &[]).await, (429, no.clone()));
    assert_eq!(failure(&authorization, &list, b"{}", &[("connect-timeout-ms", "0")]).await, (504, no.clone()));
    assert_eq!(failure(&authorization, &create, b"{}", &[]).await, (400, no));
}

#[tokio::test]
async fn what_time_mends_says_when_to_come_again() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    database.cluster().stop().await;
    let away = Spoken::ConnectJson.call_as(server.address(), &token, LIST, json!({})).await.unwrap_err();
    assert_eq!((away.code.as_str(), away.status), ("unavailable", 503));
    assert_eq!(away.headers["retry-after"], "1", "{away:?}");
    assert!(!away.headers.contains_key("x-should-retry"), "{away:?}");
}

#[tokio::test]
async fn a_stream_can_be_lines_of_json() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let asked = [
        &[("content-type", "application/json"), ("accept", "application/jsonl"), ("accept-encoding", "gzip")][..],
        &[("content-type", "application/jsonl"), ("accept", "application/jsonl")],
    ];
    let mut open = Vec::new();
    for headers in asked {
        let mut request = Request::post(format!("/api//{WATCH}")).header("host", "latchkey.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new("{}".into())).unwrap();
        let mut response = Spoken::ConnectJson.send(server.address(), request).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/jsonl".parse().unwrap())
        );
        assert!(!response.headers().contains_key("content-encoding"), "{response:?}");
        assert!(response.headers().contains_key("x-request-id"), "{response:?}");
        let first = tokio::time::timeout(SOON, response.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.into_data().unwrap().trim_ascii(), br#"{"status":"SERVING"}"#, "{headers:?}");
        open.push(response);
    }
    let ending = tokio::spawn(async move {
        for response in open {
            let rest = tokio::time::timeout(SOON, response.collect()).await.unwrap().unwrap().to_bytes();
            assert_eq!(rest.trim_ascii(), br#"{"status":"NOT_SERVING"}"#);
        }
    });
    assert!(server.stop().await, "{}", server.log());
    ending.await.unwrap();
}

#[tokio::test]
async fn strangers_have_no_lines_of_json() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for headers in [
        [("content-type", "application/json"), ("accept", "application/jsonl")],
        [("content-type", "application/jsonl"), ("accept", "*/*")],
    ] {
        let mut request = Request::post("/supervisor.v1.EnvironmentOpsService/Exec").header("host", "latchkey.test");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new("{}".into())).unwrap();
        let refused = Spoken::ConnectJson.answer_to(server.address(), request).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.status), ("unauthenticated", 401));
        assert_eq!(refused.headers["content-type"], "application/json");
    }
}
