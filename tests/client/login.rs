//! Signing in and out; what is stored, where and for whom.

use std::{fs, os::unix::fs::PermissionsExt};

use latchkey::domain::token::{CredentialKind, Presented};
use tonic::Status;

use crate::{
    gitpod::Home,
    server::{Server, mint},
};

#[tokio::test]
async fn a_good_token_is_stored_for_its_owner_alone_and_used_from_then_on() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = server.token();
    let run = home.gitpod(&["login", "--token", &token, "--host", &server.url()]).await.ended(0);
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr, format!("Signed in to {} as Ada (ada@example.com).\n", server.url()));
    assert_eq!(home.mode(&home.credentials()), 0o600);
    assert_eq!(home.mode(home.credentials().parent().unwrap()), 0o700);
    assert_eq!(home.credentials().parent().unwrap().read_dir().unwrap().count(), 1, "nothing else is left there");

    let run = home.gitpod(&["whoami", "-o", "json"]).await.ended(0);
    let me = run.json();
    assert_eq!(me["user"]["email"], "ada@example.com");
    assert_eq!(me["subject"]["principal"], "PRINCIPAL_USER");
    assert_eq!(me["host"], server.url());
    assert_eq!(me["tokenId"], Presented::parse(&token).unwrap().id().to_string());
    let run = home.gitpod(&["whoami"]).await.ended(0);
    assert!(run.stdout.contains("ada@example.com") && !run.stdout.contains(&token), "{run:?}");
    for call in &server.state().calls {
        assert_eq!(call.authorization, Some(format!("Bearer {token}")));
        assert!(call.user_agent.starts_with("gitpod/"), "{call:?}");
    }
}

#[tokio::test]
async fn a_mistyped_token_is_noticed_without_the_server() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = server.token();
    let mut changed = token.clone();
    changed.replace_range(40..41, if &token[40..41] == "a" { "b" } else { "a" });
    for wrong in [&token[..82], &format!("{token}0"), &changed, &token[1..], "hunter2", "-x"] {
        let run = home.gitpod(&["login", "--token", wrong, "--host", &server.url()]).await.ended(3);
        let run = run.saying("that token is incomplete or mistyped");
        assert!(!run.stderr.contains(wrong), "{run:?}");
        let variables = [("GITPOD_TOKEN", wrong), ("GITPOD_HOST", &server.url())];
        home.gitpod_with(&variables, &["environment", "list"]).await.ended(3).saying("that token in GITPOD_TOKEN");
    }
    let other = mint(CredentialKind::EnvironmentToken);
    let run = home.gitpod(&["login", "--token", &other, "--host", &server.url()]).await.ended(3);
    run.saying("for one environment alone");
    assert_eq!(server.paths(), Vec::<String>::new());
    assert!(!home.credentials().exists());
}

#[tokio::test]
async fn a_refused_token_is_not_stored() {
    let (home, server) = (Home::new(), Server::start().await);
    server.state().refusal = Some(Status::unauthenticated("the token expired on 2026-01-01 00:00 UTC"));
    let token = mint(CredentialKind::PersonalAccessToken);
    let run = home.gitpod(&["login", "--token", &token, "--host", &server.url()]).await.ended(3);
    let run = run.saying("the token expired on 2026-01-01 00:00 UTC");
    assert!(!run.stderr.contains(&token));
    assert!(!home.credentials().exists());
    // The one that was good before stays.
    let good = server.token();
    home.gitpod(&["login", "--token", &good, "--host", &server.url()]).await.ended(0);
    home.gitpod(&["login", "--token", &token]).await.ended(3);
    home.gitpod(&["whoami"]).await.ended(0);
}

#[tokio::test]
async fn without_a_token_it_says_how_to_get_one_where_the_server_gives_none_out() {
    let (home, server) = (Home::new(), Server::start().await);
    let url = server.url();
    let run = home.gitpod(&["login", "--host", &url]).await.ended(2).saying("settings/personal-access-tokens");
    run.saying("GITPOD_TOKEN");
    home.gitpod(&["login", "--token", ""]).await.ended(2).saying("the token is empty");
    let variables = [("GITPOD_TOKEN", ""), ("GITPOD_HOST", url.as_str())];
    home.gitpod_with(&variables, &["login"]).await.ended(2).saying("no token was given");
    home.gitpod(&["environment", "list"]).await.ended(3).saying("not signed in to http://127.0.0.1:8080");
}

#[tokio::test]
async fn a_token_comes_from_a_variable_or_from_standard_input_too() {
    let (home, server) = (Home::new(), Server::start().await);
    let (token, url) = (server.token(), server.url());
    let arguments = ["login", "--token", "-", "--host", &url];
    home.gitpod_reading(&format!("{token}\nmore"), &arguments).await.ended(0);
    home.gitpod(&["whoami"]).await.ended(0);
    home.gitpod(&["logout"]).await.ended(0);
    home.gitpod_with(&[("GITPOD_TOKEN", &token), ("GITPOD_HOST", &url)], &["login"]).await.ended(0);
    home.gitpod(&["whoami"]).await.ended(0);
}

