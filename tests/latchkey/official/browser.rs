//! `@connectrpc/connect-web` in a real browser: a page of another origin, in each protocol that the client speaks.

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{Html, IntoResponse},
    routing::{get, post},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_postgres::Client as Postgres;

use super::script::{Client::Browser, run};
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::token_id};

/// Serves the page.
struct Pages {
    origin: String,
    serving: JoinHandle<()>,
}

impl Pages {
    async fn start(database: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let javascript = [(header::CONTENT_TYPE, "text/javascript")];
        let router = Router::new()
            .route("/", get(|| async { Html(include_str!("browser_page.html")) }))
            .route("/page.js", get(move || async move { (javascript, include_str!("browser_page.js")) }))
            .route("/descriptors", get(|| async { latchkey::pb::FILE_DESCRIPTOR_SET }))
            .route("/happen", post(rename))
            .fallback(module)
            .with_state(Arc::new(database.owner().await));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { origin, serving }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Something becomes of every environment.
async fn rename(State(owner): State<Arc<Postgres>>) {
    owner.batch_execute("UPDATE environments SET name = name || '.'").await.unwrap();
}

/// A file of a package, as npm has installed it.
async fn module(uri: Uri) -> impl IntoResponse {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(uri.path().trim_start_matches('/'));
    match std::fs::read_to_string(&file) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/javascript")], text),
        Err(error) => (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_does_all_that_clients_do_in_each_protocol_under_every_base_url() {
    let database = TestDatabase::create().await;
    let pages = Pages::start(&database).await;
    let args = vec!["--cors-allowed-origin".to_owned(), pages.origin.clone()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..Default::default() }).await;
    let token = server.user(&database, "dev@example.com").await;
    let environment = database.environment_of(&token_id(&token)).await;
    for base in ["", "/api"] {
        let base = format!("{}{base}", server.url());
        run(Browser, "works", &base, &token, &[&pages.origin, &environment]).await;
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_kept_out() {
    let database = TestDatabase::create().await;
    let pages = Pages::start(&database).await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    run(Browser, "isKeptOut", &server.url(), &token, &[&pages.origin, ""]).await;
    // Nor by a server that allows another origin.
    let args = vec!["--cors-allowed-origin".to_owned(), "http://127.0.0.1:1".to_owned()];
    let options = ServerOptions { args, signing_keys: Some(server.keys()), ..Default::default() };
    let server = TestServer::start_with(&database, options).await;
    run(Browser, "isKeptOut", &server.url(), &token, &[&pages.origin, ""]).await;
}
