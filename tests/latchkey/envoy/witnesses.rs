//! What is left of what Envoy asked: in the audit log, at the token, in metrics. And who may ask.

use std::{collections::HashMap, net::IpAddr};

use latchkey::pb::envoy::service::auth::v3::{
    Address, AttributeContext, CheckRequest, CheckResponse, HeaderMap, HeaderValue, SocketAddress, address,
    attribute_context::{HttpRequest, Peer, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};
use tonic::{Code, Status};

use super::{
    client::{bearer, send_from},
    house::{House, asking_token},
};
use crate::support::{
    Caller, ServerOptions, TestDatabase, TestServer, eventually, http,
    keys::{forged, token_id},
    network::own_address,
};

const RPC: &str = "envoy.service.auth.v3.Authorization/Check";

#[tokio::test]
async fn a_tokens_use_and_refusals_are_noted_of_whom_envoy_names() {
    let metrics = format!("{}:9465", own_address(2));
    let database = TestDatabase::create().await;
    let options = ServerOptions { args: vec![format!("--metrics-listen={metrics}")], ..ServerOptions::default() };
    let latchkey = TestServer::start_with(&database, options).await;
    let house = House::with(database, latchkey).await;
    let (database, latchkey, envoy) = (&house.database, &house.latchkey, house.envoy.address());
    let token = latchkey.user(database, "dev@example.com").await;
    let read_only = latchkey.token(database, "dev@example.com", &["--read-only"]).await;
    let expired = latchkey.token(database, "dev@example.com", &[]).await;
    database.expire(&token_id(&expired)).await;
    let from = IpAddr::from([127, 0, 0, 8]);
    let agent = "user-agent: somebody's client/1";
    for (token, method, status) in
        [(&token, "GET", 200), (&read_only, "POST", 403), (&expired, "GET", 401), (&forged(), "GET", 401)]
    {
        let answer = send_from(from, envoy, method, "/page", &[&bearer(token), agent]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // Used is what was accepted, also where it may not do what was asked.
    for token in [&token, &read_only] {
        let used = "SELECT count(*) FROM token_last_used WHERE token_id = $1::text::uuid AND host(peer) = '127.0.0.8'
                    AND user_agent = 'somebody''s client/1'";
        eventually("its use is noted", async || (database.number(used, &[&token_id(token)]).await == 1).then_some(()))
            .await;
    }
    let unused = "SELECT count(*) FROM token_last_used WHERE token_id = $1::text::uuid";
    assert_eq!(database.number(unused, &[&token_id(&expired)]).await, 0);
    let entry = "SELECT count(*) FROM audit_logs WHERE token_id = $1::text::uuid AND action = $2 AND reason = $3 AND rpc = $4
                 AND outcome = 'denied' AND host(peer) = '127.0.0.8' AND user_agent = 'somebody''s client/1' AND actor_id IS NOT NULL";
    for (token, action, reason) in
        [(&read_only, "permission_deny", "this token is read-only"), (&expired, "credential_refuse", "expired")]
    {
        eventually("it is in the log", async || {
            (database.number(entry, &[&token_id(token), &action, &reason, &RPC]).await == 1).then_some(())
        })
        .await;
    }
    // Of strangers it is counted how often they tried.
    let tries = "SELECT count(*) FROM audit_tallies WHERE reason = 'malformed or forged' AND host(peer) = '127.0.0.8' AND count = 1";
    let moved = tries.replace("audit_tallies", "audit_logs");
    eventually("the stranger is in the log", async || {
        (database.number(tries, &[]).await + database.number(&moved, &[]).await == 1).then_some(())
    })
    .await;
    // What was let through is no entry of its holder's: it is the service's that was called.
    let holders = "SELECT count(*) FROM audit_logs WHERE token_id = $1::text::uuid AND rpc = $2";
    assert_eq!(database.number(holders, &[&token_id(&token), &RPC]).await, 0);
    let (_, metrics) = http::get(&metrics, "/metrics").await;
    for outcome in ["allowed", "read-only"] {
        assert!(
            metrics.contains(&format!("latchkey_proxied_requests_total{{outcome=\"{outcome}\"}} 1\n")),
            "{metrics}"
        );
    }
    assert!(metrics.contains("latchkey_proxied_requests_total{outcome=\"invalid token\"} 2\n"), "{metrics}");
    for reason in ["forged", "expired"] {
        assert!(metrics.contains(&format!("latchkey_refusals_total{{reason=\"{reason}\"}} 1\n")), "{metrics}");
    }
}

async fn check(client: &Caller, token: &str, attributes: AttributeContext) -> Result<CheckResponse, Status> {
    let mut request = tonic::Request::new(CheckRequest { attributes: Some(attributes) });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    Ok(AuthorizationClient::new(client.channel()).check(request).await?.into_inner())
}

fn attributes(peer: &str, http: HttpRequest, extensions: &[(&str, &str)]) -> AttributeContext {
    let socket = SocketAddress { address: peer.to_owned() };
    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
    let extensions = extensions.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    AttributeContext {
        source: Some(Peer { address: Some(address) }),
        request: Some(Request { http: Some(http) }),
        context_extensions: extensions.collect::<HashMap<_, _>>(),
    }
}

fn with_token(token: &str) -> HttpRequest {
    let header = HeaderValue {
        key: "authorization".to_owned(),
        value: String::new(),
        raw_value: format!("Bearer {token}").into_bytes(),
    };
    HttpRequest {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        header_map: Some(HeaderMap { headers: vec![header] }),
        ..HttpRequest::default()
    }
}

#[track_caller]
fn status(answer: &CheckResponse) -> (Code, i32) {
    let code = Code::from(answer.status.as_ref().unwrap().code);
    match answer.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(_) => (code, 200),
        HttpResponse::DeniedResponse(denied) => (code, denied.status.as_ref().unwrap().code),
    }
}

#[tokio::test]
async fn services_ask_and_nobody_else_and_whatever_they_ask_is_answered() {
    let database = TestDatabase::create().await;
    let latchkey = TestServer::start(&database).await;
    let asking = asking_token(&latchkey, &database).await;
    let token = latchkey.user(&database, "dev@example.com").await;
    let admin = latchkey.admin_user(&database, "admin@example.com").await;
    let client = Caller::connect(&latchkey.url()).await;
    let good = || attributes("192.0.2.1", with_token(&token), &[]);
    assert_eq!(status(&check(&client, &asking, good()).await.unwrap()), (Code::Ok, 200));
    for other in [&token, &admin] {
        let refused = check(&client, other, good()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let refused = check(&client, &forged(), good()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");

    // What is not there is not good: a connection of another kind than HTTP, or nothing at all.
    for nothing in [AttributeContext::default(), attributes("", HttpRequest::default(), &[])] {
        assert_eq!(status(&check(&client, &asking, nothing).await.unwrap()), (Code::Unauthenticated, 401));
    }
    // What Envoy sends without encode_raw_headers.
    let joined = |value: &str| HttpRequest {
        headers: [("authorization".to_owned(), value.to_owned())].into(),
        ..HttpRequest::default()
    };
    let answer = check(&client, &asking, attributes("192.0.2.1", joined(&format!("Bearer {token}")), &[])).await;
    assert_eq!(status(&answer.unwrap()), (Code::Ok, 200));
    let both = format!("Bearer {token},Bearer {token}");
    let answer = check(&client, &asking, attributes("192.0.2.1", joined(&both), &[])).await;
    assert_eq!(status(&answer.unwrap()), (Code::Unauthenticated, 400));

    // A WebSocket, where the proxy lets them pass: whoever may but read would write there.
    let read_only = latchkey.token(&database, "dev@example.com", &["--read-only"]).await;
    for (token, expected) in [(&token, (Code::Ok, 200)), (&read_only, (Code::PermissionDenied, 403))] {
        let mut http = with_token(token);
        let upgrade = HeaderValue { key: "upgrade".to_owned(), value: String::new(), raw_value: b"websocket".to_vec() };
        http.header_map.as_mut().unwrap().headers.push(upgrade);
        let answer = check(&client, &asking, attributes("192.0.2.1", http, &[])).await.unwrap();
        assert_eq!(status(&answer), expected);
    }

    // A mistake of the operator's does not pass, and is told.
    for (value, expected) in [
        ("true", (Code::Ok, 200)),
        ("false", (Code::Ok, 200)),
        ("yes", (Code::Internal, 500)),
        ("", (Code::Internal, 500)),
    ] {
        let answer =
            check(&client, &asking, attributes("192.0.2.1", with_token(&token), &[("keep_authorization", value)]));
        let answer = answer.await.unwrap();
        assert_eq!(status(&answer), expected, "{value}");
        if let Some(HttpResponse::OkResponse(allowed)) = answer.http_response {
            assert_eq!(allowed.headers_to_remove.is_empty(), value == "true");
        }
    }
}

#[tokio::test]
async fn a_network_of_ipv6_that_envoy_names_is_one_peer() {
    let database = TestDatabase::create().await;
    let latchkey = TestServer::start(&database).await;
    let asking = asking_token(&latchkey, &database).await;
    let client = Caller::connect(&latchkey.url()).await;
    let try_from = async |peer: &str| {
        status(&check(&client, &asking, attributes(peer, with_token("nonsense"), &[])).await.unwrap()).1
    };
    let mut tries = 0;
    while try_from(&format!("2001:db8:0:1::{tries:x}")).await == 401 {
        tries += 1;
        assert!(tries < 1000, "nobody is told to wait");
    }
    assert!(tries >= 100, "{tries}");
    assert_eq!(try_from("2001:db8:0:2::1").await, 401);
    for number in 0..tries {
        assert_eq!(
            try_from(&format!("::ffff:192.0.{}.{}", number / 250, number % 250)).await,
            401,
            "IPv4 is not one network"
        );
    }
    // Whoever is not named is not counted: nothing is known that would tell one from another.
    for _ in 0..tries + 10 {
        assert_eq!(try_from("").await, 401);
    }
    // The service that asks is at another address than who is counted.
    assert_eq!(status(&check(&client, &asking, attributes("", with_token(&asking), &[])).await.unwrap()).1, 200);
}