#[tokio::test]
async fn the_variable_wins_over_what_is_stored_and_needs_no_login() {
    let (home, server) = (Home::new(), Server::start().await);
    let (stored, variable) = (server.token(), server.token());
    let variables = [("GITPOD_TOKEN", variable.as_str())];
    home.gitpod_with(&[variables[0], ("GITPOD_HOST", &server.url())], &["whoami"]).await.ended(0);
    let arguments = ["login", "--token", &stored, "--host", &server.url()];
    home.gitpod_with(&variables, &arguments).await.ended(0).saying("wins over this one");
    home.gitpod(&["whoami"]).await.ended(0);
    home.gitpod_with(&variables, &["whoami"]).await.ended(0);
    let sent = |token: &str| {
        server.state().calls.iter().filter(|call| call.authorization == Some(format!("Bearer {token}"))).count()
    };
    assert_eq!((sent(&stored), sent(&variable)), (4, 4));
}

#[tokio::test]
async fn the_flag_wins_over_the_variable_and_that_over_the_last_login() {
    let home = Home::new();
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    for server in &servers {
        home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
        server.state().calls.clear();
    }
    let [flag, variable, last] = &servers;
    home.gitpod_with(&[("GITPOD_HOST", &variable.url())], &["whoami", "--host", &flag.url()]).await.ended(0);
    home.gitpod_with(&[("GITPOD_HOST", &variable.url())], &["whoami"]).await.ended(0);
    home.gitpod_with(&[("GITPOD_HOST", "")], &["whoami"]).await.ended(0);
    assert_eq!([flag, variable, last].map(|server| server.count("GetAuthenticatedIdentity")), [1, 1, 1]);
}

#[tokio::test]
async fn logins_at_once_lose_none_of_each_other() {
    let home = Home::new();
    let mut servers = Vec::new();
    for _ in 0..6 {
        servers.push(Server::start().await);
    }
    let logins = servers.iter().map(async |server| {
        home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    });
    futures::future::join_all(logins).await;
    for server in &servers {
        home.gitpod(&["whoami", "--host", &server.url()]).await.ended(0);
    }
}

#[tokio::test]
async fn a_file_that_others_can_read_is_refused_until_it_is_put_right() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = server.token();
    home.gitpod(&["login", "--token", &token, "--host", &server.url()]).await.ended(0);
    server.state().calls.clear();
    let path = home.credentials();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    home.gitpod(&["whoami"]).await.ended(1).saying("chmod 600");
    assert_eq!(server.paths(), Vec::<String>::new());
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    home.gitpod(&["login", "--token", &token]).await.ended(0);
    assert_eq!((home.mode(&path), home.mode(path.parent().unwrap())), (0o600, 0o700));
    home.gitpod(&["whoami"]).await.ended(0);
    // What others could have written is not believed at all: it says where tokens are sent.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    home.gitpod(&["login", "--token", &token]).await.ended(1).saying("chmod 600");
}

#[tokio::test]
async fn a_damaged_file_is_not_quoted() {
    let home = Home::new();
    let path = home.credentials();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, r#"{"tokens": "gitpod_pat_hunter2"}"#).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let run = home.gitpod(&["whoami"]).await.ended(1).saying("is damaged (line 1)");
    assert!(!run.stderr.contains("hunter2"));
}

#[tokio::test]
async fn signing_out_forgets_the_token() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = server.token();
    home.gitpod(&["login", "--token", &token, "--host", &server.url()]).await.ended(0);
    let id = Presented::parse(&token).unwrap().id();
    home.gitpod(&["logout"]).await.ended(0).saying(&id.to_string());
    assert!(!fs::read_to_string(home.credentials()).unwrap().contains(&token));
    home.gitpod(&["whoami", "--host", &server.url()]).await.ended(3);
    home.gitpod(&["logout"]).await.ended(0).saying("Nobody was signed in");
}

#[tokio::test]
async fn a_service_account_signs_in_too() {
    let (home, server) = (Home::new(), Server::start().await);
    server.state().service_account = true;
    let run = home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    run.saying("service account 0190f0a0-0000-7000-8000-000000000001");
    assert_eq!(server.count("GetAuthenticatedUser"), 0);
}

#[tokio::test]
async fn xdg_config_home_is_where_tokens_are_stored() {
    let (home, server, elsewhere) = (Home::new(), Server::start().await, tempfile::tempdir().unwrap());
    let directory = elsewhere.path().to_str().unwrap();
    let (token, url) = (server.token(), server.url());
    let arguments = ["login", "--token", &token, "--host", &url];
    home.gitpod_with(&[("XDG_CONFIG_HOME", directory)], &arguments).await.ended(0);
    assert_eq!(home.mode(&elsewhere.path().join("gitpod/credentials.json")), 0o600);
    assert!(!home.credentials().exists());
    // The specification: a relative one is ignored.
    home.gitpod_with(&[("XDG_CONFIG_HOME", "relative")], &arguments).await.ended(0);
    assert!(home.credentials().exists());
}
