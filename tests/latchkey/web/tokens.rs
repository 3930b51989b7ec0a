//! Personal access tokens by the page, as the user guide has it.

use serde_json::json;

use latchkey::domain::ids::RequestId;

use super::{
    paging::walk,
    requests::{Session, send, words},
    scene::furnish,
    signed_in, signed_in_with,
};
use crate::support::{TestDatabase, TestServer, keys::token_id};

const LIST: &str = "/settings/personal-access-tokens";

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

#[tokio::test]
async fn others_tokens_are_not_there_and_an_admin_looks_after_all() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "admin@example.com").await;
    let theirs = token_id(&server.user(&database, "dev@example.com").await);
    server.user(&database, "other@example.com").await;
    let other = Session::open(&server, &database, "other@example.com").await;
    for path in [format!("{LIST}/{theirs}"), format!("{LIST}/{theirs}/revoke"), format!("{LIST}/nonsense")] {
        assert_eq!(other.get(&path).await.status, 404, "{path}");
    }
    for (path, fields) in
        [(format!("{LIST}/{theirs}"), &[("description", "mine")][..]), (format!("{LIST}/{theirs}/revoke"), &[])]
    {
        assert_eq!(other.post(&path, fields).await.status, 404, "{path}");
    }
    for path in ["/admin/users", "/admin/service-accounts", "/admin/invitations"] {
        assert_eq!(other.get(path).await.status, 403, "{path}");
    }
    let admin = Session::open(&server, &database, "admin@example.com").await;
    assert!(admin.get(LIST).await.body.contains(">test</a>"), "one's own");
    assert!(!admin.get(LIST).await.body.contains(&theirs), "and nobody else's in the list");
    assert_eq!(admin.post(&format!("{LIST}/{theirs}/revoke"), &[]).await.status, 303);
    assert!(admin.get(&format!("{LIST}/{theirs}")).await.body.contains("badge revoked"));
}

#[tokio::test]
async fn ten_thousand_tokens_are_a_page_at_a_time() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let like = token_id(&server.user(&database, "dev@example.com").await);
    database.add_tokens(&like, 10_000).await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let seen = walk(&session, LIST, (&format!("<th scope=\"row\"><a href=\"{LIST}/"), "\"")).await;
    assert_eq!(seen.len(), 10_001);
    // Not one more than a page, however many there are.
    assert_eq!(session.get(&format!("{LIST}?page_token=nonsense")).await.status, 200);
}

#[tokio::test]
async fn the_way_back_shows_no_token_again() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    for scripts in [true, false] {
        let mut browser =
            signed_in_with(&server, &database, "dev@example.com", json!({ "javaScriptEnabled": scripts })).await;
        browser.follow("New Token").await;
        browser.fill("Description", "once").await;
        browser.press("Create").await;
        let token = browser.value("#token").await;
        browser.follow("Environments").await;
        browser.shows("No environments yet").await;
        let back = browser.try_act(json!({ "action": "back" })).await;
        if scripts {
            // The browser has kept the page whole, without the token, and it leads on to the list.
            browser.shows("scripts, CI jobs and the").await;
            assert!(!browser.html().await.contains(&token));
        } else {
            // The form would have to be sent again for it: the browser shows a page of its own.
            let refused = back.unwrap_err();
            assert!(refused.contains("ERR_CACHE_MISS"), "{refused}");
        }
    }
}

/// Who looks is told on pages that somebody looks at, and asked of PostgreSQL for them alone: a form, a stream and whatever leads on need
/// to know no more than that the session is good.
#[tokio::test]
async fn only_a_page_with_a_frame_asks_for_the_name_in_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let token = token_id(&server.user(&database, "dev@example.com").await);
    let session = Session::open(&server, &database, "dev@example.com").await;
    // Whoever asks for a name finds none.
    database.owner().await.batch_execute("ALTER TABLE principals RENAME COLUMN name TO elsewhere").await.unwrap();
    assert_eq!(session.get(LIST).await.status, 500);
    assert_eq!(session.get("/").await.status, 303);
    let cookies = session.cookies();
    let script = [("host", server.address()), ("cookie", cookies.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(server.address(), "HEAD", "/environments/events", &script, "").await.status, 200);
    // A token that could not be shown is not made.
    let key = RequestId::generate().to_string();
    let fields = [("description", "lost"), ("days", "30"), ("access", "read-only"), ("idempotency_key", key.as_str())];
    assert_eq!(session.post(LIST, &fields).await.status, 500);
    let tokens = "SELECT count(*) FROM personal_access_tokens";
    assert_eq!(database.number(tokens, &[]).await, 1);
    assert_eq!(session.post(&format!("{LIST}/{token}"), &[("description", "mine")]).await.status, 303);
    assert_eq!(session.post(&format!("{LIST}/{token}/revoke"), &[]).await.status, 303);
    assert_eq!(session.post("/sign-out", &[]).await.status, 303);
}

