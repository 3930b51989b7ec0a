//! How the pages look, and whether everybody can use them: with any screen, in the dark, by keyboard, and by ear.

use serde_json::{Value, json};

use super::{browser::Browser, scene::furnish, signed_in};
use crate::support::{TestDatabase, TestServer};

const ENVIRONMENT: &str = "0198a000-0000-7000-8000-000000000011";

/// Every page, and what its picture is called.
const PAGES: &[(&str, &str)] = &[
    ("tokens", "/settings/personal-access-tokens"),
    ("tokens-expired", "/settings/personal-access-tokens?state=expired"),
    ("new-token", "/settings/personal-access-tokens/new"),
    ("token", "/settings/personal-access-tokens/@token"),
    ("revoke-token", "/settings/personal-access-tokens/@token/revoke"),
    ("sessions", "/settings/sessions"),
    ("environments", "/environments"),
    ("environment", "/details/0198a000-0000-7000-8000-000000000011"),
    ("failed-environment", "/details/0198a000-0000-7000-8000-000000000013"),
    ("delete-environment", "/details/0198a000-0000-7000-8000-000000000012/delete"),
    ("audit-logs", "/audit-logs"),
    ("users", "/admin/users"),
    ("user", "/admin/users/0198a000-0000-7000-8000-000000000021"),
    ("suspend-user", "/admin/users/0198a000-0000-7000-8000-000000000021/suspend"),
    ("invitations", "/admin/invitations"),
    ("service-accounts", "/admin/service-accounts"),
    ("new-service-token", "/admin/service-accounts/0198a000-0000-7000-8000-000000000023/tokens/new"),
    ("service-account", "/admin/service-accounts/0198a000-0000-7000-8000-000000000023"),
    ("projects", "/projects"),
    ("sign-in", "/sign-in"),
    ("sign-out", "/sign-out"),
    ("device", "/device"),
    (
        "authorize",
        "/oauth2/authorize?client_id=gitpod-cli&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%3A49152%2Fcallback\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=af0ifjsldkj&host_name=laptop",
    ),
    ("not-found", "/nowhere"),
];

/// How much of the page has moved since it was first seen.
const SHIFT: &str = "new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { sum += entry.value; })).observe({ type: 'layout-shift', buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
})";

struct Gallery {
    server: TestServer,
    browser: Browser,
    token: String,
    database: TestDatabase,
}

impl Gallery {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let server = TestServer::without_memory(&database).await;
        server.admin_user(&database, "ada@example.com").await;
        furnish(&database, "ada@example.com").await;
        let query = "SELECT id::text FROM personal_access_tokens";
        let token: String = database.owner().await.query_one(query, &[]).await.unwrap().get(0);
        let browser = signed_in(&server, &database, "ada@example.com").await;
        Self { server, browser, token, database }
    }

    fn path(&self, path: &str) -> String {
        path.replace("@token", &self.token)
    }
}

/// A page that is not reached by its address: of a token that was just made.
async fn make_token(browser: &mut Browser) {
    browser.goto("/settings/personal-access-tokens/new").await;
    browser.fill("Description", "Backup of the shop").await;
    browser.press("Create").await;
    browser.shows("Copy the new token").await;
}

async fn axe(browser: &mut Browser, name: &str) {
    for scheme in ["light", "dark"] {
        let found = browser.act(json!({ "action": "axe", "scheme": scheme })).await;
        assert_eq!(found, json!([]), "{name} in the {scheme}");
    }
    for width in [320, 390, 768, 1280, 2560] {
        let over = browser.act(json!({ "action": "overflows", "width": width })).await;
        assert_eq!(over, 0, "{name} is wider than {width}");
    }
}

#[tokio::test]
async fn every_page_can_be_used_by_everybody_on_any_screen() {
    let mut gallery = Gallery::open().await;
    for (name, path) in PAGES {
        let path = gallery.path(path);
        gallery.browser.goto(&path).await;
        axe(&mut gallery.browser, name).await;
    }
    make_token(&mut gallery.browser).await;
    axe(&mut gallery.browser, "created-token").await;
}

