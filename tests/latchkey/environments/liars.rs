//! Supervisors that lie, as whoever calls the API meets them: what they say harms nobody, and what they are told is little.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use latchkey::pb::supervisor::v1::{CancelExecRequest, ExecRequest, ExecResponse};
use prost::Message;
use tokio::io::AsyncWriteExt;
use tonic::{Code, Request, metadata::MetadataMap};

use crate::support::{Api, LocalServer, environments::from_nothing, eventually, http1};

#[path = "../../sandbox/liars/frames.rs"]
#[allow(dead_code, reason = "more lies are told elsewhere")]
mod frames;

use frames::{CONTINUATION, DATA, announced, begin, end, fields, frame, message, refusal, settings};

/// A server whose supervisors are liars, from now on.
async fn server_of_liars() -> LocalServer {
    let local = LocalServer::start().await;
    let shared = local.data_dir().join("environments/shared");
    let is_program = |name: &str| name.starts_with("latchkey-");
    let mut files = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().path());
    let program = files.find(|path| is_program(path.file_name().unwrap().to_str().unwrap())).unwrap();
    // In its place: it may be the very file that other tests run.
    let liar = local.data_dir().join("liar");
    fs::write(&liar, include_bytes!("../../sandbox/liars/supervisor.pl")).unwrap();
    fs::set_permissions(&liar, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(liar, program).unwrap();
    local
}

