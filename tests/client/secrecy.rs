//! A token goes to its server and to nobody else.

use axum::{Router, body::Body, response::Response};
use latchkey::{
    domain::token::CredentialKind,
    pb::{gitpod::v1::EnvironmentPhase, supervisor::v1::ExecResponse},
};
use tokio::net::TcpListener;

use crate::{
    gitpod::Home,
    server::{Server, environment, mint, new_id},
};

#[tokio::test]
async fn a_stored_token_is_for_its_origin_alone() {
    let (home, own, other) = (Home::new(), Server::start().await, Server::start().await);
    home.gitpod(&["login", "--token", &own.token(), "--host", &own.url()]).await.ended(0);
    home.gitpod(&["whoami", "--host", &other.url()]).await.ended(3).saying("not signed in");
    // The same server by another name is another origin.
    let alias = format!("http://localhost:{}", own.address.port());
    home.gitpod(&["whoami", "--host", &alias]).await.ended(3).saying("not signed in");
    assert_eq!(other.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (home, other) = (Home::new(), Server::start().await);
    let target = other.url();
    let router = Router::new().fallback(move |request: axum::extract::Request| {
        let location = format!("{target}{}", request.uri().path());
        async move { Response::builder().status(307).header("location", location).body(Body::empty()).unwrap() }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    home.gitpod(&["login", "--token", &other.token(), "--host", &url]).await.ended(1).saying("307");
    assert_eq!(other.paths(), Vec::<String>::new());
    task.abort();
}

#[tokio::test]
async fn no_token_goes_in_cleartext_to_another_machine() {
    let home = Home::new();
    let token = mint(CredentialKind::PersonalAccessToken);
    // 192.0.2.1 (RFC 5737) is nobody's, and nothing is sent there.
    for host in ["http://192.0.2.1:1", "http://gitpod.example"] {
        let run = home.gitpod(&["login", "--token", &token, "--host", host]).await.ended(2);
        run.saying("--insecure");
        let variables = [("GITPOD_TOKEN", token.as_str()), ("GITPOD_HOST", host)];
        home.gitpod_with(&variables, &["environment", "list"]).await.ended(2).saying("anybody on the way");
    }
}

#[tokio::test]
async fn commands_are_not_sent_to_another_server() {
    let (home, server, other) = (Home::new(), Server::start().await, Server::start().await);
    let id = new_id();
    server.state().exec_answer = Some(ExecResponse::default());
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    let (own_port, other_port) = (server.address.port(), other.address.port());
    for ops in [
        other.url(),
        // Another port, scheme or name, however near.
        format!("http://localhost:{other_port}/ops/here"),
        format!("http://[::1]:{other_port}"),
        "http://localhost".to_owned(),
        format!("https://127.0.0.1:{own_port}"),
        format!("https://localhost:{own_port}"),
        format!("http://127.0.0.2:{own_port}"),
        format!("http://ops.localhost:{own_port}"),
        format!("http://localhost.example:{own_port}"),
        format!("https://gitpod.example:{own_port}"),
    ] {
        let mut running = environment(&id, EnvironmentPhase::Running);
        running.status.as_mut().unwrap().environment_urls.get_or_insert_default().ops = ops.clone();
        server.looks(&id, [Ok(running)]);
        let run = home.gitpod(&["environment", "exec", &id, "--", "true"]).await.ended(1);
        run.saying("no token is sent there").saying(&ops.replace("/ops/here", ""));
        assert_eq!(server.count("CreateEnvironmentAccessToken"), 0, "{ops}");
        assert_eq!(server.count("Exec"), 0, "{ops}");
    }
    assert_eq!(other.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_in_the_wrong_place_is_not_shown() {
    let home = Home::new();
    let token = mint(CredentialKind::PersonalAccessToken);
    let option = format!("--{token}");
    for arguments in [
        &["login", &token] as &[&str],
        &["login", &option],
        &["token", "revoke", &token],
        &["environment", "get", &token],
        &["whoami", "--host", &token],
    ] {
        let run = home.gitpod(arguments).await;
        assert!(!run.stderr.contains(&token) && run.stdout.is_empty(), "{run:?}");
        assert_ne!(run.code, Some(0), "{run:?}");
    }
}

#[tokio::test]
async fn the_address_may_have_a_path() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = server.token();
    for (base, prefix) in [("", ""), ("/", ""), ("/api", "/api"), ("/api/", "/api")] {
        server.state().calls.clear();
        let url = format!("{}{base}", server.address);
        home.gitpod(&["login", "--token", &token, "--host", &url]).await.ended(0);
        for command in [&["whoami"] as &[&str], &["environment", "list"], &["token", "list"], &["audit-logs"]] {
            home.gitpod(command).await.ended(0);
        }
        let paths = server.paths();
        assert_eq!(paths.len(), 7);
        assert!(paths.iter().all(|path| path.starts_with(&format!("{prefix}/gitpod.v1."))), "{url}: {paths:?}");
    }
}
