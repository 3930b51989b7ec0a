//! Signing in with accounts at OpenID providers: a real one, and one that says what a real one would not.

mod browser;
mod chromium;
mod first_time;
mod groups;
mod keys;
mod once;
mod outages;
mod proofs;
pub(crate) mod provider;
mod refusals;
mod refused_codes;
mod reloads;
mod tls;
mod ways_back;
mod ways_there;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::support::{ServerOptions, TestDatabase, TestServer, eventually};
use browser::{Browser, Page};
use provider::{CLIENT_ID, CLIENT_SECRET, Provider};

/// A file of providers, each by its name, its issuer, and what else is said of it.
struct Configuration {
    directory: TempDir,
    names: Vec<String>,
}

impl Configuration {
    fn of(providers: &[(&str, &Provider, Value)]) -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-oidc-").tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, format!("{CLIENT_SECRET}\n")).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let entry = |(name, provider, more): &(&str, &Provider, Value)| {
            let mut entry = json!({
                "name": name,
                "display_name": format!("Account of {name}"),
                "issuer": provider.issuer(),
                "client_id": CLIENT_ID,
                "client_secret_file": "secret",
            });
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let entries: Vec<Value> = providers.iter().map(entry).collect();
        let names = providers.iter().map(|(name, ..)| (*name).to_owned()).collect();
        // What is JSON is YAML as well.
        fs::write(directory.path().join("providers.yaml"), serde_json::to_string(&entries).unwrap()).unwrap();
        Self { directory, names }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("providers.yaml")
    }

    fn options(&self) -> ServerOptions {
        let args = vec!["--oidc-providers".to_owned(), self.file().to_str().unwrap().to_owned()];
        ServerOptions { args, ..ServerOptions::default() }
    }

    /// Where providers send people back to.
    fn redirects(&self, servers: &[&TestServer]) -> Vec<String> {
        let of = |server: &TestServer| {
            let url = server.url();
            self.names.iter().map(move |name| format!("{url}/sign-in/{name}/callback")).collect::<Vec<_>>()
        };
        servers.iter().flat_map(|server| of(server)).collect()
    }
}

/// Providers that a server knows and finds. They end with this value.
pub(crate) struct Known {
    _configuration: Configuration,
    providers: Vec<Provider>,
}

impl Known {
    /// What they are called by whoever believes them.
    pub(crate) fn issuers(&self) -> Vec<String> {
        self.providers.iter().map(|provider| provider.issuer().to_owned()).collect()
    }
}

/// Providers by their names and what people call them, and how a server is started that knows them.
pub(crate) async fn known(named: &[(&str, &str)]) -> (ServerOptions, Known) {
    let mut providers = Vec::new();
    for _ in named {
        providers.push(Provider::crooked().await);
    }
    let entry = |((name, shown), provider)| (name, provider, json!({ "display_name": shown }));
    let entries: Vec<_> = named.iter().copied().zip(&providers).map(entry).collect();
    let configuration = Configuration::of(&entries);
    (configuration.options(), Known { _configuration: configuration, providers })
}

/// A server with one provider, called acme.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) server: TestServer,
    configuration: Configuration,
    pub(crate) acme: Provider,
}

impl World {
    /// With a real provider that has these accounts.
    pub(crate) async fn real(accounts: Value, more: Value) -> Self {
        let world = Self::with(Provider::real(accounts).await, more).await;
        world.serve(json!({})).await;
        world
    }

    /// With one that says what it is told to; it knows `ann` alone.
    async fn crooked(more: Value) -> Self {
        Self::with(Provider::crooked().await, more).await
    }

    async fn with(acme: Provider, more: Value) -> Self {
        Self::on(TestDatabase::create().await, acme, more).await
    }

    async fn on(database: TestDatabase, acme: Provider, more: Value) -> Self {
        let configuration = Configuration::of(&[("acme", &acme, more)]);
        let server = TestServer::start_with(&database, configuration.options()).await;
        Self { database, server, configuration, acme }
    }

    /// Has the real provider serve, unlike it usually does.
    async fn serve(&self, how: Value) {
        self.acme.serve(&self.configuration.redirects(&[&self.server]), how).await;
    }

    /// A second server on the same database, with the same keys.
    async fn beside(&self) -> TestServer {
        let options = ServerOptions { signing_keys: Some(self.server.keys()), ..self.configuration.options() };
        TestServer::start_with(&self.database, options).await
    }

    pub(crate) async fn invite(&self, email: &str) {
        self.server.admin(&self.database, &["invite", "--email", email, "--provider", "acme"]).await.unwrap();
    }

