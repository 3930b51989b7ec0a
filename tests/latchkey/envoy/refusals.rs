//! Who has no good token is told why as they understand it, and reaches no service.

use std::net::IpAddr;

use latchkey::pb::gitpod::v1::{CreateEnvironmentAccessTokenRequest, DeletePersonalAccessTokenRequest};
use tonic::{Code, Status};

use super::{
    client::{Answer, bearer, send, send_from},
    house::House,
};
use crate::support::{
    Caller, WHOAMI, details, eventually,
    keys::{forged, token_id},
};

const STRANGER: &str = "a valid token is needed: send 'authorization: Bearer TOKEN', with a personal access token that is \
                        whole, not revoked and not expired";

fn invalid(description: &str) -> String {
    format!("Bearer realm=\"latchkey\", error=\"invalid_token\", error_description=\"{description}\"")
}

/// 400 where the request itself is wrong (RFC 6750, section 3.1).
#[track_caller]
fn assert_unauthenticated(answer: &Answer, challenge: &str) {
    let status = if challenge.contains("error=\"invalid_request\"") { 400 } else { 401 };
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["code"], "unauthenticated", "{body}");
    assert!(body["message"].is_string());
}

#[tokio::test]
async fn each_reason_is_told_as_rfc_6750_has_it() {
    let house = House::start().await;
    let (database, latchkey) = (&house.database, &house.latchkey);
    let token = latchkey.user(database, "dev@example.com").await;
    let expired = latchkey.token(database, "dev@example.com", &[]).await;
    database.expire(&token_id(&expired)).await;
    let suspended = latchkey.user(database, "suspended@example.com").await;
    database.suspend("suspended@example.com", true).await;
    let (_, _, elsewhere) = latchkey.stranger(database, "admin").await;
    let environment_id = database.environment_of(&token_id(&token)).await;
    let request = CreateEnvironmentAccessTokenRequest { environment_id };
    let mut holder = latchkey.api(&token).await;
    let of_environment =
        holder.environments.create_environment_access_token(request).await.unwrap().into_inner().access_token;

    let good = bearer(&token);
    let nothing = "Bearer realm=\"latchkey\"".to_owned();
    let two = "Bearer realm=\"latchkey\", error=\"invalid_request\", \
               error_description=\"there is more than one authorization header; send one\"";
    let environment =
        "an environment token is good for the operations of its environment alone; use a personal access token";
    let suspension = "the account of this token is suspended; ask an admin of your organization";
    let cases: Vec<(Vec<String>, String)> = vec![
        (vec![], nothing.clone()),
        (vec!["authorization: Basic YTpi".to_owned()], nothing.clone()),
        (vec!["authorization: Digest username=\"a\", realm=\"b\", response=\"c\"".to_owned()], nothing.clone()),
        (vec!["authorization: ".to_owned()], nothing.clone()),
        (vec![format!("x-authorization: Bearer {token}")], nothing),
        (vec![good.clone(), good.clone()], two.to_owned()),
        (vec![good.clone(), bearer(&forged())], two.to_owned()),
        (vec![bearer(&forged()), good.replace("authorization", "Authorization")], two.to_owned()),
        (vec![format!("{good},Bearer {token}")], two.to_owned()),
        (vec![format!("{good}, {token}")], two.to_owned()),
        (vec![bearer("nonsense")], invalid(STRANGER)),
        (vec![bearer(&token[..token.len() - 1])], invalid(STRANGER)),
        (vec![bearer(&forged())], invalid(STRANGER)),
        (vec![bearer(&elsewhere)], invalid(STRANGER)),
        (vec![bearer(&of_environment)], invalid(environment)),
        (vec![bearer(&suspended)], invalid(suspension)),
    ];
    for (headers, challenge) in &cases {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for (method, path) in [("GET", "/page"), ("POST", "/reports/1"), ("POST", "/shop.v1.Orders/GetOrder")] {
            assert_unauthenticated(&send(house.envoy.address(), method, path, &headers).await, challenge);
        }
    }
    // Not UTF-8.
    let answer = send(house.envoy.address(), "GET", "/page", &["authorization: Bearer \u{e9}"]).await;
    assert_unauthenticated(&answer, &invalid(STRANGER));
    let answer = send(house.envoy.address(), "GET", "/page", &[&bearer(&expired)]).await;
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    assert!(challenge.contains("error=\"invalid_token\", error_description=\"token expired on 20"), "{challenge}");
    assert_unauthenticated(&answer, &challenge);
    // Why another organization's token is not good is said to nobody here.
    database.expire(&token_id(&elsewhere)).await;
    latchkey.api(&elsewhere).await.becomes_refused().await;
    let answer = send(house.envoy.address(), "GET", "/page", &[&bearer(&elsewhere)]).await;
    assert_unauthenticated(&answer, &invalid(STRANGER));
    house.assert_nothing_reached();
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let mut holder = house.latchkey.api(&token).await;
    let grpc = house.envoy.grpc().await;
    for _ in 0..5 {
        let other = house.latchkey.token(&house.database, "dev@example.com", &[]).await;
        for _ in 0..3 {
            assert_eq!(send(house.envoy.address(), "GET", "/page", &[&bearer(&other)]).await.status, 200);
            grpc.call_with_token("/shop.v1.Orders/GetOrder", &other).await.unwrap();
        }
        let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&other) };
        holder.tokens.delete_personal_access_token(delete).await.unwrap();
        house.web.take();
        house.orders.take();
        let answer = send(house.envoy.address(), "GET", "/page", &[&bearer(&other)]).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\", error_description=\"token revoked on 20"), "{challenge}");
        let refused = grpc.call_with_token("/shop.v1.Orders/GetOrder", &other).await.unwrap_err();
        assert!(refused.message().starts_with("token revoked on"), "{refused}");
        house.assert_nothing_reached();
    }
}

