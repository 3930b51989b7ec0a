//! How long somebody is signed in, and what ends it.

use super::{
    requests::{Session, send, use_link},
    sign_in_link,
    signing_in::{is_signed_out, place},
};
use crate::support::{ServerOptions, TestDatabase, TestServer, eventually};

const LIST: &str = "/settings/personal-access-tokens";

#[tokio::test]
async fn a_session_ends_by_signing_out_from_another_one_and_with_its_user() {
    let (database, server) = place().await;
    server.user(&database, "dev@example.com").await;
    let open = async || Session::open(&server, &database, "dev@example.com").await;
    let session = open().await;
    let answer = session.post("/sign-out", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/sign-in".to_owned()));
    assert_eq!(answer.cookie(&Session::cookie_name(server.address())), Some(String::new()));
    assert!(is_signed_out(&session.get(LIST).await), "whoever kept the cookie");

    let (one, two) = (open().await, open().await);
    let page = one.get("/settings/sessions").await.body;
    let ends: Vec<&str> =
        page.split("action=\"/settings/sessions/").skip(1).map(|rest| rest.split('/').next().unwrap()).collect();
    assert_eq!(ends.len(), 2, "both, and not the one that was ended");
    let owner = database.owner().await;
    let newest: String =
        owner.query_one("SELECT id::text FROM sessions ORDER BY created_at DESC LIMIT 1", &[]).await.unwrap().get(0);
    // Nobody else's: it is as if there were none.
    let admin = Session::open(&server, &database, "admin@example.com").await;
    assert_eq!(admin.post(&format!("/settings/sessions/{newest}/revoke"), &[]).await.status, 404);
    assert_eq!(one.post(&format!("/settings/sessions/{newest}/revoke"), &[]).await.status, 303);
    assert!(is_signed_out(&two.get(LIST).await));
    assert_eq!(one.get(LIST).await.status, 200);
    // A form of a session that has ended does nothing, and says so.
    let answer = two.post(&format!("/settings/sessions/{newest}/revoke"), &[]).await;
    assert_eq!(answer.status, 401);

    let user: String =
        owner.query_one("SELECT id::text FROM principals WHERE email = 'dev@example.com'", &[]).await.unwrap().get(0);
    assert_eq!(admin.post(&format!("/admin/users/{user}/suspend"), &[]).await.status, 303);
    assert!(is_signed_out(&one.get(LIST).await), "suspended");
    assert_eq!(admin.post(&format!("/admin/users/{user}/unsuspend"), &[]).await.status, 303);
    assert_eq!(one.get(LIST).await.status, 200, "the session is the same");
}

#[tokio::test]
async fn a_session_ends_everywhere_at_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.admin_user(&database, "admin@example.com").await;
    let keys = server.keys();
    let other =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..ServerOptions::default() }).await;
    let session = Session::open(&server, &database, "admin@example.com").await;
    // Cookies have the port's name on loopback: the other server's has another.
    let elsewhere = Session { address: other.address().to_owned(), ..session.clone() };
    assert_eq!(elsewhere.get(LIST).await.status, 200);
    assert_eq!(session.post("/sign-out", &[]).await.status, 303);
    assert!(is_signed_out(&session.get(LIST).await), "at once where it was ended");
    eventually("it is heard of elsewhere", || async { is_signed_out(&elsewhere.get(LIST).await).then_some(()) }).await;
}

