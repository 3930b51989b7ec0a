//! Who comes back from a provider, and with what.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use latchkey::domain::{
    clock::{Clock, SystemClock},
    token::{Generation, SigningKeys},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    Browser, Configuration, Provider, World, assert_in, assert_out, authenticate, begin, person, sessions, sign_in,
};
use crate::support::{TestDatabase, TestServer};

pub(super) const NOT_BEGUN: &str = "This sign-in was not begun in this browser";

pub(super) fn with(url: &Url, name: &str, value: Option<&str>) -> String {
    let mut other = url.clone();
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(key, _)| key != name)
        .chain(value.map(|value| (name.to_owned(), value.to_owned())))
        .collect();
    other.query_pairs_mut().clear().extend_pairs(kept);
    other.into()
}

pub(super) async fn ann() -> World {
    World::real(json!({ "ann": person("ann@acme.example", "Ann") }), json!({ "allowed_domains": ["acme.example"] }))
        .await
}

#[tokio::test]
async fn an_attempt_goes_on_in_the_browser_that_began_it_with_the_state_that_it_was_given() {
    let world = ann().await;
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let back = authenticate(&browser, &url, "ann").await;
    let state = back.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let cookies = browser.cookies();

    // Without its cookie, and with that of another browser.
    let stranger = Browser::new();
    assert_out(&stranger.open(back.as_str()).await, &stranger, 400, NOT_BEGUN);
    begin(&stranger, &world.server, "acme", "/").await.unwrap();
    assert_out(&stranger.open(back.as_str()).await, &stranger, 400, NOT_BEGUN);
    // With another state, or with a cookie that somebody has changed or written.
    let forged = [format!("{state}x"), state[1..].to_owned(), state.to_lowercase(), "A".repeat(43)];
    for forged in &forged {
        assert_out(&browser.open(&with(&back, "state", Some(forged))).await, &browser, 400, NOT_BEGUN);
    }
    for query in [
        with(&back, "state", None),
        with(&back, "code", None),
        format!("{back}&state={state}"),
        format!("{back}&error=x"),
    ] {
        assert_out(&browser.open(&query).await, &browser, 400, "is no answer to a sign-in");
    }
    let (name, value) = cookies.iter().find(|(name, _)| name.starts_with("latchkey-sign-in")).unwrap();
    for other in ["", "x", &value[1..], &value.replacen("acme", "acne", 1), &"x".repeat(5000)] {
        browser.set_cookies([(name.clone(), other.to_owned())].into());
        assert_out(&browser.open(back.as_str()).await, &browser, 400, NOT_BEGUN);
    }
    assert_eq!(world.number_of("sessions").await, 0);
    // None of it has ended the attempt.
    browser.set_cookies(cookies);
    assert_in(&browser.open(back.as_str()).await, &browser);
    assert!(sessions(&browser, &world.server).await.is_some());
}

#[tokio::test]
async fn a_code_that_is_over_is_refused() {
    let world = ann().await;
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let back = authenticate(&browser, &url, "ann").await;
    // Codes of this provider are good for a minute.
    world.acme.tell("later", json!(61)).await;
    assert_out(&browser.open(back.as_str()).await, &browser, 400, "does not take this sign-in any more");
}

/// An attempt that somebody has written who has the signing key: its text and its state.
pub(super) fn written(keys: &str, age: u64) -> (String, String) {
    let keys = SigningKeys::parse(keys).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let now = u64::try_from(SystemClock.now().unix_timestamp()).unwrap();
    let id = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, now - age, 0));
    let body = [&[1_u8][..], id.as_bytes(), &[7; 24]].concat();
    let mut text = format!("{}.acme.{}", encode(&body), encode(b"/settings/sessions"));
    let code = |purpose, text: &str| encode(&keys.authenticate(Generation::FIRST, purpose, text.as_bytes()).unwrap());
    let tag = code("sign-in attempt tag", &text);
    text.push_str(&format!(".{tag}"));
    let state = code("sign-in attempt state", &text);
    (text, state)
}

#[tokio::test]
async fn an_attempt_ends_after_ten_minutes_and_with_its_signing_key() {
    let world = World::crooked(json!({})).await;
    let browser = Browser::new();
    begin(&browser, &world.server, "acme", "/").await.unwrap();
    let name = browser.cookies().into_keys().find(|name| name.starts_with("latchkey-sign-in")).unwrap();
    let come_back = async |age: u64| {
        let (text, state) = written(&world.server.keys(), age);
        browser.set_cookies([(name.clone(), text)].into());
        let url = format!("{}/sign-in/acme/callback?code=none&state={state}", world.server.url());
        browser.open(&url).await
    };
    // The provider is asked, and knows no such code.
    assert_out(&come_back(590).await, &browser, 503, "cannot be reached right now, or does not answer as it should");
    assert_out(&come_back(600).await, &browser, 400, NOT_BEGUN);
    world.server.admin(&world.database, &["revoke-generation", "1"]).await.unwrap();
    assert_out(&come_back(0).await, &browser, 400, NOT_BEGUN);
    let page = begin(&browser, &world.server, "acme", "/").await.unwrap_err();
    assert_out(&page, &browser, 503, "Nobody can sign in right now");
}

