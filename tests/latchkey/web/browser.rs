//! A browser: the real Chromium, without a window.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// One browser, with one page that is looked at. Ends with this value.
pub(crate) struct Browser {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Browser {
    /// Opens one at a server.
    pub(crate) async fn open(url: &str) -> Self {
        Self::open_with(url, json!({})).await
    }

    /// The same with settings of Playwright's `newContext`, such as `javaScriptEnabled`.
    pub(crate) async fn open_with(url: &str, context: Value) -> Self {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
        let mut child = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/latchkey/web/browser.cjs"))
            .env("NODE_PATH", tools.join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is there: .ci/install-packages test");
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut browser = Self { _child: child, input, output, url: url.to_owned() };
        browser.act(json!({ "action": "open", "url": url, "context": context })).await;
        browser
    }

    /// Does what it is told and returns what came of it; panics where that was not possible.
    pub(crate) async fn act(&mut self, what: Value) -> Value {
        self.try_act(what.clone()).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    pub(crate) async fn try_act(&mut self, what: Value) -> Result<Value, String> {
        self.input.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        let line = self.output.next_line().await.unwrap().expect("the browser goes on");
        let mut said: Value = serde_json::from_str(&line).unwrap();
        match said.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(said["ok"].take()),
        }
    }

    /// Goes to a path of the server, or to another URL; the status of the answer.
    pub(crate) async fn goto(&mut self, path: &str) -> u64 {
        self.answer(path).await["status"].as_u64().unwrap()
    }

    /// The same with the headers: `{ status, headers }`.
    pub(crate) async fn answer(&mut self, path: &str) -> Value {
        self.act(json!({ "action": "goto", "url": path })).await
    }

    /// Clicks on a button with exactly this name.
    pub(crate) async fn press(&mut self, name: &str) {
        self.act(json!({ "action": "click", "role": "button", "name": name })).await;
    }

    /// Follows the link with exactly this name.
    pub(crate) async fn follow(&mut self, name: &str) {
        self.act(json!({ "action": "click", "role": "link", "name": name })).await;
    }

    /// Writes into a field.
    pub(crate) async fn fill(&mut self, label: &str, text: &str) {
        self.act(json!({ "action": "fill", "label": label, "text": text })).await;
    }

    /// Chooses what has this name.
    pub(crate) async fn choose(&mut self, selector: &str) {
        self.act(json!({ "action": "check", "selector": selector })).await;
    }

    /// Waits until a text is shown.
    pub(crate) async fn shows(&mut self, text: &str) {
        self.act(json!({ "action": "shows", "text": text })).await;
    }

    /// What is in a field.
    pub(crate) async fn value(&mut self, selector: &str) -> String {
        self.act(json!({ "action": "value", "selector": selector })).await.as_str().unwrap().to_owned()
    }

    /// How many there are.
    pub(crate) async fn count(&mut self, selector: &str) -> u64 {
        self.act(json!({ "action": "count", "selector": selector })).await.as_u64().unwrap()
    }

    /// All that can be read on the page.
    pub(crate) async fn text(&mut self) -> String {
        self.act(json!({ "action": "text" })).await.as_str().unwrap().to_owned()
    }

    /// The page as it is.
    pub(crate) async fn html(&mut self) -> String {
        self.act(json!({ "action": "html" })).await.as_str().unwrap().to_owned()
    }

    /// The path, with its query, of where it is.
    pub(crate) async fn path(&mut self) -> String {
        let url = self.act(json!({ "action": "url" })).await.as_str().unwrap().to_owned();
        url.strip_prefix(&self.url).unwrap_or(&url).to_owned()
    }

    /// Runs a script in the page.
    pub(crate) async fn evaluate(&mut self, script: &str) -> Value {
        self.act(json!({ "action": "evaluate", "script": script })).await
    }

    /// The cookie of that name, as Playwright tells it.
    pub(crate) async fn cookie(&mut self, name: &str) -> Option<Value> {
        let cookies = self.act(json!({ "action": "cookies" })).await;
        cookies.as_array().unwrap().iter().find(|cookie| cookie["name"] == name).cloned()
    }
}