#[tokio::test]
async fn nothing_is_asked_of_anybody_else_and_little_of_us() {
    let mut gallery = Gallery::open().await;
    // A full page of each.
    gallery.database.add_tokens(&gallery.token, 30).await;
    let url = gallery.server.url();
    for (name, path) in PAGES {
        let path = gallery.path(path);
        gallery.browser.goto(&path).await;
        let requests = gallery.browser.act(json!({ "action": "requests" })).await;
        for request in requests.as_array().unwrap() {
            assert!(request.as_str().unwrap().starts_with(&url), "{name} asks {request}");
        }
        let complaints = gallery.browser.act(json!({ "action": "complaints" })).await;
        let is_expected = |text: &Value| *name == "not-found" && text.as_str().unwrap().contains("404");
        assert!(complaints.as_array().unwrap().iter().all(is_expected), "{name}: {complaints}");
        // What has been seen stays where it is (the Layout Instability API; 0.1 is the most that counts as good).
        let shift = gallery.browser.evaluate(SHIFT).await.as_f64().unwrap();
        assert!(shift < 0.1, "{name} moves by {shift}");
        // A stream of events goes on for as long as the page is there.
        if !["environments", "environment", "failed-environment"].contains(name) {
            let weight = gallery.browser.act(json!({ "action": "weight", "url": path })).await.as_u64().unwrap();
            assert!((1..60 * 1024).contains(&weight), "{name} weighs {weight} bytes");
        }
    }
}

/// Pictures for README.md: `make pictures` puts them there.
#[tokio::test]
async fn pictures_are_taken_of_every_page() {
    let mut gallery = Gallery::open().await;
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    std::fs::create_dir_all(&directory).unwrap();
    let picture = |name: &str, width: u64, scheme: &str| {
        let path = directory.join(format!("{name}.png"));
        json!({ "action": "screenshot", "path": path, "width": width, "height": 800, "scheme": scheme })
    };
    for (name, path) in PAGES {
        let path = gallery.path(path);
        gallery.browser.goto(&path).await;
        gallery.browser.act(picture(name, 1280, "light")).await;
    }
    make_token(&mut gallery.browser).await;
    gallery.browser.act(picture("created-token", 1280, "light")).await;
    gallery.browser.goto("/settings/personal-access-tokens").await;
    gallery.browser.act(picture("tokens-dark", 1280, "dark")).await;
    gallery.browser.act(picture("tokens-phone", 390, "light")).await;
    for (name, _) in PAGES {
        let bytes = std::fs::read(directory.join(format!("{name}.png"))).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    }
}

#[tokio::test]
async fn the_keyboard_is_enough() {
    let mut gallery = Gallery::open().await;
    let browser = &mut gallery.browser;
    browser.goto("/settings/personal-access-tokens").await;
    let press = async |browser: &mut Browser, key: &str| {
        browser.act(json!({ "action": "press", "key": key })).await;
    };
    press(browser, "Tab").await;
    assert_eq!(browser.evaluate("document.activeElement.textContent").await, "Skip to the content");
    press(browser, "Enter").await;
    assert_eq!(browser.evaluate("document.activeElement.id").await, "main");
    press(browser, "Tab").await;
    assert_eq!(browser.evaluate("document.activeElement.textContent").await, "New Token");
    press(browser, "Enter").await;
    browser.shows("What it is for").await;
    browser.act(json!({ "action": "type", "text": "By keyboard" })).await;
    press(browser, "Tab").await;
    press(browser, "ArrowDown").await;
    press(browser, "Enter").await;
    browser.shows("Copy the new token").await;
    browser.shows("in 60 days").await;
}

#[tokio::test]
async fn times_are_in_the_readers_zone_and_utc_is_told_beside() {
    let mut gallery = Gallery::open().await;
    gallery.browser.goto(&format!("/details/{ENVIRONMENT}")).await;
    let times =
        "[...document.querySelectorAll('time:not(.ago)')].map((time) => [time.dateTime, time.title, time.textContent])";
    let told = gallery.browser.evaluate(times).await;
    let first = &told.as_array().unwrap()[0];
    let (utc, title, shown) = (first[0].as_str().unwrap(), first[1].as_str().unwrap(), first[2].as_str().unwrap());
    assert!(utc.ends_with('Z') && title.ends_with(" UTC"), "{first}");
    let expected = format!(
        "new Date('{utc}').toLocaleString('en-GB', {{ dateStyle: 'medium', timeStyle: 'short', timeZone: 'America/New_York' }})"
    );
    assert_eq!(gallery.browser.evaluate(&expected).await, shown);
}