/// What an environment's supervisor says from now on, once on each connection, and then again and again.
fn says(local: &LocalServer, id: &str, once: &[Vec<u8>], ever: &[u8]) {
    let workspace = local.directory_of(id).join("ws");
    for (name, bytes) in [("once", [settings(), once.concat()].concat().as_slice()), ("ever", ever)] {
        fs::write(workspace.join(name), bytes).unwrap();
        fs::set_permissions(workspace.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

fn answer() -> Vec<u8> {
    ExecResponse { exit_code: 3, stdout: "out".to_owned(), stderr: String::new() }.encode_to_vec()
}

fn command() -> ExecRequest {
    ExecRequest { command: "true".to_owned(), timeout_seconds: 1, ..Default::default() }
}

/// The most memory that a process has had so far, in bytes.
fn peak(process: nix::unistd::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn what_a_liar_sends_without_an_end_takes_little_of_the_servers_memory() {
    let local = server_of_liars().await;
    let api = local.api_of_user("dev@example.com").await;
    let honest = api.create_running(from_nothing()).await;
    says(&local, &honest, &[begin(&[]), message(&answer()), end()], &[]);
    let much = "x".repeat(8 * 1024);
    let zeros = frame(DATA, 0, &[0; 16 * 1024]);
    let lies = [
        (vec![begin(&[])], message(&answer())),
        (vec![begin(&[]), frame(DATA, 0, &announced(u32::MAX, &[]))], zeros.clone()),
        // As much as an answer may be, and more of the kind behind it.
        (vec![begin(&[]), frame(DATA, 0, &announced(16 << 20, &[]))], zeros),
        (vec![frame(1, 0, &fields(&[(":status", "200")]))], frame(CONTINUATION, 0, &fields(&[("x-much", &much)]))),
        (vec![begin(&[])], frame(DATA, 0, &[])),
    ];
    let mut liars = Vec::new();
    for (once, ever) in &lies {
        // As fast as can be, which HTTP/2's windows put an end to; and so slowly that nothing does but our own limits.
        for is_slow in [false, true] {
            let id = api.create_running(from_nothing()).await;
            says(&local, &id, once, ever);
            if is_slow {
                fs::write(local.directory_of(&id).join("ws/slowly"), "").unwrap();
            }
            liars.push(id);
        }
    }
    let server = local.server().serving();
    let before = peak(server);
    let asked = liars.iter().flat_map(|id| [id; 3]).map(async |id| {
        let mut operations = api.operations_of(id).await;
        operations.exec(command()).await.unwrap_err()
    });
    for refused in join_all(asked).await {
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    let grown = peak(server).saturating_sub(before);
    assert!(grown < 64 << 20, "the server has taken {grown} bytes");
    assert_eq!(api.run(&honest, "true").await.exit_code, 3);
    for id in liars.iter().chain([&honest]) {
        api.delete_whole(id).await;
        local.is_gone(id).await;
    }
}

/// What a liar would have the API's clients be told, as headers and as trailers.
const INJECTED: [(&str, &str); 6] = [
    ("set-cookie", "liar=1"),
    ("x-liar", "1"),
    ("access-control-allow-origin", "https://liar.example"),
    ("location", "https://liar.example/"),
    ("grpc-status-details-bin", "bGlhcg"),
    ("strict-transport-security", "liar"),
];

fn holds_nothing_of_the_liars(metadata: &MetadataMap) {
    let said = format!("{metadata:?}");
    assert!(!said.contains("liar"), "{said}");
}

#[tokio::test]
async fn no_header_of_a_supervisors_answer_reaches_who_called() {
    let local = server_of_liars().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;

    let trailers = [[("grpc-status", "0")].as_slice(), &INJECTED].concat();
    says(&local, &id, &[begin(&INJECTED), message(&answer()), refusal(&trailers)], &[]);
    let answered = api.operations_of(&id).await.exec(command()).await.unwrap();
    holds_nothing_of_the_liars(answered.metadata());
    assert_eq!(answered.get_ref().stdout, "out");
    let cancelled =
        api.operations_of(&id).await.cancel_exec(CancelExecRequest { operation_id: "any".to_owned() }).await;
    if let Ok(cancelled) = cancelled {
        holds_nothing_of_the_liars(cancelled.metadata());
    }
    assert_no_line(&raw(&local, &api, &id).await);

    // The same in an error, whose text tries to end its header.
    let text = "no%0d%0aset-cookie: liar=1%0d%0a%0d%0a<b>";
    let head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "3"), ("grpc-message", text)];
    says(&local, &id, &[refusal(&[head.as_slice(), &INJECTED].concat())], &[]);
    let refused = api.operations_of(&id).await.exec(command()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(!refused.message().contains(char::is_control), "{refused:?}");
    let mut metadata = refused.metadata().clone();
    // The text, as text.
    metadata.remove("grpc-message");
    holds_nothing_of_the_liars(&metadata);
    assert_no_line(&raw(&local, &api, &id).await);
    api.delete_whole(&id).await;
}

/// The head and the body of an answer over HTTP/1.1, where headers are lines.
async fn raw(local: &LocalServer, api: &Api, id: &str) -> String {
    let token = api.environment_token(id).await.unwrap();
    let environment = api.get(id).await.unwrap();
    let url = &environment.status.unwrap().environment_urls.unwrap().ops;
    let path = url.parse::<http::Uri>().unwrap().path().trim_end_matches('/').to_owned();
    let body = r#"{"command":"true"}"#;
    let request = format!(
        "POST {path}/supervisor.v1.EnvironmentOpsService/Exec HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        local.server().address(),
        body.len()
    );
    let answer = http1::send(local.server().address(), request.as_bytes()).await;
    assert!(answer.contains("out") || answer.contains("failed_precondition"), "{answer}");
    answer
}

/// Checks that no line of an answer's head is the liar's.
fn assert_no_line(answer: &str) {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("liar"), "{head}");
    assert!(answer.lines().all(|line| !line.to_lowercase().starts_with("set-cookie")), "{answer}");
}

#[tokio::test]
async fn a_supervisor_is_told_nothing_of_who_calls() {
    let local = server_of_liars().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    says(&local, &id, &[begin(&[]), message(&answer()), end()], &[]);
    let mut request = Request::new(command());
    for (name, value) in [("cookie", "a=b"), ("x-secret", "hunter2"), ("x-forwarded-for", "10.0.0.1")] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    api.operations_of(&id).await.exec(request).await.unwrap();
    let names = eventually("a request is heard", async || {
        let mut names = Vec::new();
        for entry in fs::read_dir(local.directory_of(&id).join("ws")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("heard-") {
                names.extend(headers_in(&path).await);
            }
        }
        Some(names).filter(|names| !names.is_empty())
    })
    .await;
    let usual = ["content-type", "te", "user-agent"];
    let others: Vec<&String> = names.iter().filter(|name| !usual.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(usual.iter().all(|usual| names.iter().any(|name| name == usual)), "{names:?}");
    api.delete_whole(&id).await;
}

/// The names of the headers in what was heard on a connection, as any server would read them.
async fn headers_in(heard: &Path) -> Vec<String> {
    let names = Arc::new(Mutex::new(Vec::new()));
    let heard_names = Arc::clone(&names);
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(&fs::read(heard).unwrap()).await.unwrap();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        heard_names.lock().unwrap().extend(request.headers().keys().map(ToString::to_string));
        std::future::ready(Ok::<_, Infallible>(hyper::Response::new(String::new())))
    });
    let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(server), service);
    // All that there is can be read at once; it has no end that would be worth waiting for.
    let mut connection = std::pin::pin!(connection);
    for _ in 0..10 {
        let _ = futures::poll!(&mut connection);
        tokio::task::yield_now().await;
    }
    names.lock().unwrap().clone()
}
