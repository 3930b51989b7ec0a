//! Streams that need no token: a stranger holds only so many.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::{
    spoken::Spoken,
    streams::{EVERY, WATCH},
};
use crate::support::{Caller, TestDatabase, TestServer, details, eventually, http1};

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

async fn watch(caller: &Caller) -> Result<Streaming<HealthCheckResponse>, Status> {
    let asked = HealthClient::new(caller.channel()).watch(HealthCheckRequest::default()).await;
    asked.map(tonic::Response::into_inner)
}

/// So many streams from one address.
async fn watches(address: Ipv4Addr, server: &TestServer, number: usize) -> Vec<Streaming<HealthCheckResponse>> {
    let caller = Caller::connect_from(IpAddr::V4(address), &server.url()).await;
    let mut open = vec![];
    for _ in 0..number {
        open.push(watch(&caller).await.unwrap());
    }
    open
}

#[tokio::test]
async fn one_address_holds_a_hundred_streams_without_a_token_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut open = vec![];
    // Whatever is spoken, and whatever is asked for, counts alike.
    for streamed in EVERY {
        let mut health = streamed.open(server.address(), WATCH, &[], &[json!({})]).await;
        assert_eq!(health.next().await, Ok(json!({ "status": "SERVING" })), "{streamed:?}");
        open.push(health);
    }
    let from_here = Ipv4Addr::LOCALHOST;
    let mut others = watches(from_here, &server, 100 - open.len()).await;

    for streamed in EVERY {
        for (rpc, message) in [(WATCH, json!({})), (REFLECTION, json!({ "listServices": "*" }))] {
            // A token is no reason to hold more: it is not looked at.
            for headers in [&[][..], &[("authorization", "Bearer nonsense")]] {
                let refused =
                    streamed.open(server.address(), rpc, headers, std::slice::from_ref(&message)).await.next().await;
                assert_eq!(refused, Err("resource_exhausted".to_owned()), "{streamed:?} {rpc}");
            }
        }
    }
    let caller = Caller::connect(&server.url()).await;
    let refused = watch(&caller).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("100 streams") && refused.message().contains("your address"), "{refused}");
    assert_eq!(details(&refused).error_info().unwrap().reason, "LIMIT_REACHED");
    let lines = http1::send(
        server.address(),
        format!(
            "POST /{WATCH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/jsonl\r\n\
             content-length: 2\r\n\r\n{{}}"
        )
        .as_bytes(),
    )
    .await;
    assert!(lines.starts_with("HTTP/1.1 429"), "{lines}");

    // All else goes on, and so does everybody else.
    let check = Spoken::ConnectJson.call(server.address(), "grpc.health.v1.Health/Check", &[], json!({})).await;
    assert_eq!(check, Ok(json!({ "status": "SERVING" })));
    assert!(http1::get(server.address(), "/readyz", "").await.starts_with("HTTP/1.1 200"));
    watches(Ipv4Addr::new(127, 0, 0, 2), &server, 1).await[0].message().await.unwrap().unwrap();

    // A place is free when its stream has ended, however it was spoken.
    drop(open.swap_remove(0));
    drop(others.pop());
    let mut again = eventually("there are places again", async || watch(&caller).await.ok()).await;
    again.message().await.unwrap().unwrap();
    let mut second = eventually("there is another one", async || watch(&caller).await.ok()).await;
    second.message().await.unwrap().unwrap();
    assert_eq!(watch(&caller).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn all_addresses_together_hold_a_thousand_streams_without_a_token() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut open = vec![];
    for last in 1..=10 {
        open.extend(watches(Ipv4Addr::new(127, 0, 1, last), &server, 100).await);
    }
    let other = Caller::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 11)), &server.url()).await;
    let refused = watch(&other).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("1000 streams") && refused.message().contains("in all"), "{refused}");
    // Whoever has a token watches all the same.
    other.call_with_token("/gitpod.v1.EventService/WatchEvents", &token).await.unwrap();
    drop(open.pop());
    eventually("a place is free", async || watch(&other).await.ok()).await;
}

#[tokio::test]
async fn who_leaves_gives_the_place_back_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for streamed in EVERY {
        let mut open = vec![];
        // The second half has to wait for the first one's end, and comes to all of its places.
        for number in 0..200 {
            if number == 100 {
                open.clear();
            }
            let asked = eventually("a place is free", async || {
                let mut stream = streamed.open(server.address(), WATCH, &[], &[json!({})]).await;
                stream.next().await.is_ok().then_some(stream)
            });
            open.push(asked.await);
        }
    }
}
