//! Commands through the API: what they get, what comes back, and how they end.

use latchkey::pb::{
    gitpod::v1::EnvironmentPhase,
    supervisor::v1::{CancelExecRequest, ExecRequest},
};
use tonic::Code;

use crate::support::{
    Api, LocalServer, details,
    environments::{from_nothing, from_url, operations},
    eventually, processes_with,
};

const LIMIT: usize = 8 * 1024 * 1024;

fn command(text: &str) -> ExecRequest {
    ExecRequest { command: text.to_owned(), ..Default::default() }
}

/// A number of seconds that no other process on this machine sleeps.
fn marker(id: &str, number: u32) -> String {
    format!("31536{number}.{}", id.replace(|character: char| !character.is_ascii_digit(), ""))
}

/// A shell, a child, a grandchild, all of them deaf to SIGTERM.
fn stubborn(marker: &str) -> String {
    format!("trap '' TERM; sh -c 'sleep {marker} & sleep {marker}; true' & sleep {marker}; true")
}

async fn all_sleep(marker: &str) {
    let sleep = format!(": sleep {marker}");
    eventually("all of them sleep", async || {
        (processes_with(marker).iter().filter(|line| line.contains(&sleep)).count() == 3).then_some(())
    })
    .await;
}

async fn none_sleeps(marker: &str) {
    eventually("none of them sleeps", async || processes_with(marker).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_command_gives_back_what_it_said_and_how_it_ended() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("sub/file", "x\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    let run = async |text: &str| {
        let ran = api.run(&id, text).await;
        (ran.exit_code, ran.stdout, ran.stderr)
    };
    let said = |code: i32, stdout: &str, stderr: &str| (code, stdout.to_owned(), stderr.to_owned());
    assert_eq!(run("echo out; echo err >&2; exit 7").await, said(7, "out\n", "err\n"));
    assert_eq!(run("printf ''").await, said(0, "", ""));
    assert_eq!(run("kill -TERM $$").await, said(143, "", ""));
    assert_eq!(run("exit 255").await, said(255, "", ""));
    let (code, _, stderr) = run("no-such-command").await;
    assert!(code == 127 && stderr.contains("no-such-command"), "{code} {stderr}");
    assert_eq!(
        run("printf '%s|' \"a  b\" '$HOME' \"it's\" ''; printf 'ä\\n'").await,
        said(0, "a  b|$HOME|it's||ä\n", "")
    );
    assert_eq!(run("cat; echo over").await, said(0, "over\n", ""), "there is nothing to read");

    // Where it runs.
    let mut operations = api.operations_of(&id).await;
    for (directory, said) in [("", "/workspace/name\n"), ("/workspace/name/sub", "/workspace/name/sub\n"), ("/", "/\n")]
    {
        let request = ExecRequest { working_directory: directory.to_owned(), ..command("pwd") };
        assert_eq!(operations.exec(request).await.unwrap().into_inner().stdout, said);
    }
    for directory in ["/missing", "sub", "/workspace/name/sub/file"] {
        let request = ExecRequest { working_directory: directory.to_owned(), ..command("pwd") };
        let error = operations.exec(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{directory}: {error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, "working_directory");
        assert_eq!(error.message().matches("working_directory").count(), 1, "{}", error.message());
    }
    for (request, field) in [
        (command(""), "command"),
        (command("a\0b"), "command"),
        (command(&"x".repeat(128 * 1024)), "command"),
        (ExecRequest { timeout_seconds: -1, ..command("true") }, "timeout_seconds"),
        (ExecRequest { timeout_seconds: 3601, ..command("true") }, "timeout_seconds"),
    ] {
        let error = operations.exec(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{field}: {error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, field);
    }
    let long = format!("true {}", "x".repeat(128 * 1024 - 1 - "true ".len()));
    assert_eq!(operations.exec(command(&long)).await.unwrap().into_inner().exit_code, 0, "the longest there may be");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn too_much_output_is_cut_and_bytes_that_are_no_text_are_replaced_and_both_are_said() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let both = "head -c 20000000 /dev/zero | tr '\\0' x; head -c 8388608 /dev/zero | tr '\\0' y >&2; exit 3";
    let ran = api.run(&id, both).await;
    assert_eq!(ran.exit_code, 3, "it was not ended for talking");
    assert!(ran.stdout.as_bytes()[..LIMIT].iter().all(|byte| *byte == b'x'));
    assert_eq!(&ran.stdout[LIMIT..], "\n[latchkey: cut off here, after 8 MiB]\n");
    assert!(ran.stderr == "y".repeat(LIMIT), "exactly the limit is not cut");
    let ran = api.run(&id, "printf 'a\\377b'; printf '\\303\\244' >&2").await;
    assert_eq!(ran.stdout, "a\u{FFFD}b\n[latchkey: bytes that are not UTF-8 were replaced by U+FFFD]\n");
    assert_eq!(ran.stderr, "ä");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_with_all_that_it_started() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let marker = marker(&id, 1);
    let request = ExecRequest { timeout_seconds: 1, ..command(&stubborn(&marker)) };
    let error = api.operations_of(&id).await.exec(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(error.message().contains("longer than 1 s"), "{error}");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    assert_eq!(api.said(&id, "echo here").await, "here", "the environment goes on");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn a_command_that_is_cancelled_ends_with_all_that_it_started() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let mut operations = api.operations_of(&id).await;

    // By name.
    let named = marker(&id, 2);
    let request = ExecRequest { operation_id: "mine".to_owned(), ..command(&stubborn(&named)) };
    let running = tokio::spawn({
        let mut operations = operations.clone();
        async move { operations.exec(request).await }
    });
    all_sleep(&named).await;
    let again = ExecRequest { operation_id: "mine".to_owned(), ..command("true") };
    let error = operations.exec(again.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "the name is taken: {error}");
    assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, "operation_id");
    let cancel = |name: &str| CancelExecRequest { operation_id: name.to_owned() };
    operations.cancel_exec(cancel("another")).await.unwrap();
    assert!(!running.is_finished());
    operations.cancel_exec(cancel("mine")).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code(), Code::Cancelled);
    assert_eq!(processes_with(&named), Vec::<String>::new());
    assert_eq!(operations.exec(again).await.unwrap().into_inner().exit_code, 0, "the name is free again");
    assert_eq!(operations.cancel_exec(cancel("")).await.unwrap_err().code(), Code::InvalidArgument);

    // By leaving: the call, and then the whole connection.
    let left = marker(&id, 3);
    let call = tokio::spawn({
        let mut operations = operations.clone();
        let request = command(&stubborn(&left));
        async move { operations.exec(request).await }
    });
    all_sleep(&left).await;
    call.abort();
    none_sleeps(&left).await;
    let gone = marker(&id, 4);
    let mut own_connection = Api::connect(&local.server().url(), Some(&token)).await.operations_of(&id).await;
    let call = tokio::spawn({
        let request = command(&stubborn(&gone));
        async move { own_connection.exec(request).await }
    });
    all_sleep(&gone).await;
    call.abort();
    none_sleeps(&gone).await;

    // By the client's own deadline.
    let late = marker(&id, 5);
    let mut request = tonic::Request::new(command(&stubborn(&late)));
    request.set_timeout(std::time::Duration::from_secs(1));
    let code = operations.exec(request).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code}");
    none_sleeps(&late).await;
    assert_eq!(api.said(&id, "echo here").await, "here");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn commands_run_in_what_runs() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let ops = format!("{}/environments/{id}/ops", local.server().url());
    let mut running = api.operations_of(&id).await;
    let background = marker(&id, 6);
    let ended = tokio::spawn({
        let mut operations = running.clone();
        let request = command(&stubborn(&background));
        async move { operations.exec(request).await }
    });
    all_sleep(&background).await;
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    // Whoever waited for a command is told that it did not come to its end.
    ended.await.unwrap().unwrap_err();
    assert_eq!(processes_with(&background), Vec::<String>::new());
    for error in [
        running.exec(command("true")).await.map(drop),
        running.cancel_exec(CancelExecRequest { operation_id: "x".to_owned() }).await.map(drop),
        operations(&ops, &api.environment_token(&id).await.unwrap()).await.exec(command("true")).await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("start it first"), "{error}");
    }
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(running.exec(command("echo here")).await.unwrap().into_inner().stdout, "here\n");

    let slow = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;
    let ops = format!("{}/environments/{slow}/ops", local.server().url());
    let token = api.environment_token(&slow).await.unwrap();
    let error = operations(&ops, &token).await.exec(command("true")).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    api.delete_whole(&slow).await;
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn a_command_too_many_is_told_so_and_hurts_nobody() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let neighbour = api.create_running(from_nothing()).await;
    let marker = marker(&id, 7);
    let mut operations = api.operations_of(&id).await;
    let all: Vec<_> = (0..32)
        .map(|_| {
            let (mut operations, request) = (operations.clone(), command(&format!("sleep {marker}; true")));
            tokio::spawn(async move { operations.exec(request).await })
        })
        .collect();
    let sleep = format!(": sleep {marker}");
    eventually("all of them sleep", async || {
        (processes_with(&marker).iter().filter(|line| line.contains(&sleep)).count() == 32).then_some(())
    })
    .await;
    let error = operations.exec(command("true")).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("wait for one to end"), "{error}");
    assert_eq!(api.said(&neighbour, "echo here").await, "here");
    all.into_iter().for_each(|call| call.abort());
    eventually("there is room again", async || operations.clone().exec(command("true")).await.ok()).await;
    api.delete_whole(&id).await;
    api.delete_whole(&neighbour).await;
}