#[tokio::test]
async fn an_attempt_goes_on_on_another_server() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let options = |server: &TestServer| {
        let mut options = world.configuration.options();
        options.args.extend(["--public-url".to_owned(), server.url()]);
        options.signing_keys = Some(server.keys());
        options
    };
    // Known by the same name, as behind a balancer; the test's browser knows no ports.
    let second = TestServer::start_with(&world.database, options(&world.server)).await;
    let browser = Browser::new();
    let url = begin(&browser, &second, "acme", "/settings/sessions").await.unwrap();
    assert!(url.as_str().contains(&urlencoded(&world.server.url())), "{url}");
    let back = authenticate(&browser, &url, "ann").await;
    assert_in(&browser.open(back.as_str()).await, &browser);
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn an_answer_of_one_provider_is_none_of_another() {
    let (acme, evil) = (Provider::crooked().await, Provider::crooked().await);
    let allowed = json!({ "allowed_domains": ["acme.example"] });
    let configuration = Configuration::of(&[("acme", &acme, allowed.clone()), ("evil", &evil, allowed)]);
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, configuration.options()).await;
    let browser = Browser::new();
    let url = begin(&browser, &server, "acme", "/settings/sessions").await.unwrap();
    let back = authenticate(&browser, &url, "ann").await;
    let other = back.as_str().replace("/sign-in/acme/", "/sign-in/evil/");
    assert_out(&browser.open(&other).await, &browser, 400, NOT_BEGUN);
    let unknown = back.as_str().replace("/sign-in/acme/", "/sign-in/nobody/");
    assert_eq!(browser.open(&unknown).await.status, 404);
    assert_eq!(evil.tell("asked", Value::Null).await, json!({}), "no code of another provider came to it");
    assert_in(&browser.open(back.as_str()).await, &browser);
}

#[tokio::test]
async fn a_refusal_of_the_provider_is_told_and_not_repeated() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    for (error, status, words) in [
        ("access_denied", 403, "Account of acme has not let you in, or you have changed your mind"),
        ("temporarily_unavailable", 503, "Account of acme cannot be reached right now"),
        ("server_error", 503, "Account of acme cannot be reached right now"),
        ("invalid_scope", 502, "Account of acme has refused the sign-in"),
        ("<script>alert(1)</script>", 502, "Account of acme has refused the sign-in"),
    ] {
        world
            .acme
            .wrong(json!({ "answer": { "code": Value::Null, "error": error, "error_description": "call 555-EVIL" } }))
            .await;
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, status, words);
        assert!(!page.text.contains("EVIL") && !page.text.contains("alert("), "{}", page.text);
        assert!(!browser.cookies().keys().any(|name| name.starts_with("latchkey-sign-in")), "the attempt is over");
    }
    // Where the browser is sent to with another's state, the attempt goes on.
    world.acme.wrong(json!({})).await;
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let denied = format!("{}/sign-in/acme/callback?error=access_denied&state=x", world.server.url());
    assert_out(&browser.open(&denied).await, &browser, 400, NOT_BEGUN);
    let back = authenticate(&browser, &url, "ann").await;
    assert_in(&browser.open(back.as_str()).await, &browser);
}

#[tokio::test]
async fn whoever_signs_in_again_is_known_by_something_else_and_signing_out_ends_it() {
    let world = ann().await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    let session = |browser: &Browser| {
        let cookies = browser.cookies();
        cookies.into_iter().find(|(name, _)| name.starts_with("latchkey-session")).unwrap()
    };
    let before = session(&browser);
    let page = sign_in(&browser, &world.server, "acme", "ann").await;
    assert_in(&page, &browser);
    let after = session(&browser);
    assert!(before.0 == after.0 && before.1 != after.1);
    let former = Browser::new();
    former.set_cookies([before].into());
    assert!(sessions(&former, &world.server).await.is_none(), "the former session is over");

    let page = sessions(&browser, &world.server).await.unwrap();
    let token = page.text.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let page = browser.post(&format!("{}/sign-out", world.server.url()), &[("form_token", &token)]).await;
    assert_eq!(
        (page.status.as_u16(), page.location().map(|url| url.path().to_owned())),
        (303, Some("/sign-in".to_owned()))
    );
    former.set_cookies([after].into());
    assert!(sessions(&former, &world.server).await.is_none(), "its cookie is good for nothing, wherever it is kept");
}

#[tokio::test]
async fn nothing_of_a_sign_in_is_in_the_log_or_the_database() {
    let world = ann().await;
    let browser = Browser::new();
    let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
    let attempt = browser.cookies().into_iter().find(|(name, _)| name.starts_with("latchkey-sign-in")).unwrap().1;
    let back = authenticate(&browser, &url, "ann").await;
    assert_in(&browser.open(back.as_str()).await, &browser);
    let session = browser.cookies().into_iter().find(|(name, _)| name.starts_with("latchkey-session")).unwrap().1;
    let sent = |url: &Url, name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    let secrets = [
        ("the attempt", attempt),
        ("the session", session),
        ("the state", sent(&url, "state")),
        ("the nonce", sent(&url, "nonce")),
        ("the code", sent(&back, "code")),
        ("our secret", super::CLIENT_SECRET.to_owned()),
    ];
    let (log, dump) = (world.server.log(), world.database.dump().await);
    assert!(dump.contains("ann@acme.example"), "the dump has what is kept");
    for (what, secret) in secrets {
        assert!(!log.contains(&secret), "{what} is in the log");
        assert!(!dump.contains(&secret), "{what} is in the database");
    }
}
