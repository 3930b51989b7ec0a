//! What other pages, and whoever makes requests by hand, get out of a session: nothing.

use latchkey::{
    auth::policy::{PAGE_POLICIES, PagePolicy, Streams, Who},
    domain::ids::RequestId,
};

use super::{
    browser::Browser,
    requests::{Session, form, send},
    signed_in,
};
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::token_id};

const LIST: &str = "/settings/personal-access-tokens";
const TOKENS: &str = "SELECT count(*) FROM personal_access_tokens";

/// A server with a user and one token of theirs, by its ID.
async fn place() -> (TestDatabase, TestServer, String) {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let token = server.admin_user(&database, "dev@example.com").await;
    (database, server, token_id(&token))
}

/// Every form that a session can send: its path, and what it says.
fn forms(id: &str) -> Vec<(String, Vec<(&'static str, String)>)> {
    let key = RequestId::generate().to_string();
    let texts =
        |fields: &[(&'static str, &str)]| fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    vec![
        (
            LIST.to_owned(),
            texts(&[("description", "evil"), ("days", "30"), ("access", "read-write"), ("idempotency_key", &key)]),
        ),
        (format!("{LIST}/{id}"), texts(&[("description", "evil")])),
        (format!("{LIST}/{id}/revoke"), Vec::new()),
        (format!("/settings/sessions/{id}/revoke"), Vec::new()),
        (format!("/details/{id}/start"), Vec::new()),
        (format!("/details/{id}/stop"), Vec::new()),
        (format!("/details/{id}/delete"), Vec::new()),
        (format!("/admin/users/{id}/suspend"), Vec::new()),
        (format!("/admin/users/{id}/unsuspend"), Vec::new()),
        ("/admin/service-accounts".to_owned(), texts(&[("name", "evil")])),
        (
            format!("/admin/service-accounts/{id}/tokens"),
            texts(&[("description", "evil"), ("days", "30"), ("idempotency_key", &key)]),
        ),
        ("/admin/invitations".to_owned(), texts(&[("email", "evil@example.com"), ("provider", "acme")])),
        ("/admin/invitations/withdraw".to_owned(), texts(&[("email", "evil@example.com"), ("provider", "acme")])),
        ("/device".to_owned(), texts(&[("user_code", "BBBB-BBBB")])),
        ("/device/answer".to_owned(), texts(&[("user_code", "BBBB-BBBB"), ("answer", "yes")])),
        ("/oauth2/authorize".to_owned(), texts(&[("client_id", "gitpod-cli"), ("answer", "yes")])),
        ("/sign-out".to_owned(), Vec::new()),
    ]
}

/// What acts have been done, but for what the tests themselves begin with.
async fn acts(database: &TestDatabase) -> Vec<String> {
    let query = "SELECT action FROM audit_logs WHERE outcome = 'succeeded' AND count = 1 AND action NOT IN ('read', 'session_create', 'sign_in_link_create', 'user_create', 'token_create') ORDER BY 1";
    database.owner().await.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_form_needs_the_form_token_of_its_own_session() {
    let (database, server, id) = place().await;
    // All there are.
    let known: std::collections::BTreeSet<String> = forms(&id).into_iter().map(|(path, _)| path).collect();
    let posted =
        PAGE_POLICIES.iter().filter(|page| page.method == http::Method::POST && page.policy.who == Who::Caller);
    let posted: std::collections::BTreeSet<String> =
        posted.map(|page| format!("/{}", page.policy.rpc.replace("{}", &id))).collect();
    assert_eq!(known, posted);
    let session = Session::open(&server, &database, "dev@example.com").await;
    let other = Session::open(&server, &database, "dev@example.com").await;
    assert_ne!(session.form_token, other.form_token);
    let origin = format!("http://{}", server.address());
    let own = [("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    let tokens = database.number(TOKENS, &[]).await;
    for (path, fields) in forms(&id) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for form_token in [None, Some(""), Some("wrong"), Some(other.form_token.as_str())] {
            let with: Vec<_> =
                form_token.map(|token| ("form_token", token)).into_iter().chain(fields.clone()).collect();
            let answer = session.post_with(&path, &with, &own).await;
            assert_eq!(answer.status, 403, "{path} with {form_token:?}: {answer:?}");
            assert!(answer.body.contains("Form out of date"), "{path}");
        }
    }
    assert_eq!(acts(&database).await, Vec::<String>::new());
    let after = database.number(TOKENS, &[]).await;
    assert_eq!(after, tokens);
    // And with the right one, the same is done.
    let answer = session.post(&format!("{LIST}/{id}/revoke"), &[]).await;
    assert_eq!((answer.status, acts(&database).await), (303, vec!["token_revoke".to_owned()]));
}

#[tokio::test]
async fn no_page_of_another_origin_sends_a_form_even_with_the_right_form_token() {
    let (database, server, id) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let (own, port) = (format!("http://{}", server.address()), server.address().rsplit_once(':').unwrap().1);
    let (named, by_name) = (format!("http://localhost:{port}"), format!("localhost:{port}"));
    let navigates = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let evil = ("origin", "http://evil.example");
    // Another port of the machine is another origin, though browsers send it the same cookies.
    let neighbour = ("origin", "http://127.0.0.1:3000");
    for headers in [
        &[][..],
        &[evil],
        &[neighbour, ("sec-fetch-site", "same-site")],
        &[neighbour],
        &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), navigates[0], navigates[1]],
        &[("sec-fetch-site", "same-site"), navigates[0], navigates[1]],
        &[("sec-fetch-site", "none"), navigates[0], navigates[1]],
        &[("origin", own.as_str()), ("sec-fetch-site", "cross-site")],
        &[("origin", named.as_str())],
        &[("host", by_name.as_str()), ("origin", own.as_str()), ("sec-fetch-site", "cross-site")],
        // DNS rebinding: the page and the request have one name, which is not ours.
        &[("host", "evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("host", "localhost.evil.example"), ("sec-fetch-site", "same-origin")],
    ] {
        for (path, fields) in forms(&id) {
            let mut with = vec![("form_token", session.form_token.as_str())];
            with.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
            let answer = session.post_with(&path, &with, headers).await;
            assert_eq!(answer.status, 403, "{path} with {headers:?}: {answer:?}");
        }
    }
    assert_eq!(acts(&database).await, Vec::<String>::new());
    // By the machine's own name, it is our own page.
    let with = [("form_token", session.form_token.as_str())];
    let headers = [("host", by_name.as_str()), ("origin", named.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(session.post_with(&format!("{LIST}/{id}/revoke"), &with, &headers).await.status, 303);
}

#[tokio::test]
async fn no_page_of_another_origin_looks_into_ours() {
    let (database, server, _) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let cookies = session.cookies();
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("origin", "http://evil.example"),
        ][..],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")],
        &[("host", "evil.example"), ("sec-fetch-site", "same-origin")],
        &[],
    ] {
        let mut all = vec![("cookie", cookies.as_str())];
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", server.address()));
        }
        all.extend(headers);
        for path in [LIST, "/audit-logs", "/environments/events"] {
            let answer = send(server.address(), "GET", path, &all, "").await;
            assert_eq!(answer.status, 403, "{path} with {headers:?}: {answer:?}");
            assert!(answer.header("access-control-allow-origin").is_empty());
        }
    }
    // Nobody is in the same browsing context, and nobody puts a page of ours into a frame.
    for path in ["/sign-in", LIST, "/nowhere"] {
        let page = session.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-") && !policy.contains('*') && policy.contains("base-uri 'none'"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(page.header(name), value, "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn a_session_is_good_for_pages_alone_and_a_token_for_none() {
    let (database, server, _) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let refused = server.api(&session.cookie).await.whoami().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    // Nor does the cookie count for an RPC.
    let (cookies, origin) = (session.cookies(), format!("http://{}", server.address()));
    let headers = [
        ("host", server.address()),
        ("cookie", cookies.as_str()),
        ("origin", origin.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/json"),
    ];
    let path = "/gitpod.v1.IdentityService/GetAuthenticatedIdentity";
    assert_eq!(send(server.address(), "POST", path, &headers, "{}").await.status, 401);
    let token = session.create_token("mine").await;
    let as_cookie = Session { cookie: token.clone(), ..session.clone() };
    assert_eq!(as_cookie.get(LIST).await.status, 403);
    let bearer = format!("Bearer {token}");
    let headers = [("host", server.address()), ("authorization", &bearer), ("sec-fetch-site", "none")];
    let answer = send(server.address(), "GET", LIST, &headers, "").await;
    assert_eq!((answer.status, answer.header("location").starts_with("/sign-in")), (303, true), "{answer:?}");
}

#[tokio::test]
async fn whatever_people_write_is_text() {
    let (database, server, id) = place().await;
    const EVIL: &str = "\"><script>window.evil=1</script><img src=x onerror=window.evil=1>{{7*7}}";
    let session = Session::open(&server, &database, "dev@example.com").await;
    session.create_token(EVIL).await;
    assert_eq!(session.post(&format!("{LIST}/{id}"), &[("description", EVIL)]).await.status, 303);
    assert_eq!(session.post("/admin/service-accounts", &[("name", EVIL)]).await.status, 303);
    let owner = database.owner().await;
    let (organization, user): (String, String) = {
        let row = owner
            .query_one("SELECT organization_id::text, id::text FROM principals WHERE email = 'dev@example.com'", &[])
            .await
            .unwrap();
        (row.get(0), row.get(1))
    };
    owner.execute("UPDATE principals SET name = $1 WHERE id::text = $2", &[&EVIL, &user]).await.unwrap();
    owner.execute("UPDATE sessions SET user_agent = $1", &[&EVIL]).await.unwrap();
    let log =
        "INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, action, rpc, outcome, reason, user_agent)
        VALUES (gen_random_uuid(), $1::text::uuid, $2::text::uuid, 'user', $3, $3, 'denied', $3, left($3, 255))";
    // An action is of letters: nobody can write another one, and the page does not count on it.
    owner.batch_execute("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_action").await.unwrap();
    owner.execute(log, &[&organization, &user, &EVIL]).await.unwrap();
    owner.batch_execute(&format!("
        INSERT INTO runners (id, organization_id, name) VALUES ('{user}', '{organization}', 'r');
        INSERT INTO environment_classes (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            VALUES ('{user}', '{user}', 'Small', '', 1, 1, 1, true);
        INSERT INTO environments (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, desired_phase, phase, failure_message, warning_message, remote_url, target, target_name, branch)
            VALUES ('{user}', '{organization}', '{user}', '{id}', '{user}', '{user}', left('{EVIL}', 80), 'stopped', 'stopped', '{EVIL}', '{EVIL}', 'https://host/{}', 'remote_branch', '{EVIL}', '{EVIL}');
    ", EVIL.replace(' ', "/"))).await.unwrap();
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    for path in [
        LIST.to_owned(),
        format!("{LIST}/{id}"),
        format!("{LIST}/{id}/revoke"),
        format!("{LIST}?state=%22%3E%3Cscript%3Ewindow.evil=1%3C/script%3E"),
        "/settings/sessions".to_owned(),
        "/environments".to_owned(),
        format!("/details/{user}"),
        format!("/details/{user}/delete"),
        "/audit-logs".to_owned(),
        format!("/audit-logs?subject={}", form(&[("", EVIL)])),
        "/admin/users".to_owned(),
        format!("/admin/users/{user}"),
        format!("/admin/users/{user}/suspend"),
        "/admin/service-accounts".to_owned(),
        "/nowhere/%22%3E%3Cscript%3Ewindow.evil=1%3C/script%3E".to_owned(),
    ] {
        // The last one says nothing of what was asked for.
        let status = if path.starts_with("/nowhere") { 404 } else { 200 };
        assert_eq!(browser.goto(&path).await, status, "{path}");
        let is_shown = "document.body.textContent.includes('<script>window.evil=1</script>')
            || [...document.querySelectorAll('input')].some((field) => field.value.includes('<script>window.evil=1</script>'))";
        assert_eq!(browser.evaluate(is_shown).await, status == 200, "{path}: as it was written");
        let evil =
            browser.evaluate("[window.evil ?? 0, document.querySelectorAll('main script, main img').length]").await;
        assert_eq!(evil, serde_json::json!([0, 0]), "{path}");
        // Nothing was even tried: the policy had nothing to hold back.
        let complaints = browser.act(serde_json::json!({ "action": "complaints" })).await;
        let of_policy =
            complaints.as_array().unwrap().iter().any(|one| one.as_str().unwrap().contains("Content Security"));
        assert!(!of_policy, "{path}: {complaints}");
    }
}

#[tokio::test]
async fn assets_are_those_that_there_are() {
    let (_database, server, _) = place().await;
    let host = [("host", server.address())];
    for path in [
        "/assets/..%2f..%2fCargo.toml",
        "/assets/../settings",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/style.css/..",
        "/assets/",
        "/assets/style.css%00",
        "/assets/STYLE.css",
        "/assets/templates",
    ] {
        let answer = send(server.address(), "GET", path, &host, "").await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let style = send(server.address(), "GET", "/assets/style.css", &host, "").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8".to_owned()));
    // Of a program that runs beside this one: what it would have there is something else.
    for path in ["/assets/style.css", "/assets/style.css?v=", "/assets/style.css?v=0011223344556677"] {
        assert_eq!(send(server.address(), "GET", path, &host, "").await.header("cache-control"), "no-store", "{path}");
    }
    let page = send(server.address(), "GET", "/sign-in", &host, "").await.body;
    let address = page.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let kept = send(server.address(), "GET", address, &host, "").await;
    assert_eq!((kept.status, kept.header("cache-control")), (200, "public, max-age=31536000, immutable".to_owned()));
    // A line break in an address begins no header.
    let answer = send(server.address(), "GET", "/settings?x=%0d%0aset-cookie:%20evil=1", &host, "").await;
    assert!(answer.header("set-cookie").is_empty() && !answer.header("location").contains('\n'), "{answer:?}");
    let location = answer.header("location");
    assert_eq!(location, "/sign-in?next=%2Fsettings%3Fx%3D%250d%250aset-cookie%3A%2520evil%3D1");
}

/// Of what is no page, and public, a page of somebody else's whose name leads here learns nothing; programs may call the server as they
/// like.
#[tokio::test]
async fn a_name_that_leads_here_begins_no_login() {
    let (_database, server, _) = place().await;
    let form = [("content-type", "application/x-www-form-urlencoded"), ("host", "evil.example")];
    let (origin, site) = (("origin", "http://evil.example"), ("sec-fetch-site", "same-origin"));
    for (headers, status) in [(&[][..], 200), (&[origin], 403), (&[site], 403), (&[origin, site], 403)] {
        let headers = [&form[..], headers].concat();
        let path = "/oauth2/device_authorization";
        let answer = send(server.address(), "POST", path, &headers, "client_id=gitpod-cli&host_name=x").await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert_eq!(answer.body.contains("user_code"), status == 200, "{answer:?}");
    }
}

/// A server that has not heard yet that somebody is no admin any more lets them in, and lets them do nothing that outlives it.
#[tokio::test]
async fn whoever_is_no_admin_any_more_leaves_no_way_in() {
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(
        &database,
        ServerOptions { args: vec!["--revocation-bound=1h".to_owned()], ..ServerOptions::default() },
    )
    .await;
    server.admin_user(&database, "dev@example.com").await;
    let invite = ["invite", "--email", "ann@acme.example", "--provider", "acme"];
    server.admin(&database, &invite).await.unwrap();
    let session = Session::open(&server, &database, "dev@example.com").await;
    let account = server.admin(&database, &["create-service-account", "--name", "gateway", "--service"]).await.unwrap();
    assert_eq!(session.get("/admin/service-accounts").await.status, 200);
    let accounts = "SELECT count(*) FROM principals WHERE kind = 'service_account'";
    let tokens = "SELECT count(*) FROM personal_access_tokens";
    let before = (database.number(accounts, &[]).await, database.number(tokens, &[]).await);
    let unheard =
        "ALTER TABLE principals DISABLE TRIGGER principals_tell_update; UPDATE principals SET role = 'member'";
    database.owner().await.batch_execute(unheard).await.unwrap();
    assert_eq!(session.get("/admin/service-accounts").await.status, 200, "it has not heard of it");
    assert_eq!(session.post("/admin/service-accounts", &[("name", "mine")]).await.status, 403);
    let token = [
        ("description", "mine"),
        ("days", "90"),
        ("access", "read-write"),
        ("idempotency_key", "0198a000-0000-7000-8000-000000000041"),
    ];
    let path = format!("/admin/service-accounts/{}/tokens", account.trim());
    let answer = session.post(&path, &token).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!((database.number(accounts, &[]).await, database.number(tokens, &[]).await), before);
    // Nor is anything taken back, whether it is there or not.
    for email in ["ann@acme.example", "nobody@acme.example"] {
        let fields = [("provider", "acme"), ("email", email)];
        let answer = session.post("/admin/invitations/withdraw", &fields).await;
        assert_eq!((answer.status, answer.body.contains("You are no admin any more.")), (403, true), "{answer:?}");
    }
    let open = "SELECT count(*) FROM invitations WHERE withdrawn_at IS NULL";
    assert_eq!(database.number(open, &[]).await, 1);
}

/// Which of two would count is anybody's guess: no page makes it, and nobody is led anywhere by an address that says it twice.
#[tokio::test]
async fn no_page_takes_an_address_that_says_something_twice() {
    let (database, server, _) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    for PagePolicy { method, policy } in PAGE_POLICIES {
        // A file is the same whatever is asked of it.
        if *method != http::Method::GET || policy.rpc.starts_with("assets/") {
            continue;
        }
        let path = format!("/{}", policy.rpc.replace("{}", "acme"));
        let answer = session.get(&format!("{path}?x=1&%78=2")).await;
        // There is no such provider here.
        let expected = if policy.rpc == "sign-in/{}/callback" { 404 } else { 400 };
        assert_eq!((answer.status, answer.header("location").as_str()), (expected, ""), "{path}: {answer:?}");
        assert!(expected == 404 || answer.body.contains("said twice"), "{path}: {answer:?}");
    }
    // A form's own address counts too.
    let answer = session.post("/sign-out?x=1&x=1", &[]).await;
    assert_eq!((answer.status, session.get(LIST).await.status), (400, 200), "{answer:?}");
}

/// Whatever is added is in the table, and behind the layer.
#[tokio::test]
async fn every_page_asks_who_is_there() {
    let (database, server, id) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let origin = format!("http://{}", server.address());
    let nobody = [("host", server.address()), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    for PagePolicy { method, policy } in PAGE_POLICIES {
        let path = format!("/{}", policy.rpc.replace("{}", &id));
        if policy.who == Who::Caller {
            let answer = send(server.address(), method.as_str(), &path, &nobody, "").await;
            let expected = if method == http::Method::GET { 303 } else { 401 };
            assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
        }
        // There is something behind it, which says what it thinks of the request as a page of ours does.
        if policy.streams == Streams::Nothing && policy.rpc != "sign-out" {
            let answer =
                if method == http::Method::GET { session.get(&path).await } else { session.post(&path, &[]).await };
            assert_ne!(answer.status, 405, "{method} {path} is not served");
            assert!(!answer.header("content-security-policy").is_empty(), "{method} {path}: {answer:?}");
        }
    }
}

/// The real thing: a page of another port, in a browser that sends it the cookies of ours.
#[tokio::test]
async fn a_page_of_another_port_can_neither_act_nor_look() {
    let (database, server, id) = place().await;
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    let target = format!("{}{LIST}/{id}/revoke", server.url());
    let page = format!(
        "<form id=f method=post action='{target}'><input name=form_token value=x></form><iframe src='{}{LIST}'></iframe>",
        server.url()
    );
    let neighbour = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = neighbour.local_addr().unwrap();
    let router = axum::Router::new().route("/", axum::routing::get(move || async move { axum::response::Html(page) }));
    let serving = tokio::spawn(async move { axum::serve(neighbour, router).await.unwrap() });
    browser.goto(&format!("http://{address}/")).await;
    let looked = browser
        .evaluate(&format!(
            "fetch('{}{LIST}', {{ credentials: 'include' }}).then((answer) => answer.text(), () => 'nothing')",
            server.url()
        ))
        .await;
    assert_eq!(looked, "nothing");
    // What the frame holds is the browser's own page on that it may not hold ours.
    let framed = browser.act(serde_json::json!({ "action": "frames" })).await.to_string();
    assert!(framed.contains("chrome-error://") && !framed.contains(LIST), "{framed}");
    browser.act(serde_json::json!({ "action": "evaluate", "script": "document.getElementById('f').submit()" })).await;
    browser.shows("was not sent by a page of this site").await;
    serving.abort();
    assert_eq!(acts(&database).await, Vec::<String>::new());
}

/// Of secrets, nothing stays behind: not in addresses, not in what other pages are told.
#[tokio::test]
async fn no_secret_is_in_an_address() {
    let (database, server, _) = place().await;
    let link = super::sign_in_link(&server, &database, None).await;
    let code = link.split_once("code=").unwrap().1.to_owned();
    let mut browser = Browser::open(&server.url()).await;
    browser.goto(&link).await;
    assert_eq!(browser.path().await, "/sign-in/link", "the link itself stays in no history");
    assert!(!browser.html().await.contains(&code));
    browser.act(serde_json::json!({ "action": "click", "selector": "main button" })).await;
    browser.shows("Personal access tokens").await;
    browser.follow("New Token").await;
    browser.fill("Description", "secret").await;
    browser.press("Create").await;
    let token = browser.value("#token").await;
    browser.follow("Done").await;
    let requests = browser.act(serde_json::json!({ "action": "requests" })).await.to_string();
    assert!(requests.contains("/settings/personal-access-tokens") && !requests.contains(&token));
    let referrers = browser.act(serde_json::json!({ "action": "referrers" })).await.to_string();
    assert!(referrers.contains("/settings/personal-access-tokens"), "they are looked at: {referrers}");
    assert!(!referrers.contains(&token) && !referrers.contains(&code), "{referrers}");
    assert_eq!(requests.matches(&code).count(), 1, "once, as it was opened: {requests}");
    let log = server.log();
    let cookie =
        browser.cookie(&Session::cookie_name(server.address())).await.unwrap()["value"].as_str().unwrap().to_owned();
    for secret in [&code, &token, &cookie] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
}
