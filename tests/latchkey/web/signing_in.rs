//! Signing in by a link, and who that is known as.

use super::{
    requests::{Answer, Session, send, use_link},
    sign_in_link,
};
use crate::support::{ServerOptions, TestDatabase, TestServer, eventually};

const LIST: &str = "/settings/personal-access-tokens";

pub(super) async fn place() -> (TestDatabase, TestServer) {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "admin@example.com").await;
    (database, server)
}

/// Whether somebody is led to where people sign in.
pub(super) fn is_signed_out(answer: &Answer) -> bool {
    answer.status == 303 && answer.header("location").starts_with("/sign-in?next=")
}

#[tokio::test]
async fn a_link_signs_in_once_and_only_by_its_button() {
    let (database, server) = place().await;
    let link = sign_in_link(&server, &database, None).await;
    assert!(link.starts_with(&format!("{}/sign-in/link?code=gitpod_lnk_", server.url())), "{link}");
    let path = &link[server.url().len()..];
    let name = Session::cookie_name(server.address());
    for _ in 0..3 {
        let opened = send(server.address(), "GET", path, &[("host", server.address())], "").await;
        assert_eq!(opened.status, 303, "looking into it signs nobody in, and does not use it up");
        assert_eq!(opened.cookie(&name), None);
    }
    // Nor does a page of somebody else's.
    let evil = use_link(server.address(), &link, &[("origin", "http://evil.example")]).await;
    assert_eq!((evil.status, evil.cookie(&name)), (403, None));
    let first = use_link(server.address(), &link, &[]).await;
    let cookie = first.cookie(&name).unwrap();
    assert!(first.header("set-cookie").contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800"), "{first:?}");
    let session = Session::with(server.address(), cookie).await;
    assert!(session.get("/settings/sessions").await.body.contains("This one"));
    let second = use_link(server.address(), &link, &[]).await;
    assert_eq!((second.status, second.cookie(&name)), (403, None));
    let entry = "SELECT rpc, subject_type, session_id IS NOT NULL AND session_id = subject_id, token_id IS NULL FROM audit_logs WHERE action = 'session_create'";
    let rows = database.owner().await.query(entry, &[]).await.unwrap();
    let told: Vec<(String, String, bool, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    assert_eq!(told, [("sign-in/link".to_owned(), "session".to_owned(), true, true)]);
}

#[tokio::test]
async fn of_two_who_come_with_one_link_at_once_on_two_servers_one_gets_in() {
    let (database, server) = place().await;
    let keys = server.keys();
    let other =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..ServerOptions::default() }).await;
    for _ in 0..5 {
        let link = sign_in_link(&server, &database, None).await;
        let (one, two) = tokio::join!(use_link(server.address(), &link, &[]), use_link(other.address(), &link, &[]));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 403], "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn what_is_no_link_any_more_lets_nobody_in() {
    let (database, server) = place().await;
    let owner = database.owner().await;
    let link = sign_in_link(&server, &database, None).await;
    owner
        .batch_execute("UPDATE sign_in_links SET created_at = now() - interval '10 minutes', expires_at = now()")
        .await
        .unwrap();
    assert_eq!(use_link(server.address(), &link, &[]).await.status, 403, "over");
    server.user(&database, "dev@example.com").await;
    let link = sign_in_link(&server, &database, Some("dev@example.com")).await;
    owner.batch_execute("UPDATE principals SET status = 'suspended' WHERE email = 'dev@example.com'").await.unwrap();
    for _ in 0..3 {
        assert_eq!(use_link(server.address(), &link, &[]).await.status, 403, "suspended");
    }
    // The link is used up, and that is logged: once, in no session, since there is none.
    let refused = "SELECT string_agg(concat_ws(' ', outcome, reason, actor_kind, rpc, subject_type, host(peer), count,
                       actor_id = subject_id, actor_id = (SELECT id FROM principals WHERE email = 'dev@example.com'), session_id), E'\\n')
                   FROM audit_logs WHERE action = 'sign_in'";
    assert_eq!(database.text(refused, &[]).await, "denied suspended user sign-in/link user 127.0.0.1 1 t t");
    owner.batch_execute("UPDATE principals SET status = 'active' WHERE email = 'dev@example.com'").await.unwrap();
    assert_eq!(use_link(server.address(), &link, &[]).await.status, 403, "used up");
    let forged = link.replace("gitpod_lnk_", "gitpod_pat_");
    assert_eq!(use_link(server.address(), &forged, &[]).await.status, 403, "another kind");
    let sessions: i64 = owner.query_one("SELECT count(*) FROM sessions", &[]).await.unwrap().get(0);
    assert_eq!(sessions, 0);
    // Whoever guesses is told to wait.
    let answers = async {
        for _ in 0..200 {
            if use_link(server.address(), &format!("{}/sign-in/link?code=guess", server.url()), &[]).await.status == 429
            {
                return true;
            }
        }
        false
    };
    assert!(answers.await);
}

