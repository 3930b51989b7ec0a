//! The way to a provider and back in a real browser, which holds every page to its policies.

use serde_json::json;

use super::{World, person};
use crate::web::browser::Browser;

#[tokio::test]
async fn somebody_signs_in_by_a_real_provider_in_a_real_browser_and_out_again() {
    let ann = person("ann@acme.example", "Ann Lee");
    let world = World::real(json!({ "ann": ann }), json!({ "display_name": "Acme" })).await;
    world.invite("ann@acme.example").await;
    // Also without scripts.
    for scripts in [true, false] {
        let mut browser = Browser::open_with(&world.server.url(), json!({ "javaScriptEnabled": scripts })).await;
        assert_eq!(browser.goto("/settings/sessions").await, 200);
        assert_eq!(browser.path().await, "/sign-in?next=%2Fsettings%2Fsessions");
        if scripts {
            for scheme in ["light", "dark"] {
                let wrong = browser.act(json!({ "action": "axe", "scheme": scheme })).await;
                assert_eq!(wrong, json!([]), "{scheme}");
            }
        }
        browser.press("Continue with Acme").await;
        browser.act(json!({ "action": "arrives", "url": format!("{}/interaction/*", world.acme.issuer()) })).await;
        browser.act(json!({ "action": "fill", "selector": "[name=login]", "text": "ann" })).await;
        browser.act(json!({ "action": "fill", "selector": "[name=password]", "text": "any" })).await;
        browser.act(json!({ "action": "click", "selector": "[type=submit]" })).await;
        browser.shows("This one").await;
        assert_eq!(browser.path().await, "/settings/sessions");
        let name = world.server.address().replace("127.0.0.1:", "latchkey-session-");
        let cookie = browser.cookie(&name).await.expect("there is a session");
        assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&json!(true), &json!("Lax")));
        assert!(browser.cookie(&name.replace("session", "sign-in")).await.is_none(), "the attempt is over");
        // Nothing of the way is left in the history.
        browser.act(json!({ "action": "back" })).await;
        let html = browser.html().await;
        assert!(!html.contains("code="), "{html}");
        browser.goto("/settings/sessions").await;
        browser.press("Sign out").await;
        browser.shows("Sign in with an account that you have").await;
        assert!(browser.cookie(&name).await.is_none());
        assert_eq!(browser.goto("/settings/sessions").await, 200);
        assert!(browser.path().await.starts_with("/sign-in"));
        let complaints = browser.act(json!({ "action": "complaints" })).await;
        let ours: Vec<_> = complaints
            .as_array()
            .unwrap()
            .iter()
            .filter(|text| text.to_string().contains(world.server.address()))
            .collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
}
