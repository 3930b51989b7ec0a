//! The real client, with a home of its own and nothing else of this process's environment but `PATH`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::SOON;

/// The client's program.
pub const GITPOD: &str = env!("CARGO_BIN_EXE_gitpod");

/// A person's home, and the server that they use.
pub struct Gitpod {
    home: TempDir,
    variables: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Gitpod {
    /// Somebody who is not signed in.
    pub fn new(url: &str) -> Self {
        let variables = vec![("GITPOD_HOST".to_owned(), url.to_owned())];
        Self { home: TempDir::new().unwrap(), variables }
    }

    /// Somebody who has a token in their environment.
    pub fn with_token(url: &str, token: &str) -> Self {
        let mut gitpod = Self::new(url);
        gitpod.variables.push(("GITPOD_TOKEN".to_owned(), token.to_owned()));
        gitpod
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where a login is kept.
    pub fn credentials(&self) -> PathBuf {
        self.home().join(".config/gitpod/credentials.json")
    }

    /// A program in this person's hands, with `gitpod` in its `PATH`.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let ours = Path::new(GITPOD).parent().unwrap().display();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{ours}:{path}"))
            .env("HOME", self.home())
            .envs(self.variables.iter().cloned())
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the client to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(GITPOD);
        command.args(arguments);
        Ran::of(command).await
    }

    /// The same, when all goes well; gives what it printed.
    pub async fn good(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.ended(0).stdout
    }

    /// The same, as JSON.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let said = self.good(arguments).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
    }
}

impl Ran {
    /// Runs a command to its end; one that does not come to it fails the test.
    pub async fn of(mut command: Command) -> Self {
        // Twice as long as what it waits for may take.
        let output = tokio::time::timeout(SOON * 2, command.output()).await.expect("it ends in time").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks that standard error says something.
    #[track_caller]
    pub fn saying(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        self
    }
}
