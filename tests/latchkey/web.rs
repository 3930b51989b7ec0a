//! The pages, in a real browser and by hand-made requests.

mod audit_logs;
pub(crate) mod browser;
mod environments;
mod forms;
mod gallery;
mod hostile;
mod live;
mod look;
mod paging;
pub(crate) mod requests;
mod scene;
mod sessions;
mod signing_in;
mod tokens;
mod views;
mod whole;

use crate::support::{TestDatabase, TestServer};
use browser::Browser;

/// A link that signs a user in, or the first admin, who is added if there is none.
pub(crate) async fn sign_in_link(server: &TestServer, database: &TestDatabase, user: Option<&str>) -> String {
    let mut args = vec!["admin", "sign-in-link"];
    if let Some(email) = user {
        args.extend(["--user", email]);
    }
    server.admin(database, &args[1..]).await.unwrap().trim().to_owned()
}

/// A browser in which a user is signed in.
pub(crate) async fn signed_in(server: &TestServer, database: &TestDatabase, email: &str) -> Browser {
    signed_in_with(server, database, email, serde_json::json!({})).await
}

/// The same with settings of the browser's.
pub(crate) async fn signed_in_with(
    server: &TestServer,
    database: &TestDatabase,
    email: &str,
    context: serde_json::Value,
) -> Browser {
    let link = sign_in_link(server, database, Some(email)).await;
    let mut browser = Browser::open_with(&server.url(), context).await;
    assert_eq!(browser.goto(&link).await, 200);
    browser.act(serde_json::json!({ "action": "click", "selector": "main button" })).await;
    browser.shows("Personal access tokens").await;
    browser
}
