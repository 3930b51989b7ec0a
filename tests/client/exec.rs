//! `gitpod environment exec`.

use std::process::Stdio;

use latchkey::pb::{gitpod::v1::EnvironmentPhase, supervisor::v1::ExecResponse};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Status;

use crate::{
    gitpod::{Home, Run},
    server::{Server, environment, new_id},
};

/// A home that is signed in, a server, and the ID of an environment that runs there.
async fn running() -> (Home, Server, String) {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    let id = new_id();
    let mut running = environment(&id, EnvironmentPhase::Running);
    running.status.as_mut().unwrap().environment_urls.get_or_insert_default().ops =
        format!("{}/ops/here/", server.url());
    server.looks(&id, [Ok(running)]);
    (home, server, id)
}

fn answer(exit_code: i32, stdout: &str, stderr: &str) -> Option<ExecResponse> {
    Some(ExecResponse { exit_code, stdout: stdout.to_owned(), stderr: stderr.to_owned() })
}

#[tokio::test]
async fn output_and_exit_code_are_the_commands_own() {
    let (home, server, id) = running().await;
    server.state().exec_answer = answer(42, "out\u{1b}[1m", "err without a line end");
    let run = home.gitpod(&["environment", "exec", &id, "--workdir", "/w", "--timeout", "1500ms", "--", "ls"]).await;
    let run = run.ended(42);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\u{1b}[1m", "err without a line end"));
    let state = server.state();
    assert_eq!((state.execs[0].working_directory.as_str(), state.execs[0].timeout_seconds), ("/w", 2));
    let call = state.calls.last().unwrap();
    assert_eq!(call.path, "/ops/here/supervisor.v1.EnvironmentOpsService/Exec");
    assert!(call.authorization.as_ref().unwrap().starts_with("Bearer gitpod_env_"), "{call:?}");
}

#[tokio::test]
async fn each_argument_stays_one_word() {
    let (home, server, id) = running().await;
    server.state().exec_answer = answer(0, "", "");
    home.gitpod(&["environment", "exec", &id, "--", "sh", "-c", "echo \"$HOME\" | wc -c", "it's", "-x"]).await.ended(0);
    let command = server.state().execs[0].command.clone();
    let expected = ["sh", "-c", "echo \"$HOME\" | wc -c", "it's", "-x"];
    assert_eq!(shlex::split(&command).unwrap(), expected, "{command}");
    home.gitpod(&["environment", "exec", &id, "ls"]).await.ended(2);
    home.gitpod(&["environment", "exec", &id, "--"]).await.ended(2);
}

#[tokio::test]
async fn large_output_comes_over_whole() {
    let (home, server, id) = running().await;
    let large = "0123456789abcdef".repeat(512 * 1024);
    server.state().exec_answer = answer(0, &large, &large);
    let run = home.gitpod(&["environment", "exec", &id, "--", "cat", "large"]).await;
    assert!(
        run.code == Some(0) && run.stdout == large && run.stderr == large,
        "{} {}",
        run.stdout.len(),
        run.stderr.len()
    );
}

#[tokio::test]
async fn a_reader_that_left_does_not_change_the_exit_code() {
    let (home, server, id) = running().await;
    server.state().exec_answer = answer(7, "out", "");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    home.gitpod_into(writer, &["environment", "exec", &id, "--", "ls"]).await.ended(7);
}

#[tokio::test]
async fn ctrl_c_cancels_the_command() {
    let (home, server, id) = running().await;
    let mut command = home.command(&["environment", "exec", &id, "--", "sleep", "1000"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.called("Exec").await;
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    Run::of(child).await.ended(130).saying("was cancelled");
    let state = server.state();
    assert!(!state.execs[0].operation_id.is_empty());
    assert_eq!(state.cancelled, [state.execs[0].operation_id.clone()]);
}

#[tokio::test]
async fn only_a_running_environment_carries_out_commands() {
    let (home, server, _) = running().await;
    let (stopped, unknown) = (new_id(), new_id());
    server.looks(&stopped, [Ok(environment(&stopped, EnvironmentPhase::Stopped))]);
    let run = home.gitpod(&["environment", "exec", &stopped, "--", "ls"]).await.ended(1);
    run.saying(&format!("gitpod environment start {stopped}"));
    home.gitpod(&["environment", "exec", &unknown, "--", "ls"]).await.ended(4);
    assert_eq!(server.count("CreateEnvironmentAccessToken"), 0);
}

#[tokio::test]
async fn a_command_that_ran_out_of_time_is_a_failure() {
    let (home, server, id) = running().await;
    server.state().failures.insert("Exec", Status::deadline_exceeded("the command took longer than 2 s and was ended"));
    let run = home.gitpod(&["environment", "exec", &id, "--timeout", "2s", "--", "sleep", "9"]).await.ended(1);
    run.saying("took longer than 2 s");
}

#[tokio::test]
async fn this_machine_by_another_of_its_names_is_the_same_server() {
    let (home, server, id) = running().await;
    server.state().exec_answer = answer(0, "done", "");
    let (token, port) = (server.token(), server.address.port());
    let exec = async |host: &str, ops: &str| {
        let mut running = environment(&id, EnvironmentPhase::Running);
        running.status.as_mut().unwrap().environment_urls.get_or_insert_default().ops =
            format!("http://{ops}:{port}/ops/here");
        server.looks(&id, [Ok(running)]);
        server.state().calls.clear();
        let url = format!("http://{host}:{port}");
        let variables = [("GITPOD_HOST", url.as_str()), ("GITPOD_TOKEN", &token)];
        let run = home.gitpod_with(&variables, &["environment", "exec", &id, "--", "ls"]).await.ended(0);
        assert_eq!(run.stdout, "done");
        let state = server.state();
        assert_eq!(state.calls.last().unwrap().path, "/ops/here/supervisor.v1.EnvironmentOpsService/Exec");
        // The name that the client was given is the one that it goes on using.
        assert!(state.calls.iter().all(|call| call.authority == format!("{host}:{port}")), "{:?}", state.calls);
    };
    exec("localhost", "127.0.0.1").await;
    exec("localhost", "[::1]").await;
    exec("127.0.0.1", "localhost").await;
    // Whoever else listens at the name that the server gave gets nothing. A machine may have no such address.
    let other = std::net::TcpListener::bind(("::1", port)).ok();
    exec("127.0.0.1", "[::1]").await;
    if let Some(other) = other {
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody came");
    }
}
