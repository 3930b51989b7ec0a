//! Who asks, where proxies ask for others: the operator's are believed, and nobody else is.

use std::net::Ipv4Addr;

use serde_json::Value;
use tokio_postgres::Client;
use tonic::Code;

use crate::support::{
    Caller, ServerOptions, TestDatabase, TestServer, WHOAMI, eventually, http1,
    keys::{forged, token_id},
};

/// The proxy: what connects from 127.0.0.1 is believed, as are the networks behind it.
const PROXIES: &str = "127.0.0.1,10.0.0.0/8,fd00::/8";
const CREATE: &str = "/gitpod.v1.UserService/CreatePersonalAccessToken";

async fn start(database: &TestDatabase) -> TestServer {
    let args = vec!["--trusted-proxy".to_owned(), PROXIES.to_owned()];
    TestServer::start_with(database, ServerOptions { args, ..ServerOptions::default() }).await
}

/// A request as HTTP/1.1 has it, with these headers besides.
fn request(path: &str, token: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Makes a token, and says from where that was, as the audit log has it.
async fn peer_of(server: &TestServer, database: &Client, token: &str, headers: &str) -> String {
    let body = r#"{"description":"made","validFor":"2592000s"}"#;
    let answer = http1::send(server.address(), &request(CREATE, token, headers, body)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{headers:?}: {answer}");
    let answer: Value = serde_json::from_str(body).unwrap();
    let id = token_id(answer["token"].as_str().unwrap());
    let query = "SELECT host(peer) FROM audit_logs WHERE subject_id = $1::text::uuid";
    database.query_one(query, &[&id]).await.unwrap().get(0)
}

#[tokio::test]
async fn acts_are_of_the_rightmost_address_that_is_no_proxy() {
    let database = TestDatabase::create().await;
    let server = start(&database).await;
    let token = server.admin_user(&database, "admin@example.com").await;
    let sql = database.owner().await;
    let long = format!("X-Forwarded-For: {}192.0.2.7\r\n", "198.51.100.1, ".repeat(2000));
    let circle = format!("X-Forwarded-For: 192.0.2.7{}\r\n", ", 10.0.0.2".repeat(100));
    for (headers, expected) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("x-forwarded-for:192.0.2.7:1234\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
        ("X-Forwarded-For: [2001:db8::7]\r\n", "2001:db8::7"),
        ("X-Forwarded-For: [2001:db8::7]:1234\r\n", "2001:db8::7"),
        ("X-Forwarded-For: ::ffff:192.0.2.7\r\n", "192.0.2.7"),
        // What the client wrote is left of what proxies did.
        ("X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: garbage,,\r\nX-Forwarded-For: 192.0.2.7, [fd00::1]:80, 10.1.2.3\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 10.0.0.9, 192.0.2.7\r\n", "192.0.2.7"),
        (long.as_str(), "192.0.2.7"),
        // What cannot be read is of whoever passed it on.
        ("X-Forwarded-For: 192.0.2.7, unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7, \"10.0.0.1\"\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For:\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7, garbage, 10.0.0.2\r\n", "10.0.0.2"),
        (circle.as_str(), "10.0.0.2"),
        // Others that say so are not read.
        ("Forwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nX-Client-IP: 192.0.2.7\r\n", "127.0.0.1"),
        ("Forwarded: for=198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("X_Forwarded_For: 192.0.2.7\r\n", "127.0.0.1"),
    ] {
        let shown: String = headers.chars().take(100).collect();
        assert_eq!(peer_of(&server, &sql, &token, headers).await, expected, "{shown:?}");
    }
    let id = token_id(&token);
    let used = "SELECT host(peer) FROM token_last_used WHERE token_id = $1::text::uuid";
    http1::send(server.address(), &request(WHOAMI, &token, "X-Forwarded-For: 192.0.2.99\r\n", "{}")).await;
    eventually("the use is written with the address that it was forwarded for", async || {
        let row = sql.query_opt(used, &[&id]).await.unwrap()?;
        (row.get::<_, &str>(0) == "192.0.2.99").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_is_believed_without_the_option() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let sql = database.owner().await;
    for headers in ["X-Forwarded-For: 192.0.2.7\r\n", "Forwarded: for=192.0.2.7\r\n"] {
        assert_eq!(peer_of(&server, &sql, &token, headers).await, "127.0.0.1");
    }
}

/// Sends a guess; the HTTP status that came of it.
async fn guess(server: &TestServer, from: Ipv4Addr, forwarded: &str) -> u16 {
    let request = request(WHOAMI, &forged(), &format!("X-Forwarded-For: {forwarded}\r\n"), "{}");
    let answer = http1::send_from(from, server.address(), &request).await;
    answer[9..12].parse().unwrap()
}

#[tokio::test]
async fn guesses_are_counted_for_whom_a_proxy_asks_and_a_good_token_never_notices() {
    let database = TestDatabase::create().await;
    let server = start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let (proxy, stranger) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    // Through the proxy, with another made-up address in front each time.
    let mut number = 0;
    while guess(&server, proxy, &format!("198.51.100.{}, 192.0.2.7", number % 250)).await != 429 {
        number += 1;
        assert!(number < 10_000, "it never ends");
    }
    assert!(number >= 100, "only after {number}");
    // Somebody else behind the same proxy has tries of their own, and whoever holds a token there is answered as ever.
    assert_eq!(guess(&server, proxy, "192.0.2.8").await, 401);
    let good = request(WHOAMI, &token, "X-Forwarded-For: 192.0.2.7\r\n", "{}");
    for _ in 0..20 {
        assert!(http1::send(server.address(), &good).await.starts_with("HTTP/1.1 200"));
        guess(&server, proxy, "192.0.2.7").await;
    }
    // Who is no proxy is counted as who they are, whoever they say they ask for; and so uses up nobody else's tries.
    let mut number = 0;
    while guess(&server, stranger, &format!("192.0.2.{}", 8 + number % 240)).await != 429 {
        number += 1;
        assert!(number < 10_000, "it never ends");
    }
    assert_eq!(guess(&server, proxy, "192.0.2.9").await, 401);
    // Nor has an address that nobody can read: it is the proxy's own.
    assert_eq!(guess(&server, proxy, "unknown").await, 401);
}

#[tokio::test]
async fn streams_without_a_token_are_counted_for_whom_a_proxy_asks() {
    let database = TestDatabase::create().await;
    let server = start(&database).await;
    let caller = Caller::connect(&server.url()).await;
    let watch = async |address: &str| {
        let mut client = tonic_health::pb::health_client::HealthClient::new(caller.channel());
        let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        client.watch(request).await
    };
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(watch("192.0.2.7").await.unwrap());
    }
    assert_eq!(watch("192.0.2.7").await.unwrap_err().code(), Code::ResourceExhausted);
    watch("192.0.2.8").await.unwrap();
}