#[tokio::test]
async fn clients_of_grpc_are_told_what_latchkey_itself_would_tell_them() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let revoked = house.latchkey.token(&house.database, "dev@example.com", &[]).await;
    house.latchkey.admin(&house.database, &["revoke-token", &token_id(&revoked)]).await.unwrap();
    house.latchkey.api(&revoked).await.becomes_refused().await;
    let (grpc, directly) = (house.envoy.grpc().await, Caller::connect(&house.latchkey.url()).await);
    let path = "/shop.v1.Orders/DeleteOrder";
    for authorization in [vec![], vec![format!("Bearer {}", forged())], vec![format!("Bearer {revoked}")]] {
        let authorization: Vec<&[u8]> = authorization.iter().map(String::as_bytes).collect();
        let refused = grpc.call(path, &authorization).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert_eq!(details(&refused).error_info().unwrap().reason, "UNAUTHENTICATED", "{refused:?}");
        assert!(refused.metadata().contains_key("www-authenticate"));
        let directly = directly.call(WHOAMI, &authorization).await.unwrap_err();
        let said = |status: &Status| (status.code(), status.message().to_owned(), status.details().to_vec());
        assert_eq!(said(&refused), said(&directly));
    }
    let twice = format!("Bearer {token}");
    let refused = grpc.call(path, &[twice.as_bytes(), twice.as_bytes()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    house.assert_nothing_reached();
}

#[tokio::test]
async fn who_floods_is_told_to_wait_and_holders_behind_the_same_address_never_notice() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let expired = house.latchkey.token(&house.database, "dev@example.com", &[]).await;
    house.database.expire(&token_id(&expired)).await;
    let (envoy, flooding) = (house.envoy.address(), IpAddr::from([127, 0, 0, 7]));
    let forged = bearer(&forged());
    let mut tries = 0;
    let told = loop {
        let answer = send_from(flooding, envoy, "GET", "/page", &[&forged]).await;
        tries += 1;
        match answer.status {
            401 if tries < 1000 => {}
            429 => break answer,
            _ => panic!("{answer:?}"),
        }
    };
    assert!(tries > 100, "{tries} tries");
    assert_eq!(answer_code(&told), "resource_exhausted");
    assert_eq!((told.header("retry-after"), told.header("www-authenticate")), (Some("1"), None), "{told:?}");
    // Whoever holds a token, or held one, is answered as ever, and so is every other address.
    for _ in 0..20 {
        assert_eq!(send_from(flooding, envoy, "GET", "/page", &[&bearer(&token)]).await.status, 200);
        assert_eq!(send_from(flooding, envoy, "GET", "/page", &[&bearer(&expired)]).await.status, 401);
        assert_eq!(send_from(flooding, envoy, "GET", "/page", &[]).await.status, 401);
    }
    assert_eq!(send(envoy, "GET", "/page", &[&forged]).await.status, 401);
    house.web.take();

    // Nobody is believed whom they were forwarded for: somebody else would have a hundred tries.
    let forwarded = ["x-forwarded-for: 192.0.2.1", "x-envoy-external-address: 192.0.2.1", "forwarded: for=192.0.2.1"];
    let headers = [&[forged.as_str()], &forwarded[..]].concat();
    let mut tries = 0;
    while send_from(flooding, envoy, "GET", "/page", &headers).await.status != 429 {
        tries += 1;
        assert!(tries < 50, "it has tries left");
    }
    // One limiter for every door, for the same reason.
    let own = Caller::connect_from(flooding, &house.latchkey.url()).await;
    let mut tries = 0;
    while own.call_with_token(WHOAMI, "nonsense").await.unwrap_err().code() != Code::ResourceExhausted {
        tries += 1;
        assert!(tries < 50, "it has tries left");
    }
    // As gRPC.
    let grpc = Caller::connect_from(flooding, &format!("http://{envoy}")).await;
    let refused = eventually("it has no try left", async || {
        let refused = grpc.call_with_token("/shop.v1.Orders/GetOrder", "nonsense").await.unwrap_err();
        (refused.code() != Code::Unauthenticated).then_some(refused)
    })
    .await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(details(&refused).error_info().unwrap().reason, "TOO_MANY_TRIES");
    assert!(details(&refused).retry_info().is_some());
    house.assert_nothing_reached();
}

fn answer_code(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["code"].as_str().unwrap().to_owned()
}
