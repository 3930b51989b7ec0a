//! Nobody tells a service behind Envoy who they are but Latchkey.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{
    client::{bearer, connect, send, send_text},
    house::House,
    upstream::Upstream,
};
use crate::support::keys::token_id;

/// Headers that a service may take for ours.
const FORGED: [&[&str]; 10] = [
    &["x-latchkey-principal-id: forged"],
    &["X-LATCHKEY-Principal-ID: forged", "X-Latchkey-Principal-Kind: forged"],
    &["x-latchkey-principal-id: forged", "x-latchkey-principal-id: forged", "X-Latchkey-Principal-Id: forged"],
    &["x-latchkey-organization-id: forged", "x-latchkey-token-id: forged", "x-latchkey-token-id: again"],
    &["x-latchkey-of-the-future: forged"],
    &["x-latchkey: forged"],
    &["x.latchkey.principal.id: forged", "x-latchkey.principal-id: forged", "x~latchkey~principal~id: forged"],
    &["xlatchkey-principal-id: forged"],
    // An old way to have a proxy take a header away.
    &["connection: close, x-latchkey-principal-id", "x-latchkey-principal-id: forged"],
    &["connection: x-latchkey-token-id, x-latchkey-organization-id"],
];

/// With underscores they are not even looked at.
const WITH_UNDERSCORES: [&str; 4] = [
    "x_latchkey_principal_id: forged",
    "X_LATCHKEY_PRINCIPAL_ID: forged",
    "x-latchkey_principal-id: forged",
    "x_latchkey-principal-id: forged",
];

/// A way through Envoy: method, path, further headers, where it leads, and whether Latchkey is asked.
struct Way<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [&'a str],
    service: &'a Upstream,
    is_asked: bool,
}

fn ways(house: &House) -> [Way<'_>; 4] {
    let grpc: &[&str] = &["content-type: application/grpc", "te: trailers"];
    [
        Way { method: "GET", path: "/page", headers: &[], service: &house.web, is_asked: true },
        Way { method: "POST", path: "/reports/1?all", headers: &[], service: &house.reports, is_asked: true },
        Way { method: "POST", path: "/shop.v1.Orders/GetOrder", headers: grpc, service: &house.orders, is_asked: true },
        Way { method: "GET", path: "/public/page", headers: &[], service: &house.web, is_asked: false },
    ]
}

/// What a service is told of the caller: of this one, or nothing.
async fn expected(house: &House, token: &str, is_asked: bool) -> Vec<(String, String)> {
    if !is_asked {
        return Vec::new();
    }
    let holder = "SELECT principal_id || ' ' || organization_id FROM personal_access_tokens WHERE id = $1::text::uuid";
    let stored = house.database.text(holder, &[&token_id(token)]).await;
    let (principal, organization) = stored.split_once(' ').unwrap();
    [
        ("x-latchkey-organization-id", organization),
        ("x-latchkey-principal-id", principal),
        ("x-latchkey-principal-kind", "user"),
        ("x-latchkey-token-id", &token_id(token)),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn what_is_forged_reaches_no_service_on_any_route_in_any_spelling() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let authorization = bearer(&token);
    for way in ways(&house) {
        let expected = expected(&house, &token, way.is_asked).await;
        for forged in FORGED {
            let headers = [&[authorization.as_str()], way.headers, forged].concat();
            let answer = send(house.envoy.address(), way.method, way.path, &headers).await;
            assert_eq!(answer.status, 200, "{} {forged:?}: {answer:?}", way.path);
            assert_eq!(way.service.take_one().of_latchkey(), expected, "{} {forged:?}", way.path);
        }
        for forged in WITH_UNDERSCORES {
            let headers = [&[authorization.as_str()], way.headers, &[forged]].concat();
            let answer = send(house.envoy.address(), way.method, way.path, &headers).await;
            assert_eq!(answer.status, 400, "{} {forged}: {answer:?}", way.path);
            let name = forged.split(':').next().unwrap().to_lowercase();
            assert!(over_http2(&house, &way, &token, &name, &[]).await.is_none(), "HTTP/2 {} {forged}", way.path);
        }
        house.assert_nothing_reached();
    }
}

#[tokio::test]
async fn what_is_forged_in_trailers_reaches_no_service() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    for way in ways(&house) {
        let expected = expected(&house, &token, way.is_asked).await;
        // HTTP/1.1.
        let headers: String = way.headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: services.example\r\nconnection: close\r\n{headers}{}\r\ntransfer-encoding: chunked\r\n\
             trailer: x-latchkey-principal-id\r\n\r\n1\r\nx\r\n0\r\nX-Latchkey-Principal-Id: forged\r\nx_latchkey_token_id: forged\r\n\r\n",
            way.path,
            bearer(&token)
        );
        let answer = send_text(Ipv4Addr::LOCALHOST.into(), house.envoy.address(), &request).await;
        // Envoy may also refuse the whole of it.
        if answer.status == 200 {
            assert_eq!(way.service.take_one().of_latchkey(), expected, "HTTP/1.1 {}", way.path);
        } else {
            assert_eq!(answer.status, 400, "{answer:?}");
            house.assert_nothing_reached();
        }
        // HTTP/2, where trailers are passed on.
        let trailers = ["x-latchkey-principal-id", "x.latchkey.token.id"];
        assert!(over_http2(&house, &way, &token, "x-latchkey-principal-id", &trailers).await.is_some(), "{}", way.path);
        let reached = way.service.take_one();
        assert_eq!(reached.of_latchkey(), expected, "HTTP/2 {}", way.path);
        if reached.version == Version::HTTP_2 {
            assert!(reached.trailers.contains_key("x-mine"), "trailers come through: {reached:?}");
        }
    }
}

/// Sends a request with a header and trailers of these names; whether it is answered.
async fn over_http2(house: &House, way: &Way<'_>, token: &str, forged: &str, trailing: &[&'static str]) -> Option<()> {
    let stream = connect(Ipv4Addr::LOCALHOST.into(), house.envoy.address()).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut trailers = HeaderMap::new();
    for name in trailing {
        trailers.append(*name, HeaderValue::from_static("forged"));
    }
    trailers.append("x-mine", HeaderValue::from_static("whatever"));
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let mut request = Request::post(format!("http://services.example{}", way.path))
        .header("authorization", format!("Bearer {token}"))
        .header(forged, "forged");
    for line in way.headers {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    // A request that is refused for its form is broken off.
    let answer = client.send_request(request.body(body).unwrap()).await.ok()?;
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    Some(())
}
