//! The whole way, as the user guide promises it: sign in, make a token on the page, use it with the clients, find it in the audit log,
//! revoke it, and see the clients refused.

use serde_json::json;

use super::browser::Browser;
use crate::{
    official::script::{Client::Protobuf, run},
    oidc::{World, person},
    support::{Gitpod, keys::token_id},
};

/// Signs ann in by the real provider.
async fn signed_in(world: &World, scripts: bool) -> Browser {
    let mut browser = Browser::open_with(&world.server.url(), json!({ "javaScriptEnabled": scripts })).await;
    browser.goto("/projects#/settings/personal-access-tokens").await;
    browser.press("Continue with Acme").await;
    browser.act(json!({ "action": "arrives", "url": format!("{}/interaction/*", world.acme.issuer()) })).await;
    browser.act(json!({ "action": "fill", "selector": "[name=login]", "text": "ann" })).await;
    browser.act(json!({ "action": "fill", "selector": "[name=password]", "text": "any" })).await;
    browser.act(json!({ "action": "click", "selector": "[type=submit]" })).await;
    browser.shows("Ann Lee").await;
    browser
}

async fn the_whole_way(scripts: bool) {
    let ann = person("ann@acme.example", "Ann Lee");
    let more = json!({ "display_name": "Acme", "allowed_domains": ["acme.example"] });
    let world = World::real(json!({ "ann": ann }), more).await;
    let mut browser = signed_in(&world, scripts).await;
    // Scripts alone see where an old link leads to; else there is a link to click on.
    if !scripts {
        browser.follow("Personal access tokens").await;
    }
    browser.shows("No tokens yet").await;

    browser.follow("New Token").await;
    browser.fill("Description", "CI of the website").await;
    browser.choose("input[name=days][value='90']").await;
    browser.press("Create").await;
    browser.shows("It is not shown again").await;
    let token = browser.value("#token").await;
    let id = token_id(&token);
    let url = world.server.url();

    let gitpod = Gitpod::new(&url);
    let ran = gitpod.run(&["login", "--token", &token]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = gitpod.run(&["whoami", "-o", "json"]).await;
    let user = serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    let user = user["user"]["id"].as_str().unwrap().to_owned();
    run(Protobuf, "whoami", &url, &token, &[&user]).await;
    // An act that is in the log with the token that it was done with.
    let ran = gitpod.run(&["token", "create", "--description", "made with the first one"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    browser.goto("/settings/personal-access-tokens").await;
    assert_eq!(browser.count("tbody tr").await, 2);
    browser.follow("Audit log").await;
    browser.act(json!({ "action": "click", "selector": "summary", "nth": 0 })).await;
    browser.follow(&id).await;
    assert_eq!(browser.path().await, format!("/settings/personal-access-tokens/{id}"));
    browser.shows("CI of the website").await;
    browser.follow("Revoke").await;
    browser.shows("Revoke “CI of the website”?").await;
    browser.press("Revoke this token").await;
    browser.shows("The token is revoked.").await;

    let becomes_refused = world.server.api(&token).await.becomes_refused().await;
    assert!(becomes_refused.message().contains("revoked"), "{becomes_refused}");
    let ran = gitpod.run(&["environment", "list"]).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("revoked"), "{ran:?}");
    run(Protobuf, "refused_as_revoked", &url, &token, &[]).await;
}

#[tokio::test]
async fn from_signing_in_to_a_client_that_is_refused() {
    the_whole_way(true).await;
}

#[tokio::test]
async fn the_same_without_scripts() {
    the_whole_way(false).await;
}
