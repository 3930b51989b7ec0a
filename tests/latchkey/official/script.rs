//! Runs a case of a client.

use std::{path::Path, process::Output};

use tokio::process::Command;

use crate::support::SOON;

/// The clients.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// `gitpod-sdk` 1.2.0 for Python: Protobuf over Connect.
    Protobuf,
    /// `gitpod-sdk` 0.7.0 for Python: plain JSON over HTTP/1.1.
    Json,
    /// `@gitpod/sdk` for TypeScript: plain JSON.
    TypeScript,
    /// `@connectrpc/connect-web` in Chromium.
    Browser,
}

/// Runs one case of a client's script, with the base URL and the token of somebody, and what else the case takes. Breaks off
/// with what the script said if it failed.
pub(crate) async fn run(client: Client, case: &str, base_url: &str, token: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("target/tools");
    let (program, script) = match client {
        Client::Protobuf => (tools.join("venv/bin/python"), "client_protobuf.py"),
        Client::Json => (tools.join("venv-json/bin/python"), "client_json.py"),
        Client::TypeScript => ("node".into(), "client_typescript.cjs"),
        Client::Browser => ("node".into(), "client_browser.cjs"),
    };
    let mut command = Command::new(program);
    command.arg(root.join("tests/latchkey/official").join(script)).arg(case).args(arguments);
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("PATH", &path).env("BASE_URL", base_url).env("TOKEN", token).kill_on_drop(true);
    let chromium = std::env::split_paths(&path).map(|directory| directory.join("chromium")).find(|file| file.exists());
    command
        .env("CHROMIUM", chromium.expect("chromium is there: run 'make tools'"))
        .env("NODE_PATH", tools.join("node_modules"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::time::timeout(4 * SOON, command.output()).await;
    let Output { status, stdout, stderr } = ended.expect("the client ends in time").expect("the client starts");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{case}: {said}");
    assert!(stdout.ends_with(format!("{case} ends well\n").as_bytes()), "{case} did not come to its end: {said}");
}
