//! Keys of a provider come and go.

use serde_json::{Value, json};

use super::{World, assert_in, assert_out, person};

#[tokio::test]
async fn a_new_key_of_the_provider_is_found_at_once() {
    let world = World::real(
        json!({ "ann": person("ann@acme.example", "Ann") }),
        json!({ "allowed_domains": ["acme.example"] }),
    )
    .await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    world.serve(json!({ "key": "second" })).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
}

#[tokio::test]
async fn keys_that_are_nowhere_are_not_looked_for_again_and_again() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    world.acme.wrong(json!({ "kid": "no such key" })).await;
    for _ in 0..10 {
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, 502, "does not prove who you are");
    }
    let asked = world.acme.tell("asked", Value::Null).await;
    // Once to know any, and five times because of a key; one more if this has taken very long.
    let times = asked["/jwks"].as_u64().unwrap();
    assert!((6..=7).contains(&times), "{asked}");
    assert_eq!(asked["/token"], 10, "{asked}");
    world.acme.wrong(json!({})).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
}