#[tokio::test]
async fn a_session_that_is_not_used_ends_and_use_makes_it_last_but_not_for_ever() {
    let (database, server) = place().await;
    let session = Session::open(&server, &database, "admin@example.com").await;
    let owner = database.owner().await;
    owner
        .batch_execute("UPDATE sessions SET last_used_at = now() - interval '2 hours', idle_expires_at = now() + interval '1 minute'")
        .await
        .unwrap();
    assert_eq!(session.get(LIST).await.status, 200);
    eventually("the use is written", || async {
        let query = "SELECT idle_expires_at > now() + interval '11 hours' AND peer = '127.0.0.1' FROM sessions";
        owner.query_one(query, &[]).await.unwrap().get::<_, bool>(0).then_some(())
    })
    .await;
    owner.batch_execute("UPDATE sessions SET idle_expires_at = now()").await.unwrap();
    assert!(is_signed_out(&session.get(LIST).await), "idle for too long");

    let session = Session::open(&server, &database, "admin@example.com").await;
    owner
        .batch_execute(
            "ALTER TABLE sessions DISABLE TRIGGER sessions_keep;
             UPDATE sessions SET created_at = now() - interval '7 days', expires_at = now() + interval '1 hour',
                 idle_expires_at = now() + interval '10 minutes', last_used_at = now() - interval '2 hours';",
        )
        .await
        .unwrap();
    assert_eq!(session.get(LIST).await.status, 200);
    eventually("the use is written", || async {
        let query = "SELECT bool_or(idle_expires_at = expires_at) FROM sessions";
        owner.query_one(query, &[]).await.unwrap().get::<_, bool>(0).then_some(())
    })
    .await;
    owner.batch_execute("UPDATE sessions SET expires_at = now(), idle_expires_at = now()").await.unwrap();
    assert!(is_signed_out(&session.get(LIST).await), "however much it was used");
}

#[tokio::test]
async fn a_page_that_keeps_itself_up_to_date_keeps_no_session_open() {
    let (database, server) = place().await;
    // Nobody has opened a page yet.
    let link = sign_in_link(&server, &database, None).await;
    let answer = use_link(server.address(), &link, &[]).await;
    let cookie = answer.cookie(&Session::cookie_name(server.address())).unwrap();
    let unattended = Session { address: server.address().to_owned(), cookie, form_token: String::new() };
    let owner = database.owner().await;
    let nearly =
        "UPDATE sessions SET last_used_at = now() - interval '11 hours', idle_expires_at = now() + interval '1 hour'";
    owner.batch_execute(nearly).await.unwrap();
    let cookies = unattended.cookies();
    let script = [
        ("host", server.address()),
        ("cookie", &cookies),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
    ];
    for (method, path) in [("GET", "/environments"), ("HEAD", "/environments/events")] {
        assert_eq!(send(server.address(), method, path, &script, "").await.status, 200, "{path}");
    }
    // What somebody does afterwards is written with it, or later.
    let used = Session::open(&server, &database, "admin@example.com").await;
    let lives = async || -> Vec<bool> {
        let query = "SELECT idle_expires_at > now() + interval '11 hours' FROM sessions ORDER BY created_at";
        owner.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    owner.batch_execute(&format!("{nearly} WHERE created_at = (SELECT max(created_at) FROM sessions)")).await.unwrap();
    assert_eq!(used.get(LIST).await.status, 200);
    eventually("the use is written", || async { lives().await[1].then_some(()) }).await;
    assert_eq!(lives().await, [false, true]);
    // Whoever comes back in time goes on.
    assert_eq!(unattended.get(LIST).await.status, 200);
    eventually("that use is written", || async { lives().await[0].then_some(()) }).await;
}

#[tokio::test]
async fn a_session_lasts_as_long_as_the_operator_says() {
    let database = TestDatabase::create().await;
    let args = ["--session-lifetime=2h", "--session-idle-timeout=10m"].map(str::to_owned).to_vec();
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    server.admin_user(&database, "admin@example.com").await;
    let link = sign_in_link(&server, &database, None).await;
    let answer = use_link(server.address(), &link, &[]).await;
    assert!(answer.header("set-cookie").contains("; Max-Age=7200"), "{answer:?}");
    let lives = "SELECT concat(expires_at - created_at, ' ', idle_expires_at - created_at) FROM sessions";
    assert_eq!(database.text(lives, &[]).await, "02:00:00 00:10:00");
}
