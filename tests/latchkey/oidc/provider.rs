//! Providers of a test's own: a real one, and one that says what the test wants.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use crate::support::SOON;

/// What we are called there.
pub(super) const CLIENT_ID: &str = "latchkey";
/// Our secret there.
pub(super) const CLIENT_SECRET: &str = "a secret of 32 characters or more";

/// A program that is a provider. Ends with this value.
pub(crate) struct Provider {
    _child: Child,
    pipes: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    issuer: String,
}

impl Provider {
    /// The real one, with these accounts by their subjects. It answers once it [serves](Self::serve).
    pub(super) async fn real(accounts: Value) -> Self {
        let provider = Self::start("provider.mjs", Value::Null).await;
        provider.tell("accounts", accounts).await;
        provider
    }

    /// The other one.
    pub(super) async fn crooked() -> Self {
        Self::start("crooked.mjs", Value::Null).await
    }

    /// The same by TLS, with a key and a certificate for `localhost`, in PEM.
    pub(super) async fn crooked_by_tls(key: &str, certificate: &str) -> Self {
        Self::start("crooked.mjs", json!({ "key": key, "cert": certificate })).await
    }

    async fn start(script: &str, tls: Value) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("node")
            .arg("--no-warnings")
            .arg(root.join("tests/latchkey/oidc").join(script))
            .env("NODE_PATH", root.join("target/tools/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts: run 'make tools'");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let pipes = Mutex::new((input, BufReader::new(output).lines()));
        let mut provider = Self { _child: child, pipes, issuer: String::new() };
        let listening = provider.tell("listen", tls).await;
        provider.issuer = listening["issuer"].as_str().unwrap().to_owned();
        provider
    }

    /// Its issuer.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Has it serve us, where we are called back by these URLs; `how` says what is unlike the usual.
    pub(super) async fn serve(&self, redirects: &[String], how: Value) {
        let client = json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "redirect_uris": redirects });
        let mut how = how;
        how["client"] = client;
        self.tell("serve", how).await;
    }

    /// Says from now on what is wrong with what it says.
    pub(super) async fn wrong(&self, what: Value) {
        self.tell("wrong", what).await;
    }

    /// Tells it something; what it answers.
    pub(super) async fn tell(&self, command: &str, argument: Value) -> Value {
        let mut pipes = self.pipes.lock().await;
        let (input, output) = &mut *pipes;
        input.write_all(format!("{}\n", json!([command, argument])).as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(SOON, output.next_line()).await.expect("the provider answers in time");
        let answer =
            answer.unwrap().unwrap_or_else(|| panic!("the provider has ended: 'make tools' installs what it needs"));
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer.get("error"), None, "{command}");
        answer["ok"].take()
    }
}
