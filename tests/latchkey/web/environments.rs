//! Environments on pages: what becomes of them is seen as it happens.

use super::{requests::Session, signed_in};
use crate::support::{LocalServer, environments::from_url, eventually};

#[tokio::test]
async fn an_environment_is_watched_started_stopped_and_deleted() {
    let local = LocalServer::start().await;
    local.git.add_repository("team/website", &[("README.md", "hello\n")]);
    let token = local.user("dev@example.com").await;
    let database = &local.database;
    let mut browser = signed_in(local.server(), database, "dev@example.com").await;
    browser.follow("Environments").await;
    browser.shows("No environments yet").await;
    // Somebody else's doing, on a page that nobody touches.
    let id = local.api(&token).await.create(from_url("https://github.com/team/website")).await.unwrap().id;
    browser.shows("website").await;
    browser.shows("running").await;
    browser.shows("https://github.com/team/website").await;
    browser.follow("website").await;
    browser.shows("environment_create").await;
    browser.act(serde_json::json!({ "action": "click", "selector": &format!("#stop-{id}") })).await;
    browser.shows("stopped").await;
    browser.act(serde_json::json!({ "action": "click", "selector": &format!("#start-{id}") })).await;
    browser.shows("running").await;
    browser.act(serde_json::json!({ "action": "click", "selector": &format!("#delete-{id}") })).await;
    browser.shows("Delete “website”?").await;
    browser.press("Delete this environment").await;
    browser.shows("The environment is being deleted.").await;
    browser.shows("No environments yet").await;
    let session = Session::open(local.server(), database, "dev@example.com").await;
    eventually("it is gone", || async { (session.get(&format!("/details/{id}")).await.status == 404).then_some(()) })
        .await;
    // In the log with the session, and no token.
    let query = "SELECT string_agg(action, ' ' ORDER BY created_at) FROM audit_logs WHERE session_id IS NOT NULL AND token_id IS NULL AND rpc LIKE 'details/%' AND action <> 'read'";
    let acts: String = database.owner().await.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(acts, "environment_stop environment_start environment_delete");
}
