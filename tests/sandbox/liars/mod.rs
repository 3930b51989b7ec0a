//! Supervisors that lie: what is process 1 of a sandbox says what it likes, as long as it likes, and the server and every
//! other environment go on.

mod frames;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use futures::future::join_all;
use latchkey::{
    domain::{
        environment::{Content, GitTarget},
        exec::{CommandOutput, Operations, OperationsError},
        ids::EnvironmentId,
    },
    environments::runner::{FailureKind, Runner, local::LocalRunner},
    pb::supervisor::v1::ExecResponse,
};
use prost::Message;

use crate::support::machine::{Machine, RESOURCES, command, repository, run};
use frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PUSH_PROMISE, announced, begin, end, fields, frame,
    message, refusal, settings,
};

/// What a liar answers: once, and then again and again.
struct Lie {
    about: &'static str,
    once: Vec<u8>,
    ever: Vec<u8>,
    /// A word of what the server says then.
    said: &'static str,
}

fn once(about: &'static str, bytes: impl IntoIterator<Item = Vec<u8>>, said: &'static str) -> Lie {
    let once = std::iter::once(settings()).chain(bytes).collect::<Vec<_>>().concat();
    Lie { about, once, ever: Vec::new(), said }
}

fn ever(about: &'static str, bytes: impl IntoIterator<Item = Vec<u8>>, again: Vec<u8>, said: &'static str) -> Lie {
    Lie { ever: again, ..once(about, bytes, said) }
}

fn lies() -> Vec<Lie> {
    let answer = ExecResponse { exit_code: 0, stdout: "true".to_owned(), stderr: String::new() }.encode_to_vec();
    let code = ExecResponse { exit_code: 70_000, ..Default::default() }.encode_to_vec();
    let page = [(":status", "200"), ("content-type", "text/html"), ("set-cookie", "a=b")];
    let redirect = [(":status", "307"), ("location", "http://127.0.0.1:1/"), ("content-type", "application/grpc")];
    let zeros = vec![0; 16 * 1024];
    let much = "x".repeat(8 * 1024);
    let many: Vec<(&str, &str)> = vec![("x-much", &much); 16];
    vec![
        Lie { about: "another protocol", once: b"HTTP/1.1 200 OK\r\n\r\n".repeat(10), ever: vec![], said: "" },
        once("a page", [frame(HEADERS, END_HEADERS, &fields(&page)), frame(DATA, 1, b"<script>")], "none of gRPC"),
        once("a redirect", [refusal(&redirect)], ""),
        once("nothing but an end", [begin(&[]), end()], "not one answer"),
        once("two answers", [begin(&[]), message(&answer), message(&answer), end()], "not one answer"),
        ever("answers without an end", [begin(&[])], message(&answer), "not one answer"),
        once("an answer of another form", [begin(&[]), message(&[255; 100]), end()], "decode"),
        once("bytes that are no text", [begin(&[]), message(&[0x12, 2, 0xc3, 0x28]), end()], "decode"),
        once("an exit code that is none", [begin(&[]), message(&code), end()], "exit code"),
        once(
            "a compressed answer",
            [begin(&[("grpc-encoding", "gzip")]), frame(DATA, 0, &[1, 0, 0, 0, 1, 0]), end()],
            "",
        ),
        ever(
            "an answer of 4 GiB",
            [begin(&[]), frame(DATA, 0, &announced(u32::MAX, &[]))],
            frame(DATA, 0, &zeros),
            "4294967295",
        ),
        once("half an answer", [begin(&[]), frame(DATA, 0, &announced(1 << 20, &zeros[..1000]))], "in time"),
        once("an answer and no end", [begin(&[]), message(&answer)], "in time"),
        ever("nothing, in pieces", [begin(&[])], frame(DATA, 0, &[]), ""),
        ever("nothing, in time", [], frame(PING, 0, &[0; 8]), "in time"),
        once("nothing", [], "in time"),
        ever(
            "headers without an end",
            [frame(HEADERS, 0, &fields(&page[..1]))],
            frame(CONTINUATION, 0, &fields(&many[..1])),
            "",
        ),
        ever("names without an end", [], refusal(&[(":status", "100")])[..].to_vec(), ""),
        once("headers that are too long", [frame(HEADERS, 0, &fields(&page[..1])), many_fields(&many)], ""),
        ever(
            "trailers without an end",
            [begin(&[]), message(&answer), frame(HEADERS, 1, &[])],
            frame(CONTINUATION, 0, &fields(&many[..1])),
            "",
        ),
        once(
            "a promise",
            [frame(PUSH_PROMISE, END_HEADERS, &[[0, 0, 0, 2].as_slice(), &fields(&page[..1])].concat())],
            "",
        ),
        once("a farewell", [frame(GOAWAY, 0, &[0, 0, 0, 0, 0, 0, 0, 11])], ""),
    ]
}

/// Fields in frames of their own, to the end.
fn many_fields(many: &[(&str, &str)]) -> Vec<u8> {
    let last = many.len() - 1;
    let flags = |number: usize| if number == last { END_HEADERS } else { 0 };
    let frames = many.iter().enumerate().map(|(number, field)| frame(CONTINUATION, flags(number), &fields(&[*field])));
    frames.collect::<Vec<_>>().concat()
}

