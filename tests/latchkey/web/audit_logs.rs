//! The audit log on its page: who did what, by name.

use super::requests::{Session, words};
use crate::support::{TestDatabase, TestServer, keys::token_id};

/// The entries of a page, each as one piece.
fn entries(page: &str) -> Vec<&str> {
    page.split("<details class=\"entry\"").skip(1).map(|entry| entry.split("</details>").next().unwrap()).collect()
}

#[tokio::test]
async fn whoever_did_something_is_named_and_admins_are_led_to_them() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "ada@example.com").await;
    server.user(&database, "dev@example.com").await;
    let owner = database.owner().await;
    let named =
        "UPDATE principals SET name = CASE email WHEN 'dev@example.com' THEN 'Noor <Haddad>' ELSE 'Ada Ito' END";
    owner.batch_execute(named).await.unwrap();
    let id = "SELECT id::text FROM principals WHERE email = $1";
    let noor: String = owner.query_one(id, &[&"dev@example.com"]).await.unwrap().get(0);
    let own = Session::open(&server, &database, "dev@example.com").await;
    own.create_token("CI of the website").await;
    let admin = Session::open(&server, &database, "ada@example.com").await;

    let page = admin.get("/audit-logs").await.body;
    let all = entries(&page);
    let made = all.iter().find(|entry| entry.contains("token_create") && entry.contains(&noor)).expect(&page);
    assert!(made.contains(&format!("<a href=\"/admin/users/{noor}\">Noor &#60;Haddad&#62;</a>")), "{made}");
    assert!(all.iter().any(|entry| entry.contains("user_create") && entry.contains("the operator")), "{page}");
    assert!(all.iter().any(|entry| entry.contains("session_create") && entry.contains("Ada Ito")), "{page}");
    // Whoever is gone is an ID.
    let gone = "UPDATE audit_logs SET actor_id = '0198a000-0000-7000-8000-000000000099' WHERE action = 'token_create' AND actor_kind = 'user'";
    owner.batch_execute(gone).await.unwrap();
    let page = admin.get("/audit-logs").await.body;
    assert!(page.contains("<span class=\"by\">0198a000-0000-7000-8000-000000000099</span>"), "{page}");

    // A member sees a name, and no way to pages for admins.
    let page = own.get("/audit-logs").await.body;
    assert!(entries(&page).iter().all(|entry| entry.contains("Noor &#60;Haddad&#62;")), "{page}");
    assert!(!page.contains("/admin/"), "{page}");
}

#[tokio::test]
async fn days_are_taken_as_long_as_there_are_any() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    for (query, found) in [
        ("from=0001-01-01&to=9999-12-31", true),
        ("from=2026-01-01", true),
        ("to=0001-01-01", false),
        ("from=9999-12-31", false),
    ] {
        let page = session.get(&format!("/audit-logs?{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(entries(&page.body).is_empty(), !found, "{query}: {}", page.body);
        assert!(!page.body.contains("A day is written as"), "{query}");
    }
    for day in ["0000-01-01", "-9999-01-01", "10000-01-01", "%2B12026-01-01", "2026-02-30", "tomorrow", "2026-1-1"] {
        let page = session.get(&format!("/audit-logs?to={day}")).await;
        assert_eq!(page.status, 200, "{day}");
        assert!(page.body.contains("A day is written as 2026-03-31."), "{day}: {}", page.body);
    }
}

#[tokio::test]
async fn a_day_is_one_in_utc_and_the_form_says_so() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    // In New York, both are of the day before.
    let early = "INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, action, rpc, outcome, created_at)
        SELECT gen_random_uuid(), organization_id, id, 'user', 'read', 'test/' || hour, 'succeeded',
            (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '1 day' + make_interval(hours => hour)) AT TIME ZONE 'UTC'
        FROM principals, unnest(ARRAY[-1, 1, 23, 24]) AS hour";
    assert_eq!(database.owner().await.execute(early, &[]).await.unwrap(), 4);
    let day = "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD')";
    let day = database.text(day, &[]).await;
    let page = session.get(&format!("/audit-logs?from={day}&to={day}")).await.body;
    let found: Vec<bool> = [-1, 1, 23, 24].iter().map(|hour| page.contains(&format!(">test/{hour}</span>"))).collect();
    assert_eq!(found, [false, true, true, false], "{page}");
    assert!(page.contains("<label for=\"from\">First day (UTC)</label>"), "{page}");
}

#[tokio::test]
async fn entries_are_found_by_whoever_did_it_and_by_what_it_was_done_to() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "ada@example.com").await;
    let theirs = token_id(&server.user(&database, "dev@example.com").await);
    let own = Session::open(&server, &database, "dev@example.com").await;
    own.create_token("CI of the website").await;
    let revoke = format!("/settings/personal-access-tokens/{theirs}/revoke");
    let admin = Session::open(&server, &database, "ada@example.com").await;
    assert_eq!(admin.post(&revoke, &[]).await.status, 303);
    let acts = |page: &str| {
        let mut acts: Vec<String> = entries(page)
            .iter()
            .map(|entry| words(entry.split("what mono\">").nth(1).unwrap().split('<').next().unwrap()))
            .collect();
        acts.retain(|act| act != "read");
        acts
    };
    // From the page of a user, to what they did.
    let noor = database.text("SELECT id::text FROM principals WHERE email = 'dev@example.com'", &[]).await;
    let link = format!("/audit-logs?actor={noor}");
    let user = admin.get(&format!("/admin/users/{noor}")).await.body;
    assert!(user.contains(&format!("<a href=\"{link}\">In the audit log</a>")), "{user}");
    let page = admin.get(&link).await.body;
    assert_eq!(acts(&page), ["token_create", "session_create"], "{page}");
    // What was done to a token, by whomever.
    let page = admin.get(&format!("/audit-logs?subject={theirs}")).await.body;
    assert_eq!(acts(&page), ["token_revoke", "token_create"], "{page}");
    let page = admin.get(&format!("/audit-logs?subject={theirs}&actor={noor}")).await.body;
    assert_eq!(acts(&page), Vec::<String>::new(), "{page}");
    // Of others' acts, a member finds none.
    let page = own.get(&format!("/audit-logs?subject={theirs}")).await.body;
    assert_eq!(acts(&page), Vec::<String>::new(), "{page}");
}
