//! How the pages look, and whether everybody can use them.

use serde_json::json;

use super::signed_in;
use crate::support::{TestDatabase, TestServer};

#[tokio::test]
async fn sketch() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "dev@example.com").await;
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    for (name, path) in [
        ("tokens", "/settings/personal-access-tokens"),
        ("new", "/settings/personal-access-tokens/new"),
        ("sessions", "/settings/sessions"),
        ("environments", "/environments"),
        ("audit", "/audit-logs"),
        ("missing", "/nowhere"),
        ("signin", "/sign-in"),
    ] {
        browser.goto(path).await;
        for (scheme, width) in [("light", 1280), ("dark", 390)] {
            let file = format!("/tmp/look-{name}-{scheme}.png");
            browser.act(json!({"action":"screenshot","path":file,"width":width,"height":800,"scheme":scheme})).await;
            eprintln!("{name} {scheme}: {}", browser.act(json!({"action":"axe","scheme":scheme})).await);
        }
        eprintln!("complaints {}", browser.act(json!({"action":"complaints"})).await);
    }
}
