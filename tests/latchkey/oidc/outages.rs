//! Providers that are away, or answer as none should.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Browser, Configuration, Provider, World, assert_in, assert_out, authenticate, begin, person, sign_in};
use crate::support::{TestDatabase, TestServer, eventually};

#[tokio::test]
async fn a_provider_that_is_down_keeps_nobody_else_out_and_is_noticed_when_it_is_back() {
    let acme = Provider::real(json!({ "ann": person("ann@acme.example", "Ann") })).await;
    let other = Provider::real(json!({ "bob": person("bob@acme.example", "Bob") })).await;
    acme.tell("close", Value::Null).await;
    let allowed = json!({ "allowed_domains": ["acme.example"] });
    let configuration = Configuration::of(&[("acme", &acme, allowed.clone()), ("other", &other, allowed)]);
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, configuration.options()).await;
    let redirects = configuration.redirects(&[&server]);
    other.serve(&redirects, json!({})).await;
    let ann = Browser::new();
    let page = sign_in(&ann, &server, "acme", "ann").await;
    assert_out(&page, &ann, 503, "Account of acme cannot be reached right now");
    let bob = Browser::new();
    let page = sign_in(&bob, &server, "other", "bob").await;
    assert_in(&page, &bob);

    acme.tell("listen", Value::Null).await;
    acme.serve(&redirects, json!({})).await;
    let signed_in = async || {
        let page = sign_in(&ann, &server, "acme", "ann").await;
        (page.status == 303).then_some(page)
    };
    let page = eventually("the provider is noticed", signed_in).await;
    assert_in(&page, &ann);

    // It goes away while somebody is on the way.
    let browser = Browser::new();
    let url = begin(&browser, &server, "acme", "/settings/sessions").await.unwrap();
    let back = authenticate(&browser, &url, "ann").await;
    acme.tell("close", Value::Null).await;
    let page = browser.open(back.as_str()).await;
    assert_out(&page, &browser, 503, "Account of acme cannot be reached right now");
}

#[tokio::test]
async fn answers_that_are_too_large_or_never_end_are_given_up() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    // What is too much is noticed at once, and redirects are not followed.
    for (path, how) in [
        ("/token", "huge"),
        ("/token", "endless"),
        ("/token", "redirect"),
        ("/userinfo", "huge"),
        ("/userinfo", "endless"),
        ("/userinfo", "redirect"),
    ] {
        world.acme.wrong(json!({ "behave": { path: how }, "claims": { "email": Value::Null } })).await;
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, 503, "cannot be reached right now");
    }
    let given_up = world.server.log().matches("the answer has more than 524288 bytes").count();
    assert_eq!(given_up, 4, "by their size, and not by what is in them, or after a while");
    let asked = world.acme.tell("asked", Value::Null).await;
    assert_eq!((&asked["/elsewhere"], &asked["/token"]), (&Value::Null, &json!(6)), "{asked}");
    // Of what does not end, the end is waited for, but not for long.
    let mut ways = Vec::new();
    for (path, how) in [("/token", "silent"), ("/token", "trickling"), ("/userinfo", "silent")] {
        let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
        world.acme.wrong(json!({ "behave": { path: how }, "claims": { "email": Value::Null } })).await;
        ways.push(async move {
            let (browser, page) = world.sign_in("ann").await;
            assert_out(&page, &browser, 503, "cannot be reached right now");
            world.acme.wrong(json!({})).await;
            let (browser, page) = world.sign_in("ann").await;
            assert_in(&page, &browser);
        });
    }
    futures::future::join_all(ways).await;
}

#[tokio::test]
async fn a_document_that_names_other_places_is_not_followed() {
    for (path, how) in [("/.well-known/openid-configuration", "endless"), ("/jwks", "huge"), ("/jwks", "redirect")] {
        let world = World::crooked(json!({})).await;
        world.acme.wrong(json!({ "behave": { path: how } })).await;
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, 503, "cannot be reached right now");
    }
    for discovery in [
        json!({ "issuer": "https://evil.example" }),
        json!({ "token_endpoint": "http://evil.example/token" }),
        json!({ "jwks_uri": "http://192.0.2.1/jwks" }),
        json!({ "userinfo_endpoint": "ftp://127.0.0.1/" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
    ] {
        let world = World::crooked(json!({})).await;
        world.acme.wrong(json!({ "discovery": discovery.clone() })).await;
        let browser = Browser::new();
        let page = begin(&browser, &world.server, "acme", "/").await.expect_err(&discovery.to_string());
        assert_out(&page, &browser, 503, "cannot be reached right now");
    }
}

#[tokio::test]
async fn many_who_come_while_a_provider_says_nothing_wait_for_one_answer_together() {
    let world = World::crooked(json!({})).await;
    world.acme.wrong(json!({ "behave": { "/.well-known/openid-configuration": "silent" } })).await;
    let tries = (0..20).map(|_| async {
        let browser = Browser::new();
        let page = sign_in(&browser, &world.server, "acme", "ann").await;
        assert_out(&page, &browser, 503, "cannot be reached right now");
    });
    // One after the other they would take more than three minutes.
    tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(tries)).await.unwrap();
    let asked = world.acme.tell("asked", Value::Null).await;
    assert!(asked["/.well-known/openid-configuration"].as_u64().unwrap() <= 2, "{asked}");
}

#[tokio::test]
async fn whoever_was_the_first_to_ask_may_leave() {
    let world = World::crooked(json!({})).await;
    let asking = "/.well-known/openid-configuration";
    world.acme.wrong(json!({ "hold": asking })).await;
    let url = world.server.url();
    let begins = async || Browser::new().post(&format!("{url}/sign-in/acme"), &[]).await;
    {
        let mut leaves = Box::pin(begins());
        let is_asked = async || (world.acme.tell("held", Value::Null).await == 1).then_some(());
        tokio::select! {
            page = &mut leaves => panic!("{page:?}"),
            () = eventually("the provider is asked", is_asked) => {}
        }
    }
    // The connection is closed, which the server notices before it has answered all of these.
    for _ in 0..5 {
        assert_eq!(Browser::new().open(&format!("{url}/sign-in")).await.status, 200);
    }
    // Whoever comes now waits for the same answer.
    let (page, _) = tokio::join!(begins(), world.acme.tell("release", Value::Null));
    assert!(page.headers.contains_key("refresh"), "{page:?}");
    let asked = world.acme.tell("asked", Value::Null).await;
    assert_eq!(asked[asking], 1, "{asked}");
}

#[tokio::test]
async fn while_postgresql_is_away_nobody_is_let_in_and_afterwards_all_goes_on() {
    let database = TestDatabase::create_private().await;
    let allowed = json!({ "allowed_domains": ["acme.example"] });
    let world = World::on(database, Provider::crooked().await, allowed).await;
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let back = authenticate(&browser, &url, "ann").await;
    world.database.cluster().stop().await;
    assert_out(&browser.open(back.as_str()).await, &browser, 503, "The database does not answer right now");
    let page = begin(&browser, &world.server, "acme", "/").await.unwrap_err();
    assert_out(&page, &browser, 503, "The database does not answer right now");
    world.database.cluster().start_again().await;
    // Nothing was asked of the provider meanwhile, so that the same attempt goes on.
    let come_back = async || {
        let page = browser.open(back.as_str()).await;
        (page.status == 303).then_some(page)
    };
    let page = eventually("PostgreSQL is back", come_back).await;
    assert_in(&page, &browser);
}
