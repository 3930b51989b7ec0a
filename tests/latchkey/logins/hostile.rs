//! Requests to the pages that no page of ours has made.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{begin, tokens};
use crate::{
    support::{TestDatabase, TestServer},
    web::{
        requests::{Session, form, hidden, send, use_link},
        sign_in_link,
    },
};

const REDIRECT: &str = "http://127.0.0.1:8085/login/callback";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What the client asks for.
const ASKED: [(&str, &str); 8] = [
    ("response_type", "code"),
    ("client_id", "gitpod-cli"),
    ("redirect_uri", REDIRECT),
    ("state", "s"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
    ("host_name", "laptop"),
    ("lifetime", "3600"),
];

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    ASKED.into_iter().map(|(known, old)| (known, if known == name { value } else { old })).collect()
}

async fn place() -> (TestDatabase, TestServer, Session) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.admin(&database, &["create-user", "--email", "dev@example.com"]).await.unwrap();
    server.admin(&database, &["create-user", "--email", "other@example.com"]).await.unwrap();
    let session = Session::open(&server, &database, "dev@example.com").await;
    (database, server, session)
}

/// All that anybody has said.
async fn said(database: &TestDatabase) -> i64 {
    let query = "SELECT count(*) FROM audit_logs WHERE action IN ('login_approve', 'login_deny', 'login_code_refuse')";
    database.number(query, &[]).await
}

