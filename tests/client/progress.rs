//! What is shown while something is waited for: on a terminal alone.

use std::process::Stdio;

use latchkey::pb::gitpod::v1::{
    Environment, EnvironmentPhase,
    environment_status::{
        Content,
        content::{Progress, progress::Step},
    },
};
use tonic::Status;

use crate::{
    gitpod::{Home, Run},
    server::{Server, environment, failed, new_id},
    terminal::Terminal,
};

const CREATE: [&str; 3] = ["environment", "create", "https://github.com/your-repo"];

async fn signed_in() -> (Home, Server, String) {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    (home, server, new_id())
}

#[tokio::test]
async fn phases_are_shown_on_a_terminal_while_they_last_and_cleared_at_the_end() {
    let (home, server, id) = signed_in().await;
    let is = |phase| server.looks(&id, [Ok(environment(&id, phase))]);
    is(EnvironmentPhase::Creating);
    let (terminal, stderr) = Terminal::open();
    let mut command = home.command(&CREATE);
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    // The command holds the terminal open too.
    drop(command);
    let run = tokio::spawn(Run::of(child));

    // Each phase lasts until it is seen.
    terminal.shows(&format!("{id} creating")).await;
    server.looks(&id, [Err(Status::unavailable("the database is away"))]);
    terminal.shows("the server does not answer; trying again").await;
    is(EnvironmentPhase::Starting);
    terminal.shows(&format!("{id} starting")).await;
    is(EnvironmentPhase::Running);

    let run = run.await.unwrap().ended(0);
    assert_eq!(run.stdout, format!("{id}\n"), "data alone");
    let (written, screen) = terminal.close();
    assert_eq!(screen, Vec::<String>::new(), "{written:?}");
}

/// One that is cloned.
fn cloning(id: &str, step: Step, [done, total, bytes]: [u64; 3]) -> Environment {
    let mut environment = environment(id, EnvironmentPhase::Creating);
    let progress = Progress { step: step.into(), done, total, bytes };
    let content = Content { progress: Some(progress), ..Default::default() };
    environment.status.as_mut().unwrap().content = Some(content);
    environment
}

#[tokio::test]
async fn how_far_a_clone_is_is_shown_on_a_terminal() {
    let (home, server, id) = signed_in().await;
    let (terminal, stderr) = Terminal::open();
    server.looks(&id, [Ok(cloning(&id, Step::Counting, [7, 0, 0]))]);
    let mut command = home.command(&CREATE);
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    drop(command);
    let run = tokio::spawn(Run::of(child));
    for (step, numbers, shown) in [
        (Step::Counting, [7, 0, 0], "creating: the host counts objects, 7 "),
        (Step::Packing, [1, 4, 0], "creating: the host packs objects, 25% (1 of 4) "),
        (Step::Receiving, [145, 402, 1_258_292], "creating: receiving objects, 36% (145 of 402), 1.2 MiB "),
        (Step::Resolving, [0, 10, 0], "creating: resolving changes, 0% (0 of 10) "),
        // More than everything is everything.
        (Step::Writing, [u64::MAX, 1, 0], "creating: writing files, 100% (18446744073709551615 of 1) "),
        (Step::Unspecified, [1, 2, 3], "creating ("),
    ] {
        server.looks(&id, [Ok(cloning(&id, step, numbers))]);
        terminal.shows(shown).await;
    }
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Running))]);
    run.await.unwrap().ended(0);
    let (written, screen) = terminal.close();
    assert_eq!(screen, Vec::<String>::new(), "{written:?}");
}

#[tokio::test]
async fn a_failure_is_all_that_stays_on_the_terminal() {
    let (home, server, id) = signed_in().await;
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Creating))]);
    let (terminal, stderr) = Terminal::open();
    let mut command = home.command(&CREATE);
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    drop(command);
    let run = tokio::spawn(Run::of(child));
    terminal.shows("creating").await;
    server.looks(&id, [Ok(failed(&id, 2, "no repository there"))]);
    run.await.unwrap().ended(1);
    let (written, screen) = terminal.close();
    assert_eq!(screen, [format!("error: environment {id} failed: no repository there")], "{written:?}");
}

#[tokio::test]
async fn without_a_terminal_for_errors_no_progress_is_shown() {
    let (home, server, id) = signed_in().await;
    let phases = [EnvironmentPhase::Creating, EnvironmentPhase::Starting, EnvironmentPhase::Running];
    server.looks(&id, phases.map(|phase| Ok(environment(&id, phase))));
    // A terminal for data is none for progress.
    let (terminal, stdout) = Terminal::open();
    let mut command = home.command(&CREATE);
    let child = command.env("TERM", "xterm").stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let run = Run::of(child).await.ended(0);
    assert_eq!(run.stderr, "");
    let (written, _) = terminal.close();
    assert_eq!(written, format!("{id}\r\n"));
}
