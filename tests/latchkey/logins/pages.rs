//! The pages where people say yes or no: the real client, a real browser.

use serde_json::json;

use super::{
    client::{Login, browser as opener, opened, parameter},
    tokens,
};
use crate::{
    support::{Gitpod, TestDatabase, TestServer, token_text::token_id},
    web::signed_in,
};

async fn place() -> (TestDatabase, TestServer) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.admin(&database, &["create-user", "--email", "dev@example.com"]).await.unwrap();
    (database, server)
}

/// Nothing serious for people who do not see, or do not point; and nothing of the page went wrong.
async fn is_sound(browser: &mut crate::web::browser::Browser) {
    for scheme in ["light", "dark"] {
        let found = browser.act(json!({ "action": "axe", "scheme": scheme })).await;
        assert_eq!(found, json!([]), "{scheme}");
    }
    assert_eq!(browser.act(json!({ "action": "overflows", "width": 320 })).await, 0);
}

#[tokio::test]
async fn a_code_that_the_client_shows_is_typed_on_the_page() {
    let (database, server) = place().await;
    let gitpod = Gitpod::new(&server.url());
    let mut login = Login::start(&gitpod, &["--no-browser", "--lifetime", "36h"], &[]);
    let (code, address) = login.code().await;

    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    assert_eq!(browser.goto(&address).await, 200);
    is_sound(&mut browser).await;
    browser.fill("Code", "BCDF GHJ").await;
    browser.press("Continue").await;
    browser.shows("That is no code").await;
    assert_eq!(browser.value("#user_code").await, "BCDF GHJ", "so that whoever has typed it finds the wrong letter");
    is_sound(&mut browser).await;
    let wrong = if code == "BCDF-GHJK" { "LMNP-QRST" } else { "BCDF-GHJK" };
    browser.fill("Code", wrong).await;
    browser.press("Continue").await;
    browser.shows("That is not shown by any program").await;
    browser.fill("Code", &code.to_lowercase()).await;
    browser.press("Continue").await;
    browser.shows("Sign a program in?").await;
    let text = browser.text().await;
    let node = rustix::system::uname();
    for fact in [code.as_str(), node.nodename().to_str().unwrap(), "127.0.0.1", "gitpod/", "36 hours"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(!browser.path().await.contains(&code[..4]), "the code stands in no address");
    is_sound(&mut browser).await;
    browser.press("Approve").await;
    browser.shows("The program is signed in.").await;
    // A reload, or the button Back, says nothing again.
    browser.act(json!({ "action": "reload" })).await;
    assert!(login.ended(0).await.contains("dev@example.com"));
    let id = gitpod.json(&["whoami", "-o", "json"]).await["tokenId"].as_str().unwrap().to_owned();
    browser.goto("/settings/personal-access-tokens").await;
    browser.shows(&format!("gitpod on {}", node.nodename().to_str().unwrap())).await;
    browser.shows(&id).await;
    assert_eq!(
        browser.act(json!({ "action": "complaints" })).await,
        json!([
            "Failed to load resource: the server responded with a status of 400 (Bad Request)",
            "Failed to load resource: the server responded with a status of 400 (Bad Request)"
        ])
    );
}

#[tokio::test]
async fn a_login_by_the_browser_of_the_same_machine() {
    let (database, server) = place().await;
    let gitpod = Gitpod::new(&server.url());
    let (program, file) = opener(&gitpod);
    let login = Login::start(&gitpod, &["--lifetime", "1d"], &[("BROWSER", &program)]);
    let url = opened(&file).await;
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    assert_eq!(browser.goto(url.as_str()).await, 200);
    let text = browser.text().await;
    let redirect = parameter(&url, "redirect_uri");
    let place = redirect.strip_prefix("http://").unwrap().split('/').next().unwrap();
    for fact in ["1 day", place, rustix::system::uname().nodename().to_str().unwrap()] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    is_sound(&mut browser).await;
    browser.press("Approve").await;
    browser.shows("You can close this window").await;
    assert!(browser.path().await.starts_with(&redirect));
    login.ended(0).await;
    let stored = std::fs::read_to_string(gitpod.credentials()).unwrap();
    let token = stored.split('"').find(|text| text.starts_with("gitpod_pat_")).unwrap();
    assert_eq!(gitpod.json(&["whoami", "-o", "json"]).await["tokenId"], token_id(token));
    // Neither the code nor what it was for is in the server's log.
    let code = browser.path().await;
    let code = parameter(&code.parse().unwrap(), "code");
    assert!(code.starts_with("gitpod_cod_") && !server.log().contains(&code) && !server.log().contains(token));
    assert_eq!(browser.act(json!({ "action": "complaints" })).await, json!([]));
}

#[tokio::test]
async fn whoever_is_not_signed_in_signs_in_first_and_comes_back() {
    let (database, server) = place().await;
    let gitpod = Gitpod::new(&server.url());
    let (program, file) = opener(&gitpod);
    let login = Login::start(&gitpod, &[], &[("BROWSER", &program)]);
    let url = opened(&file).await;
    let mut browser = crate::web::browser::Browser::open(&server.url()).await;
    browser.goto(url.as_str()).await;
    browser.shows("You sign in here by a link").await;
    let link = crate::web::sign_in_link(&server, &database, Some("dev@example.com")).await;
    browser.goto(&link).await;
    browser.press("Sign in as dev@example.com").await;
    browser.shows("Sign a program in?").await;
    assert_eq!(format!("{}{}", server.url(), browser.path().await), url.as_str());
    browser.press("Approve").await;
    browser.shows("You can close this window").await;
    login.ended(0).await;
}

#[tokio::test]
async fn a_no_in_the_browser_ends_the_login_and_makes_nothing() {
    let (database, server) = place().await;
    let gitpod = Gitpod::new(&server.url());
    let mut browser = signed_in(&server, &database, "dev@example.com").await;
    let (program, file) = opener(&gitpod);
    let login = Login::start(&gitpod, &[], &[("BROWSER", &program)]);
    browser.goto(opened(&file).await.as_str()).await;
    browser.press("Deny").await;
    browser.shows("Not signed in").await;
    assert!(login.ended(3).await.contains("denied"));

    let mut login = Login::start(&gitpod, &["--no-browser"], &[]);
    let (code, _) = login.code().await;
    browser.goto(&format!("{}/device", server.url())).await;
    browser.fill("Code", &code).await;
    browser.press("Continue").await;
    browser.press("Deny").await;
    browser.shows("The program was told no.").await;
    assert!(login.ended(3).await.contains("has said no"));
    assert_eq!(tokens(&database).await, 0);
}

#[tokio::test]
async fn it_all_works_without_javascript() {
    let (database, server) = place().await;
    let gitpod = Gitpod::new(&server.url());
    let link = crate::web::sign_in_link(&server, &database, Some("dev@example.com")).await;
    let mut browser =
        crate::web::browser::Browser::open_with(&server.url(), json!({ "javaScriptEnabled": false })).await;
    browser.goto(&link).await;
    browser.press("Sign in as dev@example.com").await;
    let mut login = Login::start(&gitpod, &["--no-browser"], &[]);
    let (code, address) = login.code().await;
    browser.goto(&address).await;
    browser.fill("Code", &code).await;
    browser.press("Continue").await;
    browser.press("Approve").await;
    login.ended(0).await;
    let (program, file) = opener(&gitpod);
    let login = Login::start(&gitpod, &[], &[("BROWSER", &program)]);
    browser.goto(opened(&file).await.as_str()).await;
    browser.press("Approve").await;
    login.ended(0).await;
    assert_eq!(tokens(&database).await, 2);
}
