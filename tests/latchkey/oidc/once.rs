//! What is brought back from a provider is good for one try, whatever comes of that.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use super::{
    Browser, Page, World, assert_in, assert_out, authenticate, begin,
    ways_back::{NOT_BEGUN, ann, with, written},
};
use crate::support::TestServer;

const BEFORE: &str = "You have come back from this sign-in before. Begin a new one.";

/// Somebody who has been at the provider and comes back with this, in a browser with these cookies.
pub(super) async fn on_the_way_back(world: &World) -> (Browser, BTreeMap<String, String>, Url) {
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let cookies = browser.cookies();
    let back = authenticate(&browser, &url, "ann").await;
    (browser, cookies, back)
}

/// Whoever has got hold of the cookies and the answer brings them to a server.
pub(super) async fn bring(
    world: &World,
    server: &TestServer,
    cookies: &BTreeMap<String, String>,
    back: &Url,
) -> (Browser, Page) {
    let thief = Browser::new();
    let port = |server: &TestServer| server.address().rsplit_once(':').unwrap().1.to_owned();
    let of_server = |name: &str| name.replace(&port(&world.server), &port(server));
    thief.set_cookies(cookies.iter().map(|(name, value)| (of_server(name), value.clone())).collect());
    let page = thief.open(&back.as_str().replace(world.server.address(), server.address())).await;
    (thief, page)
}

#[tokio::test]
async fn nobody_goes_through_an_attempt_twice() {
    let world = ann().await;
    let (browser, cookies, back) = on_the_way_back(&world).await;
    assert_in(&browser.open(back.as_str()).await, &browser);
    // The browser has forgotten it: whoever loads the page anew is told to begin anew, and how.
    let page = browser.open(back.as_str()).await;
    assert_eq!((page.status.as_u16(), page.words().contains(NOT_BEGUN)), (400, true), "{}", page.words());
    assert!(page.text.contains("href=\"/sign-in\""), "{}", page.text);
    // Somebody else has not.
    let (thief, page) = bring(&world, &world.server, &cookies, &back).await;
    assert_out(&page, &thief, 403, BEFORE);
    assert!(page.text.contains("href=\"/sign-in\""), "{}", page.text);
    assert!(thief.cookies().is_empty(), "it is good for nothing any more");
    assert_eq!(world.number_of("sessions").await, 1);
    assert_eq!(world.refusals("attempt ended", 1).await.len(), 1);

    // A provider that takes codes twice changes nothing, on another server as well.
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let second = world.beside().await;
    let (browser, cookies, back) = on_the_way_back(&world).await;
    assert_in(&browser.open(back.as_str()).await, &browser);
    for server in [&world.server, &second] {
        let (thief, page) = bring(&world, server, &cookies, &back).await;
        assert_out(&page, &thief, 403, BEFORE);
    }
    assert_eq!((world.number_of("sessions").await, world.number_of("sign_in_attempts").await), (1, 1));
    world.refusals("attempt ended", 2).await;
}

#[tokio::test]
async fn of_two_who_come_back_from_one_attempt_at_once_one_is_let_in() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let second = world.beside().await;
    for _ in 0..5 {
        let (_, cookies, back) = on_the_way_back(&world).await;
        let ((_, one), (_, other)) =
            tokio::join!(bring(&world, &world.server, &cookies, &back), bring(&world, &second, &cookies, &back));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 403], "{} {}", one.words(), other.words());
    }
    assert_eq!(world.number_of("sessions").await, 5);
}

#[tokio::test]
async fn what_a_provider_has_refused_is_not_tried_again() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let no_grant = json!({ "token": { "error": "invalid_grant", "access_token": Value::Null, "id_token": Value::Null }, "status": 400 });
    for (number, (wrong, status)) in [
        (no_grant, 400),
        (json!({ "claims": { "aud": "somebody else" } }), 502),
        (json!({ "behave": { "/token": "huge" } }), 503),
        (json!({ "answer": { "code": Value::Null, "error": "access_denied" } }), 403),
    ]
    .into_iter()
    .enumerate()
    {
        world.acme.wrong(wrong.clone()).await;
        let (browser, cookies, back) = on_the_way_back(&world).await;
        let page = browser.open(back.as_str()).await;
        assert_eq!(page.status.as_u16(), status, "{wrong}: {}", page.words());
        assert!(page.text.contains("href=\"/sign-in\""), "{wrong}: {}", page.text);
        assert!(browser.cookies().is_empty(), "the browser forgets it");
        // Now the provider would take it, and is not asked.
        world.acme.wrong(json!({})).await;
        world.acme.tell("asked", Value::Null).await;
        let back = Url::parse(&with(&Url::parse(&with(&back, "error", None)).unwrap(), "code", Some("x"))).unwrap();
        let (thief, page) = bring(&world, &world.server, &cookies, &back).await;
        assert_out(&page, &thief, 403, BEFORE);
        assert_eq!(world.acme.tell("asked", Value::Null).await, json!({}), "{wrong}");
        world.refusals("attempt ended", i64::try_from(number).unwrap() + 1).await;
    }
    assert_eq!(world.number_of("sessions").await, 0);
    // Whoever begins anew gets in.
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
}

#[tokio::test]
async fn who_brings_back_too_much_waits_and_adds_nothing() {
    let world = World::crooked(json!({})).await;
    let browser = Browser::new();
    begin(&browser, &world.server, "acme", "/").await.unwrap();
    let name = browser.cookies().into_keys().find(|name| name.starts_with("latchkey-sign-in")).unwrap();
    let mut denied = 0;
    let told_to_wait = loop {
        let (text, state) = written(&world.server.keys(), 0);
        browser.set_cookies([(name.clone(), text)].into());
        let page = browser
            .open(&format!("{}/sign-in/acme/callback?error=access_denied&state={state}", world.server.url()))
            .await;
        match page.status.as_u16() {
            403 if denied < 1000 => denied += 1,
            _ => break page,
        }
    };
    assert_eq!(told_to_wait.status.as_u16(), 429, "{}", told_to_wait.words());
    assert!(told_to_wait.headers.contains_key("retry-after"));
    assert!(denied >= 100, "{denied}");
    assert_eq!(world.number_of("sign_in_attempts").await, denied);
    assert!(browser.cookies().contains_key(&name), "the attempt goes on when they have waited");
}
