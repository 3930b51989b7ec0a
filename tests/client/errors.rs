//! What is said when something goes wrong, and the exit codes.

use std::net::TcpListener;

use latchkey::domain::token::CredentialKind;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    gitpod::Home,
    server::{Server, mint},
};

#[tokio::test]
async fn each_code_has_its_exit_code() {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    for (code, exit_code) in [
        (Code::Unauthenticated, 3),
        (Code::PermissionDenied, 3),
        (Code::NotFound, 4),
        (Code::InvalidArgument, 1),
        (Code::ResourceExhausted, 1),
        (Code::Unavailable, 1),
        (Code::Internal, 1),
        (Code::Unimplemented, 1),
    ] {
        server.state().failures.insert("ListEnvironments", Status::new(code, "because\u{1b}[2J of this"));
        let run = home.gitpod(&["environment", "list"]).await.ended(exit_code).saying("of this");
        assert!(!run.stderr.contains('\u{1b}') && run.stderr.starts_with("error: "), "{run:?}");
        assert_eq!(run.stdout, "");
    }
}

#[tokio::test]
async fn bad_input_is_named_field_by_field() {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("description", "must not be empty");
    details.add_bad_request_violation("valid_for", "is longer than 90 days");
    let status = Status::with_error_details(Code::InvalidArgument, "the request makes no sense", details);
    server.state().failures.insert("CreatePersonalAccessToken", status);
    let run = home.gitpod(&["token", "create", "--description", ""]).await.ended(1);
    let expected = "error: the request makes no sense\n  description: must not be empty\n  valid_for: is longer than 90 \
                    days\n";
    assert_eq!(run.stderr, expected);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let home = Home::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let token = mint(CredentialKind::PersonalAccessToken);
    let url = format!("http://{address}");
    let run = home.gitpod(&["login", "--token", &token, "--host", &url]).await.ended(1);
    let run = run.saying(&format!("cannot reach {url}")).saying("Connection refused").saying("is the server running");
    assert!(!run.stderr.contains(&token));
}

#[tokio::test]
async fn the_source_of_a_refused_token_is_named() {
    let (home, server) = (Home::new(), Server::start().await);
    let token = mint(CredentialKind::PersonalAccessToken);
    let variables = [("GITPOD_TOKEN", token.as_str()), ("GITPOD_HOST", &server.url())];
    let run = home.gitpod_with(&variables, &["environment", "list"]).await.ended(3);
    run.saying("refused the token in GITPOD_TOKEN: the token is not known");
}

#[tokio::test]
async fn help_is_data_and_mistakes_are_not() {
    let home = Home::new();
    let run = home.gitpod(&["--help"]).await.ended(0);
    assert!(run.stdout.contains("GITPOD_TOKEN") && run.stderr.is_empty(), "{run:?}");
    home.gitpod(&["--version"]).await.ended(0);
    for arguments in
        [&[] as &[&str], &["environment"], &["environments"], &["environment", "create", "--upload-pack=x"]]
    {
        let run = home.gitpod(arguments).await.ended(2);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{run:?}");
    }
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = home.gitpod(&["completion", shell]).await.ended(0);
        assert!(run.stdout.contains("list-classes"), "{shell}");
    }
    home.gitpod(&["completion", "tcsh"]).await.ended(2);
}
