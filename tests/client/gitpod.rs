//! Runs the binary, with a home of its own and nothing else of this process's environment.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// A home directory, removed at the end.
pub(crate) struct Home {
    directory: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.directory.path().join(".config/gitpod/credentials.json")
    }

    pub(crate) fn mode(&self, path: &std::path::Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    /// The client, to be given variables and streams.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gitpod"));
        command.args(arguments).env_clear().env("HOME", self.directory.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs the client to its end.
    pub(crate) async fn gitpod(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments)).await
    }

    /// Runs the client with variables set.
    pub(crate) async fn gitpod_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        run(command).await
    }

    /// Runs the client with standard output led to somewhere else.
    pub(crate) async fn gitpod_into(&self, stdout: impl Into<Stdio>, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        // The command holds the other end of a pipe too.
        drop(command);
        Run::of(child).await
    }

    /// Runs the client with something to read.
    pub(crate) async fn gitpod_reading(&self, input: &str, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        Run::of(child).await
    }
}

async fn run(mut command: Command) -> Run {
    Run::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).await
}

impl From<std::process::Output> for Run {
    fn from(output: std::process::Output) -> Self {
        let std::process::Output { status, stdout, stderr } = output;
        let code = ExitStatus::code(&status);
        Self { code, stdout: String::from_utf8(stdout).unwrap(), stderr: String::from_utf8(stderr).unwrap() }
    }
}

impl Run {
    /// Waits for the end; a client that does not come to one fails the test instead of holding it up.
    pub(crate) async fn of(child: Child) -> Self {
        Self::from(tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap())
    }

    /// Checks the exit code and gives back what was printed.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks that standard error says something.
    #[track_caller]
    pub(crate) fn saying(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
