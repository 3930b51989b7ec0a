//! How people begin, and where they want to go.

use std::fs;

use serde_json::json;
use url::{Position, Url};

use super::{Browser, World, authenticate, begin, person};
use crate::{
    support::{ServerOptions, TestDatabase, TestServer},
    web::requests::{Answer, hidden, send},
};

#[tokio::test]
async fn the_page_lists_the_providers_and_a_form_of_ours_begins() {
    let world = World::real(json!({}), json!({ "display_name": "Acme <Login>" })).await;
    let browser = Browser::new();
    let page = browser.open(&format!("{}/sign-in?next=/settings/sessions", world.server.url())).await;
    assert!(page.text.contains("<form method=\"post\" action=\"/sign-in/acme\">"), "{}", page.text);
    assert!(
        page.text.contains("value=\"/settings/sessions\"") && page.words().contains("Acme &#60;Login&#62;"),
        "{}",
        page.text
    );
    assert!(!page.words().contains("sign-in-link"), "with a provider, no link signs anybody in");
    // Another site's form does not.
    let there = format!("{}/sign-in/acme", world.server.url());
    let page = browser.post_from_elsewhere(&there, &[("next", "/")]).await;
    assert_eq!(page.status, 403, "{}", page.words());
    assert_eq!(browser.cookies(), [].into());
    assert_eq!(browser.open(&there).await.status, 404, "nor does a link");
    assert_eq!(browser.post(&format!("{there}2"), &[]).await.status, 404);

    let url = begin(&browser, &world.server, "acme", "/").await.unwrap();
    let sent: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "latchkey"),
        ("code_challenge_method", "S256"),
        ("scope", "openid email profile"),
    ] {
        assert_eq!(sent[name], value, "{url}");
    }
    assert_eq!(sent["redirect_uri"], format!("{}/callback", there));
    let page = browser.post(&there, &[("next", "/")]).await;
    let cookie = page.headers.get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("latchkey-sign-in-") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"),
        "{cookie}"
    );
    assert_eq!(page.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn whoever_has_signed_in_comes_to_a_page_of_ours_whatever_the_link_said() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let url = world.server.url();
    let came_to = async |next: &str| {
        let browser = Browser::new();
        let there = begin(&browser, &world.server, "acme", next).await.unwrap();
        let page = browser.open(authenticate(&browser, &there, "ann").await.as_str()).await;
        assert_eq!(page.status, 303, "{next}: {}", page.words());
        page.headers["location"].to_str().unwrap().to_owned()
    };
    for own in ["/settings/personal-access-tokens?state=expired", "/details/0193?x=a%2Fb"] {
        assert_eq!(came_to(own).await, own);
    }
    for evil in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "/%2f%2fevil.example",
        "/%5cevil.example",
        "/\t/evil.example",
        "/\r\nset-cookie: x=y",
        "javascript:alert(1)",
        "/sign-out",
        &format!("/{}", "x".repeat(5000)),
    ] {
        assert_eq!(came_to(evil).await, "/", "{evil}");
        let query: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        let page = Browser::new().open(&format!("{url}/sign-in?next={query}")).await;
        assert!(page.text.contains("name=\"next\" value=\"/\""), "{evil}: {}", page.text);
    }
}

#[tokio::test]
async fn a_cookie_by_tls_is_bound_to_the_host() {
    let world = World::real(json!({ "ann": person("ann@acme.example", "Ann") }), json!({})).await;
    let mut options = world.configuration.options();
    options.args.extend(["--public-url".to_owned(), "https://latchkey.example/base".to_owned()]);
    options.signing_keys = Some(world.server.keys());
    let server = TestServer::start_with(&world.database, options).await;
    let browser = Browser::new();
    let page = browser.post(&format!("{}/sign-in/acme", server.url()), &[]).await;
    let cookie = page.headers.get("set-cookie").unwrap().to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-latchkey-sign-in=") && cookie.ends_with("; Secure"), "{cookie}");
    let back = "redirect_uri=https%3A%2F%2Flatchkey.example%2Fbase%2Fsign-in%2Facme%2Fcallback";
    assert!(page.headers["refresh"].to_str().unwrap().contains(back), "{page:?}");

    // Where others could read it, there is none.
    let mut options = world.configuration.options();
    options.args.extend(["--public-url".to_owned(), "http://latchkey.example".to_owned()]);
    options.signing_keys = Some(world.server.keys());
    let server = TestServer::start_with(&world.database, options).await;
    let browser = Browser::new();
    let page = begin(&browser, &server, "acme", "/").await.unwrap_err();
    assert_eq!((page.status.as_u16(), browser.cookies()), (403, [].into()), "{}", page.words());
}