#[tokio::test]
async fn links_are_for_a_server_that_nobody_else_reaches() {
    let (database, server) = place().await;
    let link = sign_in_link(&server, &database, None).await;
    let keys = server.keys();
    let database_keys = keys.clone();
    drop(server);
    database.owner().await.batch_execute("DELETE FROM servers").await.unwrap();
    let args = ["--insecure-listen", "--public-url", "https://latchkey.example"].map(str::to_owned).to_vec();
    let options = ServerOptions {
        args,
        listen: Some("0.0.0.0:0".to_owned()),
        signing_keys: Some(keys),
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(&database, options).await;
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    let refused = server.admin(&database, &["sign-in-link"]).await.unwrap_err();
    assert!(refused.contains("people do not sign in by links at https://latchkey.example"), "{refused}");
    let code = &link[link.find("code=").unwrap() + 5..];
    let cookies = format!("__Host-latchkey-sign-in-link={code}");
    let headers = [
        ("host", "latchkey.example"),
        ("cookie", &cookies),
        ("origin", "https://latchkey.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    let answer = send(&format!("127.0.0.1:{port}"), "POST", "/sign-in/link", &headers, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    // Nor where a proxy leads to it.
    drop(server);
    let keys = database_keys.clone();
    let args = ["--public-url", "https://latchkey.example"].map(str::to_owned).to_vec();
    let options = ServerOptions { args, signing_keys: Some(keys), ..ServerOptions::default() };
    let server = TestServer::start_with(&database, options).await;
    let refused = server.admin(&database, &["sign-in-link"]).await.unwrap_err();
    assert!(refused.contains("people do not sign in by links"), "{refused}");
    // Nor where the public URL alone leads to this machine, and others reach the server all the same.
    drop(server);
    let args = ["--insecure-listen", "--public-url", "http://127.0.0.1:1"].map(str::to_owned).to_vec();
    let listen = Some("0.0.0.0:0".to_owned());
    let signing_keys = Some(database_keys);
    let server =
        TestServer::start_with(&database, ServerOptions { args, listen, signing_keys, ..ServerOptions::default() })
            .await;
    let refused = server.admin(&database, &["sign-in-link"]).await.unwrap_err();
    assert!(refused.contains("people do not sign in by links"), "{refused}");
    let cookies = format!("latchkey-sign-in-link-1={code}");
    let headers = [
        ("host", "127.0.0.1:1"),
        ("cookie", &cookies),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "same-origin"),
    ];
    let port = server.address().rsplit_once(':').unwrap().1;
    let answer = send(&format!("127.0.0.1:{port}"), "POST", "/sign-in/link", &headers, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let page = send(&format!("127.0.0.1:{port}"), "GET", "/sign-in", &headers[..1], "").await;
    assert!(page.body.contains("Nobody can sign in by http://127.0.0.1:1"), "{page:?}");
    // And without a server there is nothing that a link could lead to.
    drop(server);
    database.owner().await.batch_execute("DELETE FROM servers").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let refused = crate::support::server::admin(&database, directory.path(), &["sign-in-link"]).await.unwrap_err();
    assert!(refused.contains("no server runs"), "{refused}");
}

#[tokio::test]
async fn signing_in_gives_another_session_and_ends_the_one_before() {
    let (database, server) = place().await;
    let name = Session::cookie_name(server.address());
    // Whatever somebody has planted is not taken over.
    let link = sign_in_link(&server, &database, None).await;
    let planted = format!("{name}=gitpod_ses_planted");
    let answer = use_link(server.address(), &link, &[("cookie", &planted)]).await;
    let cookie = answer.cookie(&name).unwrap();
    assert!(answer.status == 303 && cookie.starts_with("gitpod_ses_") && !cookie.contains("planted"));
    let former = Session::with(server.address(), cookie).await;
    let link = sign_in_link(&server, &database, None).await;
    let answer = use_link(server.address(), &link, &[("cookie", &former.cookies())]).await;
    let session = Session::with(server.address(), answer.cookie(&name).unwrap()).await;
    assert_ne!(session.cookie, former.cookie);
    assert!(is_signed_out(&former.get(LIST).await));
    assert_eq!(session.get(LIST).await.status, 200);
}

#[tokio::test]
async fn whoever_has_no_session_is_led_to_the_sign_in_page_and_whoever_guesses_waits() {
    let (_database, server) = place().await;
    let nobody =
        Session { address: server.address().to_owned(), cookie: "guess".to_owned(), form_token: String::new() };
    let answer = nobody.get("/settings/personal-access-tokens?state=expired").await;
    assert_eq!(answer.header("location"), "/sign-in?next=%2Fsettings%2Fpersonal-access-tokens%3Fstate%3Dexpired");
    let told_to_wait = async {
        for _ in 0..200 {
            let answer = nobody.get(LIST).await;
            if answer.status == 429 {
                return answer.header("retry-after").parse::<u64>().is_ok();
            }
        }
        false
    };
    assert!(told_to_wait.await);
}

#[tokio::test]
async fn a_link_for_the_first_admin_is_announced_at_start() {
    let (database, server) = place().await;
    let options = ServerOptions { signing_keys: Some(server.keys()), ..ServerOptions::default() };
    drop(server);
    let server = TestServer::start_with(&database, options).await;
    let link = eventually("it is announced", || async {
        server.announced().lines().find_map(|line| line.trim().strip_prefix("http").map(|rest| format!("http{rest}")))
    })
    .await;
    assert!(link.starts_with(&format!("{}/sign-in/link?code=", server.url())), "{link}");
    let answer = use_link(server.address(), &link, &[]).await;
    let session =
        Session::with(server.address(), answer.cookie(&Session::cookie_name(server.address())).unwrap()).await;
    assert!(session.get(LIST).await.body.contains("admin@example.com"));
    assert!(!server.log().contains("gitpod_lnk_"), "it is in no log");
}
