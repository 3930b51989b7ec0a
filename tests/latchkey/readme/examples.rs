//! README.md's examples in other languages than the shell's, run as they are printed.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
};

use axum::{Router, response::Html, routing::get};
use latchkey::pb::gitpod::v1::ListEnvironmentsRequest;
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};

use super::{
    README,
    blocks::{Block, assert_shows, blocks},
};
use crate::support::{LocalServer, SOON, ServerOptions, eventually};

/// The address that README.md writes.
const ADDRESS: &str = "127.0.0.1:8080";

/// The server and the token that a reader has when they come to the examples, and a directory of theirs.
struct Reader {
    local: LocalServer,
    token: String,
    directory: TempDir,
}

impl Reader {
    async fn new() -> Self {
        Self::with(LocalServer::start().await).await
    }

    async fn with(local: LocalServer) -> Self {
        local.git.add_repository("octocat/Hello-World", &[("README", "Hello World!\n")]);
        let admin = async |args: &[&str]| local.server().admin(&local.database, args).await.unwrap();
        admin(&["create-user", "--email", "admin@localhost", "--name", "Admin", "--admin"]).await;
        let token = admin(&["create-token", "--user", "admin@localhost", "--description", "laptop"]).await;
        let directory = tempfile::Builder::new().prefix("latchkey-example-").tempdir().unwrap();
        Self { token: token.trim().to_owned(), local, directory }
    }

    /// README.md's text with the address of this server.
    fn localize(&self, text: &str) -> String {
        assert!(text.contains(ADDRESS), "the example does not say where the server is:\n{text}");
        text.replace(ADDRESS, self.local.server().address())
    }

    /// Saves an example as a file.
    fn save(&self, name: &str, example: &Block) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, self.localize(&example.text)).unwrap();
        path
    }

    /// Runs a program with the reader's token, and holds what it prints against what is shown of it.
    async fn runs(&self, program: impl AsRef<OsStr>, argument: impl AsRef<OsStr>, example: &Block) {
        assert!(!example.output.is_empty(), "README.md:{} shows no output", example.line);
        let mut command = Command::new(program);
        command.arg(argument).current_dir(self.directory.path()).kill_on_drop(true);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.directory.path());
        command.env("GITPOD_TOKEN", &self.token).env("PYTHONDONTWRITEBYTECODE", "1");
        let ended = tokio::time::timeout(4 * SOON, command.output()).await;
        let Output { status, stdout, stderr } = ended.expect("the example ends in time").expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "README.md:{} fails: {status}\n{stdout}{stderr}", example.line);
        assert_shows(example, &stdout);
    }
}

/// The example in a language.
fn only(language: &str) -> Block {
    let mut found = blocks(README, language);
    assert_eq!(found.len(), 1, "README.md shows one block of {language}: {found:?}");
    found.remove(0)
}

/// Something of the tests' tools.
fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(path.exists(), "{} is missing: run 'make tools'", path.display());
    path
}

#[tokio::test]
async fn the_example_in_python_works() {
    let (reader, example) = (Reader::new().await, only("python"));
    let script = reader.save("example.py", &example);
    reader.runs(tool("venv/bin/python"), script, &example).await;
    let api = reader.local.api(&reader.token).await;
    eventually("what the example created is gone", async || {
        let listed = api.clone().environments.list_environments(ListEnvironmentsRequest::default()).await.unwrap();
        listed.into_inner().environments.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_example_in_typescript_works() {
    let (reader, example) = (Reader::new().await, only("ts"));
    let script = reader.save("tokens.mjs", &example);
    symlink(tool("node_modules"), reader.directory.path().join("node_modules")).unwrap();
    reader.runs("node", script, &example).await;
}

#[tokio::test]
async fn the_example_in_go_works() {
    let example = blocks(README, "sh").into_iter().find(|block| block.text.contains("\ngo run . "));
    let example = example.expect("README.md says how to run it");
    let lines = |beginning| example.text.lines().filter_map(move |line| line.strip_prefix(beginning));
    // `make tools` has built it: from what README.md shows now?
    let built_from = |name: &str| fs::read_to_string(tool("hello").join(name)).unwrap();
    for (name, shown) in [("main.go", only("go").text), ("buf.gen.yaml", only("yaml").text)] {
        assert_eq!(built_from(name), shown, "{name} has changed since the example was built: run 'make tools'");
    }
    let generated_by = built_from("generate");
    assert!(example.text.contains(&format!("\n{generated_by}")), "it was generated by {generated_by}");
    let modules = built_from("go.mod");
    for module in lines("go mod init ") {
        assert!(modules.contains(&format!("\nmodule {module}\n")), "it was built in another module:\n{modules}");
    }
    for plugin in lines("go get -tool ").flat_map(str::split_whitespace) {
        assert!(modules.contains(&format!("\n\t{plugin}\n")), "it was generated without {plugin}:\n{modules}");
    }
    let reader = Reader::new().await;
    let arguments: Vec<&str> = lines("go run . ").collect();
    let [address] = arguments[..] else { panic!("it takes one argument: {arguments:?}") };
    reader.runs(tool("hello/hello"), reader.localize(address), &example).await;
}

#[tokio::test]
async fn the_example_in_a_browser_works() {
    // A page of another origin, with nothing on it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", get(|| async { Html("<!doctype html><title>Example</title>") }));
    let page = tokio::spawn(async move { axum::serve(listener, router).await });
    let args = vec!["--cors-allowed-origin".to_owned(), origin.clone()];
    let local = LocalServer::start_with(ServerOptions { args, ..ServerOptions::default() }).await;
    let (reader, example) = (Reader::with(local).await, only("js"));
    let script = reader.save("example.js", &example);
    fs::write(reader.directory.path().join("browser.cjs"), include_str!("browser.cjs")).unwrap();
    symlink(tool("node_modules"), reader.directory.path().join("node_modules")).unwrap();
    fs::write(reader.directory.path().join("page"), &origin).unwrap();
    assert!(script.exists());
    reader.runs("node", "browser.cjs", &example).await;
    page.abort();
}