#[tokio::test]
async fn a_session_by_tls_is_bound_to_the_host() {
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    let mut options = world.configuration.options();
    options.args.extend(["--public-url".to_owned(), "https://latchkey.example".to_owned()]);
    options.signing_keys = Some(world.server.keys());
    let server = TestServer::start_with(&world.database, options).await;
    let own = [("host", "latchkey.example"), ("origin", "https://latchkey.example"), ("sec-fetch-site", "same-origin")];
    let form = ("content-type", "application/x-www-form-urlencoded");
    let begun = send(server.address(), "POST", "/sign-in/acme", &[&own[..], &[form]].concat(), "next=%2F").await;
    let attempt = format!("__Host-latchkey-sign-in={}", begun.cookie("__Host-latchkey-sign-in").unwrap());
    let there = begun.header("refresh").strip_prefix("0; url=").map(|url| Url::parse(url).unwrap()).unwrap();
    let back = authenticate(&Browser::new(), &there, "ann").await;
    let comes = |from: &'static str| {
        [
            ("host", "latchkey.example"),
            ("sec-fetch-site", from),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ]
    };
    let path = &back[Position::BeforePath..];
    let came = [&comes("cross-site")[..], &[("cookie", attempt.as_str())]].concat();
    let answer = send(server.address(), "GET", path, &came, "").await;
    assert_eq!((answer.status, answer.header("location").as_str()), (303, "/"), "{answer:?}");
    let cookies = answer.header("set-cookie");
    let set = cookies.lines().find(|line| line.starts_with("__Host-latchkey-session=gitpod_ses_")).expect(&cookies);
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800; Secure"), "{set}");

    let session = set.split(';').next().unwrap();
    let with = |headers: &[(&'static str, &'static str)]| {
        let mut all: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.push(("cookie".to_owned(), session.to_owned()));
        all
    };
    let ask = async |method: &str, path: &str, headers: Vec<(String, String)>, body: &str| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        send(server.address(), method, path, &headers, body).await
    };
    let page = ask("GET", "/settings/sessions", with(&comes("none")), "").await;
    assert!(page.status == 200 && page.body.contains("This one"), "{page:?}");
    let body = format!("form_token={}", hidden(&page.body, "form_token"));
    let cleartext = [own[0], ("origin", "http://latchkey.example"), form];
    assert_eq!(ask("POST", "/sign-out", with(&cleartext), &body).await.status, 403);
    let answer = ask("POST", "/sign-out", with(&[&own[..], &[form]].concat()), &body).await;
    assert_eq!(answer.header("location"), "/sign-in", "{answer:?}");
    let ended = "__Host-latchkey-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure";
    assert_eq!(answer.header("set-cookie"), ended);
    assert_eq!(ask("GET", "/settings/sessions", with(&comes("none")), "").await.status, 303);
}

#[tokio::test]
async fn a_server_does_not_start_with_what_is_wrong_about_providers_and_says_all_of_it() {
    let database = TestDatabase::create().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("providers.yaml");
    let options = || ServerOptions {
        args: vec!["--oidc-providers".to_owned(), file.to_str().unwrap().to_owned()],
        ..ServerOptions::default()
    };
    fs::write(&file, "- {name: A, issuer: 'http://a.example', client_id: x}\n- {name: b, isuer: x}\n").unwrap();
    let said = TestServer::try_start_with(&database, options()).await.err().unwrap();
    for mistake in
        ["provider 1 (A): name", "provider 1 (A): issuer", "provider 2 (b): isuer", "provider 2 (b): client_id"]
    {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    let secrets = "- {name: a, issuer: 'https://a.example', client_id: x, client_secret_file: nowhere}
- {name: b, issuer: 'https://b.example', client_id: x, client_secret_file: open}\n";
    fs::write(&file, secrets).unwrap();
    fs::write(directory.path().join("open"), "a secret").unwrap();
    let said = TestServer::try_start_with(&database, options()).await.err().unwrap();
    for mistake in ["provider a", "No such file", "provider b", "chmod 600"] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    assert!(!said.contains("a secret"), "{said}");
}

#[tokio::test]
async fn who_begins_too_much_waits_and_nobody_else_does() {
    let world = World::crooked(json!({})).await;
    let mut options = world.configuration.options();
    options.args.extend(["--trusted-proxy".to_owned(), "127.0.0.1".to_owned()]);
    options.signing_keys = Some(world.server.keys());
    let server = TestServer::start_with(&world.database, options).await;
    let own = server.url();
    let begin = async |peer: &str| -> Answer {
        let headers = [
            ("host", server.address()),
            ("origin", own.as_str()),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-forwarded-for", peer),
        ];
        send(server.address(), "POST", "/sign-in/acme", &headers, "next=/").await
    };
    let mut begun = 0;
    let told_to_wait = loop {
        let answer = begin(&format!("2001:db8::{begun:x}")).await;
        match answer.status {
            200 if begun < 1000 => begun += 1,
            _ => break answer,
        }
    };
    assert!(begun >= 100, "as many as an office begins at once: {begun}");
    assert_eq!((told_to_wait.status, told_to_wait.header("set-cookie").as_str()), (429, ""), "{told_to_wait:?}");
    let seconds: u64 = told_to_wait.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{told_to_wait:?}");
    assert!(told_to_wait.body.contains("Too many people are signing in from your address"), "{told_to_wait:?}");
    assert_eq!(begin("2001:db8:0:1::1").await.status, 200, "another network");
    assert_eq!(begin("192.0.2.1").await.status, 200);
}
