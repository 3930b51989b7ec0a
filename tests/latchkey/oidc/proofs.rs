//! What a token has to be to prove anything.

use latchkey::domain::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{World, assert_in, assert_out, person};

/// Seconds from now on.
fn at(seconds: i64) -> i64 {
    SystemClock.now().unix_timestamp() + seconds
}

fn claims(claims: Value) -> Value {
    json!({ "claims": claims })
}

#[tokio::test]
async fn a_token_that_is_not_for_us_from_them_now_and_for_this_attempt_proves_nothing() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let url = world.acme.issuer().to_owned();
    let wrongs = [
        claims(json!({ "iss": "https://evil.example" })),
        claims(json!({ "iss": format!("{url}/") })),
        claims(json!({ "aud": "somebody else" })),
        claims(json!({ "aud": [] })),
        claims(json!({ "aud": Value::Null })),
        claims(json!({ "aud": ["latchkey", "somebody else"] })),
        claims(json!({ "azp": "somebody else" })),
        claims(json!({ "exp": at(-61) })),
        claims(json!({ "exp": Value::Null })),
        claims(json!({ "iat": at(-3600) })),
        claims(json!({ "iat": at(120) })),
        claims(json!({ "nonce": Value::Null })),
        claims(json!({ "nonce": "of another attempt" })),
        claims(json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" })),
        claims(json!({ "sub": "" })),
        claims(json!({ "sub": "a\nb" })),
        claims(json!({ "sub": Value::Null })),
        json!({ "algorithm": "none" }),
        json!({ "algorithm": "none", "kid": "first" }),
        json!({ "algorithm": "HS256", "secret": super::CLIENT_SECRET }),
        json!({ "algorithm": "HS256-public" }),
        json!({ "stranger": true }),
        json!({ "signature": "" }),
        json!({ "signature": "AAAA" }),
        json!({ "kid": "no such key" }),
        json!({ "token": { "id_token": Value::Null } }),
        json!({ "token": { "id_token": "no.such.token" } }),
        json!({ "answer": { "iss": "https://evil.example" } }),
    ];
    let mut let_in = Vec::new();
    for wrong in wrongs {
        world.acme.wrong(wrong.clone()).await;
        let (_, page) = world.sign_in("ann").await;
        if ![502, 503].contains(&page.status.as_u16()) {
            let_in.push(format!("{wrong}: {} {}", page.status, page.words()));
        }
    }
    assert!(let_in.is_empty(), "{}", let_in.join("\n"));
    assert_eq!((world.number_of("principals").await, world.number_of("sessions").await), (0, 0));
    let audited = world.audit().await;
    assert!(audited.is_empty(), "{audited:?}");
    // A clock may be a little off.
    for right in [
        json!({}),
        claims(json!({ "exp": at(-20) })),
        claims(json!({ "iat": at(30) })),
        claims(json!({ "azp": "latchkey", "aud": ["latchkey"] })),
        json!({ "answer": { "iss": url } }),
    ] {
        world.acme.wrong(right.clone()).await;
        let (browser, page) = world.sign_in("ann").await;
        assert_eq!(page.status, 303, "{right}: {}", page.words());
        assert_in(&page, &browser);
    }
    let secret = world.acme.tell("last", Value::Null).await["authorization"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("Basic "), "our secret goes in the header: {secret}");
}

#[tokio::test]
async fn a_provider_that_names_itself_in_its_answers_does_so_in_each() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let discovery = json!({ "authorization_response_iss_parameter_supported": true });
    world.acme.wrong(json!({ "discovery": discovery })).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 502, "does not prove who you are");
    world.acme.wrong(json!({ "discovery": discovery, "answer": { "iss": world.acme.issuer() } })).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
}

#[tokio::test]
async fn a_real_provider_that_signs_with_a_shared_secret_proves_nothing() {
    let world = World::real(
        json!({ "ann": person("ann@acme.example", "Ann") }),
        json!({ "allowed_domains": ["acme.example"] }),
    )
    .await;
    world.serve(json!({ "algorithm": "HS256" })).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 502, "does not prove who you are");
    for algorithm in ["PS384", "ES256", "EdDSA", "RS512"] {
        let key = format!("key of {algorithm}");
        world.serve(json!({ "algorithm": algorithm, "key": key })).await;
        let (browser, page) = world.sign_in("ann").await;
        assert_eq!(page.status, 303, "{algorithm}: {}: {}", page.words(), world.server.log());
        assert_in(&page, &browser);
    }
}
