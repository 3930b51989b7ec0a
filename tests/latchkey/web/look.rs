//! How the pages look, and whether everybody can use them: with any screen, in the dark, by keyboard, and by ear.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    browser::Browser,
    gallery::Gallery,
    views::{Step, VIEWS, View},
};

const ENVIRONMENT: &str = "0198a000-0000-7000-8000-000000000011";

/// How much of the page has moved since it was first seen.
const SHIFT: &str = "new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { sum += entry.value; })).observe({ type: 'layout-shift', buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
})";

/// Names of files below a directory, with their paths from there.
fn files(directory: &Path) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![directory.to_owned()]);
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_template_is_looked_at_and_every_picture_shown() {
    let templates = root().join("src/web/templates");
    // What extends nothing is a part of others.
    let is_page = |name: &String| fs::read_to_string(templates.join(name)).unwrap().starts_with("{% extends");
    let pages: BTreeSet<String> = files(&templates).into_iter().filter(is_page).collect();
    assert_eq!(VIEWS.iter().map(|view| view.template.to_owned()).collect::<BTreeSet<_>>(), pages);

    let pictures = |names: &[&str]| names.iter().map(|name| format!("{name}.png")).collect::<BTreeSet<_>>();
    let taken: Vec<&str> = VIEWS.iter().map(|view| view.name).chain(OTHERWISE.map(|(name, ..)| name)).collect();
    assert_eq!(pictures(&taken).len(), taken.len(), "each has a name of its own");
    let readme = include_str!("../../../README.md");
    let shown: BTreeSet<String> =
        readme.split("](docs/pictures/").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect();
    assert_eq!(shown, pictures(&taken), "README.md");
    assert_eq!(files(&root().join("docs/pictures")), pictures(&taken), "docs/pictures: 'make pictures' takes them");
}

async fn axe(browser: &mut Browser, name: &str) {
    for scheme in ["light", "dark"] {
        let found = browser.act(json!({ "action": "axe", "scheme": scheme })).await;
        assert_eq!(found, json!([]), "{name} in the {scheme}");
    }
    for width in [320, 390, 768, 1024, 1280, 2560] {
        let over = browser.act(json!({ "action": "overflows", "width": width })).await;
        assert_eq!(over, 0, "{name} is wider than {width}");
    }
}

#[tokio::test]
async fn every_page_can_be_used_by_everybody_on_any_screen() {
    let mut gallery = Gallery::open().await;
    for view in VIEWS {
        gallery.come_to(view).await;
        axe(&mut gallery.browser, view.name).await;
        let missed = gallery.browser.act(json!({ "action": "tabs" })).await;
        assert_eq!(missed, json!([]), "{}: what no key reaches, or what does not show that it is reached", view.name);
    }
}

#[tokio::test]
async fn nothing_is_asked_of_anybody_else_and_little_of_us() {
    let mut gallery = Gallery::open().await;
    // A full page of each.
    gallery.database.add_tokens(&gallery.token, 30).await;
    for view in VIEWS {
        let name = view.name;
        gallery.come_to(view).await;
        // All of it: the page, what belongs to it, and what a stream of events begins with.
        let weight = gallery.browser.act(json!({ "action": "weight" })).await.as_u64().unwrap();
        // What is opened on a page is there already.
        let least = u64::from(!matches!(view.steps.last(), Some(Step::Click(_))));
        assert!((least..60 * 1024).contains(&weight), "{name} weighs {weight} bytes");
        let requests = gallery.browser.act(json!({ "action": "requests" })).await;
        assert_eq!(asked_elsewhere(&gallery, view, &requests), BTreeSet::new(), "{name}");
        let complaints = gallery.browser.act(json!({ "action": "complaints" })).await;
        // A browser complains of the page itself, if that says that something went wrong.
        let is_refused = view.template == "failure.html" || name.ends_with("-refused");
        let is_expected =
            |text: &Value| is_refused && text.as_str().unwrap().contains("the server responded with a status");
        assert!(complaints.as_array().unwrap().iter().all(is_expected), "{name}: {complaints}");
        // What has been seen stays where it is (the Layout Instability API; 0.1 is the most that counts as good).
        let shift = gallery.browser.evaluate(SHIFT).await.as_f64().unwrap();
        assert!(shift < 0.1, "{name} moves by {shift}");
    }
}

