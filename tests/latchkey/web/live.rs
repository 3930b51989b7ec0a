//! Pages that change while they are looked at: also after nothing was told for a while, and without taking away what somebody is at.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{browser::Browser, requests::Session, signed_in};
use crate::support::{SOON, TestDatabase, TestServer, keys::token_id};

const EVENTS: &str = "**/environments/events*";

/// A user with two environments, the second one made later, and a browser on the list of them.
async fn place() -> (TestDatabase, TestServer, Browser) {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let token = token_id(&server.user(&database, "dev@example.com").await);
    for name in ["first", "second"] {
        let id = database.environment_of(&token).await;
        rename(&database, &format!("id = '{id}'"), name).await;
    }
    let browser = signed_in(&server, &database, "dev@example.com").await;
    (database, server, browser)
}

async fn rename(database: &TestDatabase, which: &str, name: &str) {
    let rename = format!("UPDATE environments SET name = '{name}' WHERE {which}");
    assert_eq!(database.owner().await.execute(&rename, &[]).await.unwrap(), 1, "{rename}");
}

async fn answer(browser: &mut Browser, status: Option<u16>) {
    answer_of(browser, EVENTS, status).await;
}

async fn answer_of(browser: &mut Browser, path: &str, status: Option<u16>) {
    browser.act(json!({ "action": "answer", "path": path, "status": status })).await;
}

/// Waits until one stream more is asked for, and no more than that.
async fn another(browser: &mut Browser) {
    let mut many = 0;
    for _ in 0..600 {
        many += streams(browser).await;
        if many > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(many, 1);
}

/// How many streams were asked for since the last look.
async fn streams(browser: &mut Browser) -> usize {
    let requests = browser.act(json!({ "action": "requests" })).await;
    let is_stream = |request: &&Value| request.as_str().unwrap().ends_with("/environments/events");
    requests.as_array().unwrap().iter().filter(is_stream).count()
}

async fn evaluate(browser: &mut Browser, script: &str) -> Value {
    browser.evaluate(script).await
}

#[tokio::test]
async fn what_was_not_told_is_made_up_for_once_the_server_tells_again() {
    let (database, _server, mut browser) = place().await;
    // As while PostgreSQL is away: a browser does not ask again after that by itself.
    answer(&mut browser, Some(503)).await;
    browser.goto("/environments").await;
    browser.shows("The server does not tell what happens just now.").await;
    rename(&database, "name = 'first'", "renamed meanwhile").await;
    answer(&mut browser, None).await;
    browser.shows("renamed meanwhile").await;
    browser.act(json!({ "action": "hides", "text": "The server does not tell" })).await;
    rename(&database, "name = 'second'", "renamed afterwards").await;
    browser.shows("renamed afterwards").await;
}

#[tokio::test]
async fn whoever_is_signed_out_meanwhile_is_led_to_where_people_sign_in() {
    let (database, _server, mut browser) = place().await;
    browser.goto("/environments?archived=false").await;
    browser.shows("second").await;
    let ended = "UPDATE sessions SET revoked_at = greatest(now(), created_at)";
    assert_eq!(database.owner().await.execute(ended, &[]).await.unwrap(), 1);
    browser.act(json!({ "action": "arrives", "url": "**/sign-in?next=%2Fenvironments%3Farchived%3Dfalse" })).await;
}

#[tokio::test]
async fn what_somebody_is_at_stays_as_it_is() {
    let (database, _server, mut browser) = place().await;
    browser.goto("/environments").await;
    browser.shows("second").await;
    let begin = "(() => {
        const row = [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes('first'));
        row.querySelector('th a').focus();
        getSelection().selectAllChildren(row.querySelector('.id'));
    })()";
    evaluate(&mut browser, begin).await;
    let at = "[document.activeElement.textContent, getSelection().toString().length]";
    assert_eq!(evaluate(&mut browser, at).await, json!(["first", 36]));
    rename(&database, "name = 'second'", "another").await;
    browser.shows("another").await;
    assert_eq!(evaluate(&mut browser, at).await, json!(["first", 36]), "something else has changed");
    // It stood in front of it.
    database.owner().await.batch_execute("DELETE FROM environments WHERE name = 'another'").await.unwrap();
    browser.act(json!({ "action": "hides", "text": "another" })).await;
    assert_eq!(evaluate(&mut browser, at).await, json!(["first", 36]), "something else is gone");
}

