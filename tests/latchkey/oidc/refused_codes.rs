//! What the token endpoint of a provider refuses (RFC 6749, section 5.2): the code, or us.

use std::fs;

use serde_json::{Value, json};

use super::{Browser, Configuration, Provider, World, assert_in, assert_out, person, sign_in};
use crate::support::{ServerOptions, TestDatabase, TestServer};

const OVER: &str = "Account of acme does not take this sign-in any more. Begin a new one.";
const NOT_KNOWN: &str = "Account of acme does not know this server as it should";
const NOT_NOW: &str =
    "Account of acme cannot be reached right now, or does not answer as it should. Begin a new sign-in";

fn answering(error: &str, status: u16) -> Value {
    json!({ "token": { "error": error, "access_token": Value::Null, "id_token": Value::Null }, "status": status })
}

#[tokio::test]
async fn who_has_a_wrong_secret_at_a_real_provider_is_told_to_ask_the_operator() {
    let acme = Provider::real(json!({ "ann": person("ann@acme.example", "Ann") })).await;
    let configuration = Configuration::of(&[("acme", &acme, json!({ "allowed_domains": ["acme.example"] }))]);
    let secret = configuration.directory.path().join("secret");
    let right = fs::read(&secret).unwrap();
    fs::write(&secret, "another secret, of 32 characters as well").unwrap();
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, configuration.options()).await;
    fs::write(&secret, right).unwrap();
    let options = ServerOptions { signing_keys: Some(server.keys()), ..configuration.options() };
    let second = TestServer::start_with(&database, options).await;
    acme.serve(&configuration.redirects(&[&server, &second]), json!({})).await;
    let browser = Browser::new();
    let page = sign_in(&browser, &server, "acme", "ann").await;
    assert_out(&page, &browser, 502, NOT_KNOWN);
    assert!(page.words().contains("Ask your operator"), "{}", page.words());
    let log = server.log();
    assert!(
        log.contains("our client there, is not configured as it should be") && log.contains("invalid_client"),
        "{log}"
    );
    let page = sign_in(&browser, &second, "acme", "ann").await;
    assert_in(&page, &browser);
}

#[tokio::test]
async fn what_is_wrong_with_us_or_with_the_provider_is_nobodys_guess() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let api = world.server.api("gitpod_pat_nonsense").await;
    // Whoever has guessed so often that one more try is one too many.
    let guess = async || while api.clone().whoami().await.unwrap_err().code() != tonic::Code::ResourceExhausted {};
    for (error, http, status, words) in [
        ("invalid_client", 401, 502, NOT_KNOWN),
        ("unauthorized_client", 400, 502, NOT_KNOWN),
        ("unsupported_grant_type", 400, 502, NOT_KNOWN),
        ("invalid_scope", 400, 502, NOT_KNOWN),
        ("invalid_request", 400, 502, NOT_KNOWN),
        ("temporarily_unavailable", 503, 503, NOT_NOW),
        ("server_error", 500, 503, NOT_NOW),
        ("something_else", 400, 503, NOT_NOW),
    ] {
        world.acme.wrong(answering(error, http)).await;
        guess().await;
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, status, words);
        assert!(world.server.log().contains(error), "{error}");
    }
    // A code that is none is one; what counts for a peer comes back to it, one a second.
    world.acme.wrong(answering("invalid_grant", 400)).await;
    let told_to_wait = loop {
        guess().await;
        let (browser, page) = world.sign_in("ann").await;
        if page.status == 429 {
            break page;
        }
        assert_out(&page, &browser, 400, OVER);
    };
    assert!(told_to_wait.headers.contains_key("retry-after"));
}