/// Which other places were asked, but for the provider to which a page leads.
fn asked_elsewhere(gallery: &Gallery, view: &View, requests: &Value) -> BTreeSet<String> {
    let mut ours = vec![gallery.url(view)];
    if view.template == "sign_in/leaving.html" {
        ours.extend(gallery.elsewhere());
    }
    let requests = requests.as_array().unwrap().iter().map(|request| request.as_str().unwrap().to_owned());
    requests.filter(|request| !ours.iter().any(|own| request.starts_with(&format!("{own}/")))).collect()
}

/// Pictures of a page as others see it: of which page, how wide, in which light.
const OTHERWISE: [(&str, &str, u64, &str); 2] =
    [("tokens-dark", "tokens", WIDE, "dark"), ("tokens-phone", "tokens", PHONE, "light")];

const WIDE: u64 = 1280;
const PHONE: u64 = 390;

async fn picture(browser: &mut Browser, path: &Path, width: u64, scheme: &str) {
    let wanted = json!({ "action": "screenshot", "path": path, "width": width, "height": 800, "scheme": scheme });
    browser.act(wanted).await;
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"), "{}", path.display());
}

/// Pictures for README.md, which `make pictures` puts there; and beside them of every page as others see it.
#[tokio::test]
async fn pictures_are_taken_of_every_page() {
    let mut gallery = Gallery::open().await;
    let directory = root().join("target/pictures");
    let _ = fs::remove_dir_all(&directory);
    for kind in ["wide-dark", "phone-light", "phone-dark"] {
        fs::create_dir_all(directory.join(kind)).unwrap();
    }
    for view in VIEWS {
        gallery.come_to(view).await;
        let browser = &mut gallery.browser;
        picture(browser, &directory.join(format!("{}.png", view.name)), WIDE, "light").await;
        for (kind, width, scheme) in
            [("wide-dark", WIDE, "dark"), ("phone-light", PHONE, "light"), ("phone-dark", PHONE, "dark")]
        {
            picture(browser, &directory.join(kind).join(format!("{}.png", view.name)), width, scheme).await;
        }
        for (name, _, width, scheme) in OTHERWISE.iter().filter(|(_, of, ..)| *of == view.name) {
            picture(browser, &directory.join(format!("{name}.png")), *width, scheme).await;
        }
    }
}

/// What differs each time (IDs, codes, times, how long it took) is in no picture, so that one that has changed shows a change of the page.
/// Of pages that stand still: a live one may be renewed at any moment.
#[tokio::test]
async fn a_picture_stays_the_same_while_its_page_does() {
    // Where they are left, so that what differs can be looked at.
    let directory = root().join("target/pictures-compared");
    fs::create_dir_all(&directory).unwrap();
    let mut taken: Vec<Vec<Vec<u8>>> = Vec::new();
    for at in ["first", "second"] {
        let mut gallery = Gallery::open().await;
        let mut pictures = Vec::new();
        for name in ["tokens", "sessions", "token", "audit-log-entry", "device-ask", "created-token"] {
            gallery.come_to(VIEWS.iter().find(|view| view.name == name).unwrap()).await;
            let path = directory.join(format!("{name}-{at}.png"));
            picture(&mut gallery.browser, &path, WIDE, "light").await;
            pictures.push(fs::read(path).unwrap());
        }
        taken.push(pictures);
    }
    let differ: Vec<usize> = (0..taken[0].len()).filter(|one| taken[0][*one] != taken[1][*one]).collect();
    assert_eq!(differ, Vec::<usize>::new());
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