#[tokio::test]
async fn a_form_counts_from_a_page_of_ours_in_this_very_session() {
    let (database, server, session) = place().await;
    let other = Session::open(&server, &database, "other@example.com").await;
    let begun = begin(&server, "").await;
    let code = begun.user_code.as_str();
    let own = format!("http://{}", server.address());
    let same = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    let approve = [ASKED.as_slice(), &[("answer", "approve")]].concat();
    for (path, fields) in [
        ("/device", vec![("user_code", code)]),
        ("/device/answer", vec![("user_code", code), ("answer", "approve")]),
        ("/oauth2/authorize", approve),
    ] {
        for token in ["", "x", other.form_token.as_str(), &session.form_token[1..]] {
            let fields = [&[("form_token", token)], fields.as_slice()].concat();
            let answer = session.post_with(path, &fields, &same).await;
            assert_eq!(answer.status, 403, "{path} {token}: {answer:?}");
            assert!(answer.header("location").is_empty());
        }
        let good = [&[("form_token", session.form_token.as_str())], fields.as_slice()].concat();
        for headers in [
            &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")][..],
            &[("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")],
            &[("origin", "null")],
            &[],
            &[("host", "evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(session.post_with(path, &good, headers).await.status, 403, "{path} {headers:?}");
        }
        // Nobody is signed in.
        let nobody = [
            ("host", server.address()),
            ("origin", &own),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        assert_eq!(send(server.address(), "POST", path, &nobody, &form(&good)).await.status, 401);
    }
    assert_eq!((said(&database).await, tokens(&database).await), (0, 0));
    begun.redeem(&server).await.assert_error(400, "authorization_pending", "");
}

#[tokio::test]
async fn the_pages_are_in_no_frame_and_lead_to_the_programs_machine_alone() {
    let (_database, server, session) = place().await;
    let path = format!("/oauth2/authorize?{}", form(&ASKED));
    for page in ["/device", &path] {
        let answer = session.get(page).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && answer.header("cache-control") == "no-store", "{answer:?}");
        assert_eq!(
            (answer.header("x-frame-options"), answer.header("referrer-policy")),
            ("DENY".to_owned(), "same-origin".to_owned())
        );
        let leads = if page == "/device" { "form-action 'self';" } else { "form-action 'self' http://127.0.0.1:8085;" };
        assert!(policy.contains(leads), "{policy}");
    }
    // Whoever is not signed in comes back afterwards, to a path of ours.
    let navigates = [
        ("host", server.address()),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let answer = send(server.address(), "GET", &path, &navigates, "").await;
    let expected = format!("/sign-in?{}", form(&[("next", path.as_str())]));
    assert_eq!((answer.status, answer.header("location")), (303, expected));
}

#[tokio::test]
async fn whatever_a_cookie_says_a_link_leads_to_a_page_of_ours() {
    let (database, server, _) = place().await;
    let name = format!("latchkey-sign-in-next-{}", server.address().rsplit_once(':').unwrap().1);
    for (next, leads) in [
        ("/device", "/device"),
        ("/audit-logs?subject=x", "/audit-logs?subject=x"),
        ("/device?notice=yes", "/device"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nset-cookie: b=c", "/"),
        ("", "/"),
    ] {
        let cookie = format!("{name}={}", URL_SAFE_NO_PAD.encode(next));
        let link = sign_in_link(&server, &database, Some("dev@example.com")).await;
        let answer = use_link(server.address(), &link, &[("cookie", &cookie)]).await;
        assert_eq!((answer.status, answer.header("location").as_str()), (303, leads), "{next}");
        assert_eq!(answer.cookie(&name).as_deref(), Some(""), "it is good once");
    }
}

#[tokio::test]
async fn what_leads_elsewhere_or_proves_nothing_is_shown_and_not_followed() {
    let (database, _server, session) = place().await;
    for fields in [
        with("redirect_uri", "https://evil.example/"),
        with("redirect_uri", "http://localhost:8085/"),
        with("redirect_uri", "http://127.0.0.1:8085@evil.example/"),
        with("redirect_uri", "http://127.0.0.1.evil.example:8085/"),
        with("redirect_uri", "http://127.0.0.1:8085/?x=y"),
        with("redirect_uri", "javascript:alert(1)"),
        with("redirect_uri", ""),
        with("client_id", "another"),
        with("response_type", "token"),
        with("code_challenge_method", "plain"),
        with("code_challenge", "short"),
        with("code_challenge", ""),
        with("state", ""),
        with("lifetime", "59"),
        with("lifetime", "7776001"),
        with("lifetime", "x"),
        with("lifetime", "+3600"),
    ] {
        let shown = session.get(&format!("/oauth2/authorize?{}", form(&fields))).await;
        assert!(shown.status == 400 && shown.header("location").is_empty(), "{fields:?}: {shown:?}");
        assert!(!shown.body.contains("evil.example") && !shown.body.contains("javascript:"), "{fields:?}");
        let fields = [fields.as_slice(), &[("answer", "approve")]].concat();
        let sent = session.post("/oauth2/authorize", &fields).await;
        assert!(sent.status == 400 && sent.header("location").is_empty(), "{fields:?}: {sent:?}");
    }
    // Said twice, it is shown as well, with the same value or another (RFC 6749, section 3.1).
    for (name, value) in [ASKED[2], ASKED[3], ("state", "t"), ("client_id", "gitpod-cli"), ("other", "")] {
        let twice = [ASKED.as_slice(), &[(name, value), ("other", "")]].concat();
        let shown = session.get(&format!("/oauth2/authorize?{}", form(&twice))).await;
        assert!(shown.status == 400 && shown.header("location").is_empty(), "{name}: {shown:?}");
        let sent = session.post("/oauth2/authorize", &[&twice[..], &[("answer", "approve")]].concat()).await;
        assert!(sent.status == 400 && sent.header("location").is_empty(), "{name}: {sent:?}");
    }
    let neither = session.post("/oauth2/authorize", &[ASKED.as_slice(), &[("answer", "x")]].concat()).await;
    assert_eq!(neither.status, 400);
    assert_eq!((said(&database).await, tokens(&database).await), (0, 0));

    // What is taken back stands where it belongs, whatever is in it.
    let odd = with("state", "a&code=b#c\r\nset-cookie: d=e\u{e9}<x>");
    let page = session.get(&format!("/oauth2/authorize?{}", form(&odd))).await;
    assert!(page.status == 200 && !page.body.contains("<x>"), "{page:?}");
    assert_eq!(hidden(&page.body, "lifetime"), "3600");
    for (answer, name) in [("approve", "code"), ("deny", "error")] {
        let back = session.post("/oauth2/authorize", &[odd.as_slice(), &[("answer", answer)]].concat()).await;
        assert_eq!((back.status, back.header("set-cookie").as_str()), (303, ""), "{back:?}");
        let url: url::Url = back.header("location").parse().unwrap();
        assert_eq!((&url[..url::Position::AfterPath], url.fragment()), (REDIRECT, None));
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs.len(), 3);
        assert_eq!((pairs[0].0.as_str(), &pairs[1]), (name, &("state".to_owned(), odd[3].1.to_owned())));
        assert_eq!(pairs[2].0, "iss");
    }
}

#[tokio::test]
async fn what_programs_say_of_themselves_is_no_markup() {
    let (_database, server, session) = place().await;
    let markup = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let answer = crate::oauth::asking::send(
        &server,
        "POST /oauth2/device_authorization",
        &[crate::oauth::asking::FORM, "user-agent: <script>alert(2)</script>\"'&"],
        &format!("client_id=gitpod-cli&host_name={markup}"),
    )
    .await;
    let code = answer.json()["user_code"].as_str().unwrap().to_owned();
    let page = session.post("/device", &[("user_code", &code)]).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("<script>alert") && page.body.contains("scriptalert1script"), "{}", page.body);
    let path = format!("/oauth2/authorize?{}", form(&with("host_name", "<script>alert(3)</script>")));
    let page = session.get(&path).await;
    assert!(page.status == 200 && !page.body.contains("<script>alert"), "{}", page.body);
    let typed = session.post("/device", &[("user_code", "<script>alert(4)</script>")]).await;
    assert!(typed.status == 400 && !typed.body.contains("<script>alert"), "{}", typed.body);
}

#[tokio::test]
async fn five_wrong_codes_are_as_many_as_one_person_types() {
    let (database, server, session) = place().await;
    let begun = begin(&server, "").await;
    let wrong = if begun.user_code == "BCDF-GHJK" { "LMNP-QRST" } else { "BCDF-GHJK" };
    for _ in 0..5 {
        assert_eq!(session.post("/device", &[("user_code", wrong)]).await.status, 400);
    }
    for (path, code) in [("/device", wrong), ("/device", &begun.user_code), ("/device/answer", &begun.user_code)] {
        let answer = session.post(path, &[("user_code", code), ("answer", "approve")]).await;
        assert_eq!(answer.status, 429, "{path} {code}: {answer:?}");
    }
    assert_eq!(said(&database).await, 5);
    begun.redeem(&server).await.assert_error(400, "authorization_pending", "");
    // Signing in again gives nobody more of them.
    let again = Session::open(&server, &database, "dev@example.com").await;
    assert_eq!(again.post("/device", &[("user_code", &begun.user_code)]).await.status, 429);
}