#[tokio::test]
async fn what_ends_soon_is_pointed_out_on_whatever_page_it_is() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let token = token_id(&server.user(&database, "dev@example.com").await);
    let session = Session::open(&server, &database, "dev@example.com").await;
    let add = |ends: &str, age: &str, count: usize| {
        format!(
            "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(),
                'description', '{ends} ' || n, 'created_at', now() - interval '{age}', 'expires_at', now() + interval '{ends}'))).*
             FROM personal_access_tokens t, generate_series(1, {count}) AS n WHERE id = '{token}'"
        )
    };
    let owner = database.owner().await;
    owner.batch_execute(&format!("{}; {}", add("60 days", "1 day", 30), add("8 days", "80 days", 1))).await.unwrap();
    assert!(!session.get(LIST).await.body.contains("within a week"));
    owner.batch_execute(&add("6 days", "80 days", 1)).await.unwrap();
    let page = session.get(LIST).await.body;
    let warning =
        |page: &str| page.split("<p class=\"warning\"").nth(1).unwrap().split("</p>").next().unwrap().to_owned();
    let told = warning(&page);
    assert!(told.contains("This token ends within a week") && told.contains(">6 days 1</a>"), "{told}");
    assert!(!told.contains("8 days") && !told.contains("and more"), "{told}");
    assert_eq!(page.matches("6 days 1").count(), 1, "it is on another page: {page}");
    owner.batch_execute(&add("2 days", "80 days", 5)).await.unwrap();
    let told = warning(&session.get(LIST).await.body);
    assert_eq!(told.matches(">2 days ").count(), 5, "the first to end: {told}");
    assert!(told.contains("These tokens end") && told.contains("and more"), "{told}");
    assert!(!session.get(&format!("{LIST}?state=expired")).await.body.contains("within a week"));
}

#[tokio::test]
async fn admins_find_every_active_token_of_whom_they_look_after() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "ada@example.com").await;
    let token = token_id(&server.user(&database, "dev@example.com").await);
    database.add_tokens(&token, 60).await;
    let id = "SELECT id::text FROM principals WHERE email = 'dev@example.com'";
    let id: String = database.owner().await.query_one(id, &[]).await.unwrap().get(0);
    let session = Session::open(&server, &database, "ada@example.com").await;
    let found =
        walk(&session, &format!("/admin/users/{id}"), (&format!("<th scope=\"row\"><a href=\"{LIST}/"), "\"")).await;
    assert_eq!(found.len(), 61);
    assert!(found.contains(&token));
}

#[tokio::test]
async fn what_there_is_to_know_of_tokens_is_in_the_list() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let id = token_id(&server.user(&database, "dev@example.com").await);
    furnish(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let list = session.get(LIST).await.body;
    let row = |id: &str| {
        let row = list.split("<tr>").find(|row| row.contains(&format!("href=\"{LIST}/{id}\"")) && row.contains("<td"));
        words(row.unwrap_or_else(|| panic!("{id}: {list}")))
    };
    let date = async |id: &str, column: &str| {
        let date = format!(
            "SELECT to_char({column} AT TIME ZONE 'UTC', 'FMDD Mon YYYY, HH24:MI \"UTC\"') FROM personal_access_tokens WHERE id = $1::text::uuid"
        );
        database.text(&date, &[&id]).await
    };
    let (created, expires) = (date(&id, "created_at").await, date(&id, "expires_at").await);
    let expected = format!(
        "CI of the website active {id} Read &amp; Write {created} in 30 days {expires} 1 hour ago 192.0.2.7 Revoke CI of the website"
    );
    assert_eq!(row(&id), expected);
    let dashboard = "0198a000-0000-7000-8000-000000000041";
    let (created, expires) = (date(dashboard, "created_at").await, date(dashboard, "expires_at").await);
    let expected = format!(
        "Dashboard in the hall active {dashboard} Read-only {created} in 5 days {expires} 2 hours ago 192.0.2.20 Revoke Dashboard in the hall"
    );
    assert_eq!(row(dashboard), expected);
    assert!(list.contains("<span class=\"soon\">"), "it ends soon");
}

#[tokio::test]
async fn one_click_copies_the_token() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    for (allowed, told) in
        [(&["clipboard-read", "clipboard-write"][..], "Copied."), (&[], "It is selected: copy it with your keyboard.")]
    {
        let mut browser =
            signed_in_with(&server, &database, "dev@example.com", json!({ "permissions": allowed })).await;
        browser.follow("New Token").await;
        browser.fill("Description", "once").await;
        browser.press("Create").await;
        let token = browser.value("#token").await;
        if allowed.is_empty() {
            // As in browsers that ask, and are told no.
            browser.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))").await;
        }
        browser.press("Copy").await;
        browser.shows(told).await;
        let copied = if allowed.is_empty() { "getSelection().toString()" } else { "navigator.clipboard.readText()" };
        assert_eq!(browser.evaluate(copied).await, token);
    }
}

#[tokio::test]
async fn whoever_comes_back_to_a_form_may_send_it_at_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    browser.follow("New Token").await;
    browser.fill("Description", " ").await;
    browser.press("Create").await;
    browser.shows("The description must").await;
    browser.act(json!({ "action": "back" })).await;
    browser.shows("What it is for").await;
    browser.act(json!({ "action": "hides", "text": "The description must" })).await;
    browser.fill("Description", "once more").await;
    browser.press("Create").await;
    browser.shows("Copy the new token").await;
}