    /// Signs somebody in with a browser of their own, if they are let in.
    async fn sign_in(&self, subject: &str) -> (Browser, Page) {
        let browser = Browser::new();
        let page = sign_in(&browser, &self.server, "acme", subject).await;
        (browser, page)
    }

    /// What the audit log has of who signs in and is known, oldest first.
    async fn audit(&self) -> Vec<String> {
        let query =
            "SELECT action || ' ' || outcome || ' ' || actor_kind || CASE reason WHEN '' THEN '' ELSE ' ' || reason END
                     FROM audit_logs WHERE rpc LIKE 'sign-in/%' AND actor_kind <> 'stranger' ORDER BY created_at, id";
        self.database.owner().await.query(query, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect()
    }

    /// How many were refused who are not known, by reason, once there are so many of one reason: of this minute, and of those before.
    async fn refusals(&self, reason: &str, many: i64) -> Vec<(String, i64)> {
        let query = "
            SELECT reason, sum(count)::bigint FROM (
                SELECT action, actor_kind, outcome, rpc, reason, count FROM audit_tallies
                UNION ALL SELECT action, actor_kind, outcome, rpc, reason, count FROM audit_logs
            ) AS seen
            WHERE action = 'sign_in' AND actor_kind = 'stranger' AND outcome = 'denied' AND rpc = 'sign-in/{}/callback'
            GROUP BY reason ORDER BY reason";
        let owner = self.database.owner().await;
        eventually(&format!("{many} refusals: {reason}"), async || {
            let rows = owner.query(query, &[]).await.unwrap();
            let seen: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            seen.contains(&(reason.to_owned(), many)).then_some(seen)
        })
        .await
    }

    async fn number_of(&self, table: &str) -> i64 {
        self.database.number(&format!("SELECT count(*) FROM {table}"), &[]).await
    }
}

/// Begins at a server, and comes to where the provider asks who is there.
async fn begin(browser: &Browser, server: &TestServer, name: &str, next: &str) -> Result<Url, Page> {
    let page = browser.post(&format!("{}/sign-in/{name}", server.url()), &[("next", next)]).await;
    let refresh = page.headers.get("refresh").map(|refresh| refresh.to_str().unwrap().to_owned());
    match refresh.as_deref().and_then(|refresh| refresh.strip_prefix("0; url=")) {
        Some(url) => Ok(Url::parse(url).unwrap()),
        None => Err(page),
    }
}

/// Tells the provider who is there, and comes to where it sends the browser back to.
async fn authenticate(browser: &Browser, url: &Url, subject: &str) -> Url {
    let back = url.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    let mut page = browser.open(url.as_str()).await;
    page = browser.follow(page, &back).await;
    if page.location().is_none() {
        let form = [("prompt", "login"), ("login", subject), ("password", "any")];
        page = browser.post(page.url.as_str(), &form).await;
        page = browser.follow(page, &back).await;
    }
    page.location().unwrap_or_else(|| panic!("the provider does not send anybody back: {page:?}"))
}

/// All the way: the page that somebody comes to who comes back.
async fn sign_in(browser: &Browser, server: &TestServer, name: &str, subject: &str) -> Page {
    match begin(browser, server, name, "/settings/sessions").await {
        Ok(url) => browser.open(authenticate(browser, &url, subject).await.as_str()).await,
        Err(page) => page,
    }
}

/// The page of sessions, if the browser is signed in.
async fn sessions(browser: &Browser, server: &TestServer) -> Option<Page> {
    let page = browser.open(&format!("{}/settings/sessions", server.url())).await;
    (page.status == 200).then_some(page)
}

/// Whether somebody came to where they wanted to go, and is signed in.
#[track_caller]
fn assert_in(page: &Page, browser: &Browser) {
    assert_eq!(
        (page.status.as_u16(), page.location().map(|url| url.path().to_owned())),
        (303, Some("/settings/sessions".to_owned())),
        "{}",
        page.words()
    );
    assert!(browser.cookies().keys().any(|name| name.starts_with("latchkey-session")), "{:?}", browser.cookies());
    assert!(!browser.cookies().keys().any(|name| name.starts_with("latchkey-sign-in")), "the attempt is over");
}

/// Whether somebody was told that, and is not signed in.
#[track_caller]
fn assert_out(page: &Page, browser: &Browser, status: u16, words: &str) {
    assert_eq!((page.status.as_u16(), page.words().contains(words)), (status, true), "{words}: {}", page.words());
    assert!(!browser.cookies().keys().any(|name| name.starts_with("latchkey-session")), "{:?}", browser.cookies());
}

/// What a provider says of somebody.
pub(crate) fn person(email: &str, name: &str) -> Value {
    json!({ "email": email, "email_verified": true, "name": name })
}