/// A machine on which every supervisor is a liar.
async fn machine() -> (Machine, LocalRunner) {
    let mut machine = Machine::new().await;
    let liar = machine.config.data_dir.join("liar");
    fs::write(&liar, include_bytes!("supervisor.pl")).unwrap();
    fs::set_permissions(&liar, fs::Permissions::from_mode(0o755)).unwrap();
    machine.config.binary = liar;
    let runner = machine.runner().await;
    (machine, runner)
}

/// An environment whose supervisor answers like this, whatever it is asked.
async fn liar(machine: &Machine, runner: &LocalRunner, once: &[u8], ever: &[u8]) -> EnvironmentId {
    let id = EnvironmentId::generate();
    runner.create(id, &Content::Empty, &RESOURCES).await.unwrap();
    let workspace = machine.directory_of(id).join("ws");
    for (name, bytes) in [("once", once), ("ever", ever)] {
        write(&workspace.join(name), bytes);
    }
    runner.start(id, &RESOURCES).await.unwrap();
    id
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// A command that may take a second.
async fn exec(runner: &LocalRunner, id: EnvironmentId) -> Result<CommandOutput, OperationsError> {
    run(runner, id, latchkey::domain::exec::Command { timeout: std::time::Duration::from_secs(1), ..command("true") })
        .await
}

#[tokio::test]
async fn whatever_a_supervisor_answers_is_an_answer_or_an_error_in_the_end() {
    let (machine, runner) = machine().await;
    let answer = ExecResponse { exit_code: 3, stdout: "out".to_owned(), stderr: "err".to_owned() }.encode_to_vec();
    let honest = [settings(), begin(&[("set-cookie", "a=b")]), message(&answer), end()].concat();
    let honest = liar(&machine, &runner, &honest, &[]).await;
    let tried = join_all(lies().into_iter().map(async |lie| {
        let id = liar(&machine, &runner, &lie.once, &lie.ever).await;
        let answer = exec(&runner, id).await;
        // Meanwhile and afterwards, another environment is as it was.
        let output = exec(&runner, honest).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.as_str(), output.stderr.as_str()), (3, "out", "err"));
        // To this, much is an answer: it says nothing. It comes to an end, that is all.
        let _ = runner.cancel(id, "any".to_owned()).await;
        runner.delete(id).await.unwrap();
        (lie, answer)
    }))
    .await;
    for (lie, answer) in tried {
        let Err(OperationsError::Unreachable(said)) = &answer else { panic!("{}: {answer:?}", lie.about) };
        assert!(said.contains(lie.said), "{}: {said}", lie.about);
        assert!(said.chars().count() <= 350 && !said.contains(char::is_control), "{}: {said:?}", lie.about);
    }
    runner.delete(honest).await.unwrap();
}

#[tokio::test]
async fn what_a_supervisor_says_of_an_error_is_text_and_little_of_it() {
    let (machine, runner) = machine().await;
    let long = format!("%1b[2J%0d%0aset-cookie: a=b%e2%80%ae{}", "x".repeat(2000));
    for (status, is_expected) in [
        ("3", (|error| matches!(error, OperationsError::Invalid(_))) as fn(&OperationsError) -> bool),
        ("4", |error| matches!(error, OperationsError::TimedOut(_))),
        ("8", |error| matches!(error, OperationsError::Exhausted(_))),
        ("14", |error| matches!(error, OperationsError::Unreachable(_))),
        ("99", |error| matches!(error, OperationsError::Unreachable(_))),
    ] {
        let headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)];
        let more = [("grpc-message", long.as_str()), ("set-cookie", "a=b"), ("retry-after", "1")];
        let lie = [settings(), refusal(&[headers.as_slice(), &more].concat())].concat();
        let id = liar(&machine, &runner, &lie, &[]).await;
        let error = exec(&runner, id).await.unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
        let said = error.to_string();
        assert!(said.chars().count() <= 350, "{said}");
        assert!(!said.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{said:?}");
        runner.delete(id).await.unwrap();
    }
}

#[tokio::test]
async fn a_report_of_a_clone_is_read_if_it_is_one() {
    let (machine, runner) = machine().await;
    for lie in ["none", "link", "fifo", "directory", "huge", "rude"] {
        let id = EnvironmentId::generate();
        let content = repository(&format!("owner/{lie}"), GitTarget::RemoteHead);
        let failure = runner.create(id, &content, &RESOURCES).await.unwrap_err();
        let kind = if lie == "rude" { FailureKind::GitFailed } else { FailureKind::SandboxFailed };
        assert_eq!(failure.kind(), kind, "{lie}: {failure}");
        let said = failure.to_string();
        assert!(said.chars().count() < 500, "{lie}: {said}");
        assert!(!said.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{lie}: {said:?}");
        assert!(!said.contains("root:"), "{lie}: {said}");
        runner.delete(id).await.unwrap();
        assert!(!machine.directory_of(id).exists());
    }
    // What is claimed and has not the form of a branch or a commit is left out.
    let id = EnvironmentId::generate();
    let checkout = runner.create(id, &repository("owner/proud", GitTarget::RemoteHead), &RESOURCES).await.unwrap();
    assert_eq!((checkout.branch, checkout.commit), (None, None));
    runner.delete(id).await.unwrap();
}
