//! What fails before a provider is asked with the code ends nothing: whoever loads the page once more gets in.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    World, assert_in, assert_out,
    once::{bring, on_the_way_back},
};
use crate::support::eventually;

#[tokio::test]
async fn a_provider_that_cannot_be_found_out_about_ends_no_attempt() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    // On a server that has not asked the provider who it is.
    let second = world.beside().await;
    let (_, cookies, back) = on_the_way_back(&world).await;
    world.acme.wrong(json!({ "behave": { "/.well-known/openid-configuration": "redirect" } })).await;
    let (browser, page) = bring(&world, &second, &cookies, &back).await;
    let here = page.url.as_str().to_owned();
    let words =
        "Account of acme cannot be reached right now, or does not answer as it should. Load this page once more";
    assert_out(&page, &browser, 503, words);
    assert_out(&browser.open(&here).await, &browser, 503, words);
    assert_eq!(browser.cookies().len(), cookies.len(), "the browser keeps the attempt");
    assert_eq!(world.number_of("sign_in_attempts").await, 0);
    assert_eq!(world.acme.tell("asked", Value::Null).await["/token"], Value::Null);
    world.acme.wrong(json!({})).await;
    let reload = async || {
        let page = browser.open(&here).await;
        (page.status != 503).then_some(page)
    };
    assert_in(&eventually("the provider is noticed", reload).await, &browser);
}

#[tokio::test]
async fn who_finds_no_place_gets_in_when_there_is_one() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let mut ways = Vec::new();
    for _ in 0..5 {
        ways.push(on_the_way_back(&world).await);
    }
    let (late, _, back_late) = ways.pop().unwrap();
    world.acme.wrong(json!({ "hold": "/token" })).await;
    let first = join_all(ways.iter().map(|(browser, _, back)| browser.open(back.as_str())));
    let then = async {
        eventually("all places of this peer are taken", async || {
            (world.acme.tell("held", Value::Null).await == 4).then_some(())
        })
        .await;
        let page = late.open(back_late.as_str()).await;
        let attempts = world.number_of("sign_in_attempts").await;
        world.acme.tell("release", Value::Null).await;
        (page, attempts)
    };
    let (first, (page, attempts)) = tokio::join!(first, then);
    assert_out(&page, &late, 503, "Too many people are signing in at this moment. Load this page once more");
    assert_eq!(attempts, 4);
    for (page, (browser, ..)) in first.iter().zip(&ways) {
        assert_in(page, browser);
    }
    assert_in(&late.open(back_late.as_str()).await, &late);
}

#[tokio::test]
async fn an_attempt_ends_before_the_provider_is_asked_with_its_code() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let (browser, cookies, back) = on_the_way_back(&world).await;
    world.acme.wrong(json!({ "hold": "/token" })).await;
    let held = async {
        eventually("the provider is asked", async || (world.acme.tell("held", Value::Null).await == 1).then_some(()))
            .await;
        let attempts = world.number_of("sign_in_attempts").await;
        let again = bring(&world, &world.server, &cookies, &back).await;
        world.acme.tell("release", Value::Null).await;
        (attempts, again)
    };
    let (page, (attempts, (thief, again))) = tokio::join!(browser.open(back.as_str()), held);
    assert_eq!(attempts, 1);
    assert_out(&again, &thief, 403, "You have come back from this sign-in before");
    assert_in(&page, &browser);
}
