//! The way to every page: servers, people who are signed in, and a browser that is led there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    browser::Browser,
    requests::{Session, send},
    scene::furnish,
    sign_in_link,
    views::{Look, Step, View, Where},
};
use crate::{
    oidc,
    support::{ServerOptions, TestDatabase, TestServer},
};

/// What the browser calls itself, whichever version of it there is.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// All that the pages are about, and a browser in front of them.
pub(super) struct Gallery {
    pub(super) database: TestDatabase,
    pub(super) browser: Browser,
    /// The ID of the admin's first token.
    pub(super) token: String,
    servers: BTreeMap<Where, TestServer>,
    providers: Option<oidc::Known>,
    /// What the sessions of an admin and of a member hold.
    cookies: [String; 2],
    /// Holds the database up for as long as it is there.
    away: Option<tokio_postgres::Client>,
}

impl Gallery {
    pub(super) async fn open() -> Self {
        let database = TestDatabase::create().await;
        let server = TestServer::without_memory(&database).await;
        server.admin_user(&database, "ada@example.com").await;
        let query = "SELECT id::text FROM personal_access_tokens";
        let token = database.text(query, &[]).await;
        furnish(&database, "ada@example.com").await;
        let mut cookies = [String::new(), String::new()];
        for (cookie, email) in cookies.iter_mut().zip(["ada@example.com", "sam@example.com"]) {
            *cookie = Session::open(&server, &database, email).await.cookie;
        }
        let named = "UPDATE sessions SET user_agent = $1 WHERE user_agent IS NULL";
        database.owner().await.execute(named, &[&USER_AGENT]).await.unwrap();
        let browser = Browser::open_with(&server.url(), json!({ "userAgent": USER_AGENT })).await;
        let servers = BTreeMap::from([(Where::Links, server)]);
        let mut gallery = Self { database, browser, token, servers, providers: None, cookies, away: None };
        gallery.becomes(Look::Admin, Where::Links).await;
        gallery
    }

    /// The server at a place, which is started when somebody first comes there.
    async fn serve(&mut self, place: Where) -> &TestServer {
        if !self.servers.contains_key(&place) {
            let mut options = match place {
                Where::Links | Where::Away => ServerOptions::default(),
                Where::Providers => {
                    let (options, known) = oidc::known(&[("acme", "Acme"), ("harbour", "Harbour Works")]).await;
                    self.providers = Some(known);
                    options
                }
                Where::Cleartext | Where::Closed => {
                    let scheme = if place == Where::Closed { "https" } else { "http" };
                    let args = vec!["--public-url".to_owned(), format!("{scheme}://latchkey.example")];
                    ServerOptions { args, ..ServerOptions::default() }
                }
            };
            options.args.push("--revocation-bound=0".to_owned());
            options.signing_keys = Some(self.servers[&Where::Links].keys());
            let server = TestServer::start_with(&self.database, options).await;
            self.servers.insert(place, server);
        }
        &self.servers[&place]
    }

    /// Puts somebody in front of the browser, at a place.
    async fn becomes(&mut self, look: Look, place: Where) {
        let server = self.serve(if place == Where::Away { Where::Links } else { place }).await;
        let (url, name) = (server.url(), Session::cookie_name(server.address()));
        let cookie = match look {
            Look::Admin => Some(&self.cookies[0]),
            Look::Member => Some(&self.cookies[1]),
            Look::Nobody => None,
        };
        let cookies: Vec<Value> =
            cookie.into_iter().map(|value| json!({ "name": name, "value": value, "url": url })).collect();
        // What lies elsewhere is asked for and not come to, so that a page that leads there by itself can be looked at.
        self.browser.act(json!({ "action": "stand", "url": url, "cookies": cookies })).await;
    }

    /// Where a view is.
    pub(super) fn url(&self, view: &View) -> String {
        self.servers[&if view.place == Where::Away { Where::Links } else { view.place }].url()
    }

    /// What providers are called by whoever goes on there.
    pub(super) fn elsewhere(&self) -> Vec<String> {
        self.providers.iter().flat_map(oidc::Known::issuers).collect()
    }

    /// Leads the browser to a page. From the last step on, all that is loaded is weighed.
    pub(super) async fn come_to(&mut self, view: &View) {
        if let Some(held) = self.away.take() {
            held.batch_execute("ROLLBACK").await.unwrap();
        }
        self.becomes(view.look, view.place).await;
        if view.place == Where::Away {
            let held = self.database.owner().await;
            held.batch_execute("BEGIN; LOCK principals IN ACCESS EXCLUSIVE MODE").await.unwrap();
            self.away = Some(held);
        }
        let url = self.url(view);
        let (last, before) = view.steps.split_last().unwrap();
        for step in before {
            self.take(&url, *step).await;
        }
        self.browser.act(json!({ "action": "scales" })).await;
        self.take(&url, *last).await;
        self.browser.shows(view.shows).await;
    }

    async fn take(&mut self, url: &str, step: Step) {
        match step {
            Step::Goto("@link") => {
                let link = sign_in_link(&self.servers[&Where::Links], &self.database, Some("ada@example.com")).await;
                self.browser.goto(&link).await;
            }
            Step::Goto(path) => {
                let path = path.replace("@token", &self.token);
                self.browser.goto(&format!("{url}{path}")).await;
            }
            Step::Fill(label, "@code") => {
                let code = self.code().await;
                self.browser.fill(label, &code).await;
            }
            Step::Fill(label, text) => self.browser.fill(label, text).await,
            Step::Press(name) => self.browser.press(name).await,
            Step::SendTwice => {
                let twice = "(async () => {
                    const form = document.querySelector('main form');
                    const first = await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
                    // Whole: what was not is not weighed.
                    await first.text();
                    form.submit();
                })()";
                self.browser.act(json!({ "action": "evaluate", "script": twice })).await;
            }
            Step::Click(selector) => {
                self.browser.act(json!({ "action": "click", "selector": selector })).await;
            }
        }
    }

    /// A code that a program shows which waits.
    async fn code(&self) -> String {
        let address = self.servers[&Where::Links].address();
        let form =
            [("content-type", "application/x-www-form-urlencoded"), ("user-agent", "gitpod/0.1.0 (linux; x86_64)")];
        let headers = [&[("host", address)], &form[..]].concat();
        let asked = "client_id=gitpod-cli&host_name=build-7.example";
        let answer = send(address, "POST", "/oauth2/device_authorization", &headers, asked).await;
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        said["user_code"].as_str().unwrap().to_owned()
    }
}
