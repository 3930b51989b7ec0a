//! Environments on pages: what becomes of them is seen as it happens.

use super::{
    paging::walk,
    requests::{Session, words},
    scene::furnish,
    signed_in,
};
use crate::support::{LocalServer, TestDatabase, TestServer, environments::from_url, eventually};

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

#[tokio::test]
async fn what_there_is_to_know_of_environments_is_on_their_pages() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    furnish(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let list = session.get("/environments").await.body;
    let rows: Vec<String> = list.split("<tr").skip(2).map(|row| words(&format!("<tr{row}"))).collect();
    assert_eq!(rows.len(), 3, "{list}");
    for (name, phase, branch) in
        [("website", "running", "main"), ("billing", "stopped", "invoices"), ("search", "failed", "main")]
    {
        let row = rows.iter().find(|row| row.starts_with(name)).unwrap_or_else(|| panic!("{name}: {rows:#?}"));
        for told in [phase, &format!("https://git.example/team/{name}"), branch, "Regular"] {
            assert!(row.contains(told), "{told}: {row}");
        }
    }
    let failed = words(&session.get("/details/0198a000-0000-7000-8000-000000000013").await.body);
    let whole = "What went wrong the repository cannot be cloned: the host asks for a user name and password, and there is no credential for it Environment ID";
    assert!(failed.contains(whole), "{failed}");

    // The log goes on where the page of the environment ends.
    let environment = "0198a000-0000-7000-8000-000000000011";
    let onwards = format!("<a class=\"button\" href=\"/audit-logs?subject={environment}\">What was before</a>");
    let page = session.get(&format!("/details/{environment}")).await.body;
    assert!(page.contains("environment_create") && !page.contains(&onwards), "{page}");
    let more = format!(
        "INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, action, rpc, subject_type, subject_id, outcome)
         SELECT gen_random_uuid(), organization_id, id, 'user', 'environment_stop', 'test', 'environment', '{environment}', 'succeeded'
         FROM principals, generate_series(1, 25) WHERE email = 'dev@example.com'"
    );
    assert_eq!(database.owner().await.execute(&more, &[]).await.unwrap(), 25);
    let page = session.get(&format!("/details/{environment}")).await.body;
    assert!(!page.contains("environment_create") && page.contains(&onwards), "{page}");
    let path = format!("/audit-logs?subject={environment}");
    assert_eq!(walk(&session, &path, ("id=\"entry-", "\"")).await.len(), 27);
}
