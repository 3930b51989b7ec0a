//! Personal access tokens by the page, as the user guide has it.

use serde_json::json;

use super::signed_in;
use crate::support::{TestDatabase, TestServer};

#[tokio::test]
async fn a_token_is_made_shown_once_described_anew_and_revoked() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    let mut browser = signed_in(&server, &database, "dev@example.com").await;

    browser.follow("New Token").await;
    browser.fill("Description", "CI of the website").await;
    browser.choose("input[name=days][value='60']").await;
    browser.press("Create").await;
    browser.shows("Copy the new token").await;
    let token = browser.value("#token").await;
    let user = server.api(&token).await.whoami().await.unwrap();
    assert!(!user.is_empty());

    // Neither a reload nor the way back shows it again, and none of them makes another one.
    browser.act(json!({ "action": "reload" })).await;
    browser.shows("CI of the website").await;
    assert!(!browser.html().await.contains(&token));
    browser.act(json!({ "action": "back" })).await;
    assert!(!browser.html().await.contains(&token));
    browser.goto("/settings/personal-access-tokens").await;
    assert_eq!(browser.count("tbody tr").await, 2, "the token of the test's, and this one");

    browser.follow("CI of the website").await;
    browser.fill("Description", "CI of the shop").await;
    browser.press("Save the description").await;
    browser.shows("The description is saved.").await;
    browser.follow("Revoke").await;
    browser.shows("Revoke “CI of the shop”?").await;
    browser.press("Revoke this token").await;
    browser.shows("The token is revoked.").await;
    let refused = server.api(&token).await.whoami().await.unwrap_err();
    assert!(refused.message().contains("revoked"), "{refused}");
    browser.follow("Revoked").await;
    browser.shows("CI of the shop").await;
}