#[tokio::test]
async fn a_page_that_nobody_sees_asks_nothing_and_is_up_to_date_when_it_is_seen_again() {
    let (database, _server, mut browser) = place().await;
    browser.goto("/environments").await;
    browser.shows("second").await;
    assert_eq!(streams(&mut browser).await, 1);
    let turn = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    evaluate(&mut browser, &turn(true)).await;
    rename(&database, "name = 'first'", "renamed meanwhile").await;
    evaluate(&mut browser, &turn(false)).await;
    browser.shows("renamed meanwhile").await;
    assert_eq!(streams(&mut browser).await, 1, "a stream of its own: the former one is over");
}

const LOST: &str = "The server does not tell what happens just now.";

#[tokio::test]
async fn what_could_not_be_shown_is_asked_for_again() {
    let (database, _server, mut browser) = place().await;
    browser.goto("/environments").await;
    browser.shows("second").await;
    // The stream goes on, and it is another server that does not answer.
    answer_of(&mut browser, "**/environments", Some(503)).await;
    rename(&database, "name = 'first'", "renamed once").await;
    browser.shows(LOST).await;
    answer_of(&mut browser, "**/environments", None).await;
    browser.shows("renamed once").await;
    browser.act(json!({ "action": "hides", "text": LOST })).await;
    // It answers, and breaks off.
    let breaks_off = "(() => {
        const asked = window.fetch;
        window.fetch = async (...what) => {
            const answer = await asked(...what);
            window.fetch = asked;
            answer.text = () => Promise.reject(new TypeError('network error'));
            return answer;
        };
    })()";
    evaluate(&mut browser, breaks_off).await;
    rename(&database, "name = 'second'", "renamed twice").await;
    browser.shows("renamed twice").await;
    browser.act(json!({ "action": "hides", "text": LOST })).await;
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_given_up() {
    let (database, _server, mut browser) = place().await;
    let later = async |browser: &mut Browser, seconds: u64| {
        browser.act(json!({ "action": "later", "milliseconds": seconds * 1000 })).await;
    };
    browser.act(json!({ "action": "clock" })).await;
    browser.goto("/environments").await;
    browser.shows("second").await;
    let is_open = "(async () => { while (!document.querySelector('[data-live-lost]').hidden) await new Promise((on) => requestAnimationFrame(on)); })()";
    assert_eq!(streams(&mut browser).await, 1);
    rename(&database, "name = 'first'", "told").await;
    browser.shows("told").await;
    // What was heard counts from when it was heard.
    later(&mut browser, 25).await;
    rename(&database, "name = 'second'", "told as well").await;
    browser.shows("told as well").await;
    later(&mut browser, 25).await;
    assert_eq!(streams(&mut browser).await, 0, "the same one");
    // Now nothing comes, and then nobody answers.
    answer(&mut browser, Some(0)).await;
    for _ in 0..2 {
        later(&mut browser, 41).await;
        another(&mut browser).await;
        browser.shows(LOST).await;
    }
    rename(&database, "name = 'told'", "told by nobody").await;
    answer(&mut browser, None).await;
    later(&mut browser, 41).await;
    browser.shows("told by nobody").await;
    evaluate(&mut browser, is_open).await;
}

/// A script hears of events alone; and what is short gets through a proxy.
#[tokio::test]
async fn a_stream_says_at_once_that_it_is_there() {
    let (database, server, _browser) = place().await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let head = format!(
        "GET /environments/events HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\nsec-fetch-site: same-origin\r\nsec-fetch-dest: empty\r\n\r\n",
        server.address(),
        session.cookies()
    );
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    let begins = async {
        while !said.contains("event: alive\ndata:\n\n") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "it ends: {said}");
            said.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    };
    tokio::time::timeout(SOON, begins).await.expect("it says that it is there");
    assert!(said.contains("x-accel-buffering: no\r\n"), "{said}");
}
