//! The operator's commands, and what a server says that an operator has told too little.

mod listing;
mod migrating;
mod refusals;
mod working;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{LATCHKEY, Ran, TestDatabase, TestServer, server::write_keys};

/// Somebody at the server's machine, who says the same of where the data is with each command.
struct Operator {
    place: Vec<String>,
}

impl Operator {
    /// Of an embedded PostgreSQL.
    fn of_directory(directory: &Directory) -> Self {
        Self { place: vec!["--data-dir".to_owned(), directory.path().display().to_string()] }
    }

    /// Of a PostgreSQL that was there before, as the owner of the tables.
    fn of_database(database: &TestDatabase) -> Self {
        Self { place: vec!["--database-url".to_owned(), database.owner_url()] }
    }

    /// The same, with signing keys.
    fn with_keys(mut self, file: &Path) -> Self {
        self.place.extend(["--signing-keys".to_owned(), file.display().to_string()]);
        self
    }

    /// Runs `latchkey` with these arguments, and then those that say where the data is.
    async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = latchkey();
        command.args(arguments).args(&self.place);
        Ran::of(command).await
    }

    /// Runs `latchkey admin` when all goes well, and without a word of anything else; gives what it printed.
    async fn does(&self, command: &[&str]) -> String {
        let ran = self.run(&[&["admin"], command].concat()).await.ended(0);
        assert!(ran.stderr.is_empty(), "{command:?}: {ran:#?}");
        ran.stdout
    }

    /// Makes a user; gives their ID.
    async fn creates_user(&self, email: &str) -> String {
        let said = self.does(&["create-user", "--email", email]).await;
        assert!(uuid::Uuid::try_parse(said.trim_end()).is_ok() && said.ends_with('\n'), "{said:?}");
        said.trim_end().to_owned()
    }

    /// Makes a token: the text, and nothing else but the end of the line.
    async fn creates_token(&self, email: &str, more: &[&str]) -> String {
        let command = ["create-token", "--user", email, "--description", "for work"];
        let said = self.does(&[&command, more].concat()).await;
        let token = said.strip_suffix('\n').unwrap().to_owned();
        assert!(token.len() == 83 && token.starts_with("gitpod_pat_"), "{said:?}");
        assert!(token["gitpod_pat_".len()..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{said:?}");
        token
    }

    /// What is listed, line by line and field by field.
    async fn lists(&self, more: &[&str]) -> Vec<Vec<String>> {
        let said = self.does(&[&["list-tokens"], more].concat()).await;
        said.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// The IDs of what is listed.
    async fn lists_ids(&self, more: &[&str]) -> Vec<String> {
        self.lists(more).await.into_iter().map(|fields| fields[0].clone()).collect()
    }
}

/// The program, with nothing of this process's environment but where programs are.
fn latchkey() -> Command {
    let mut command = Command::new(LATCHKEY);
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", "/nonexistent").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A data directory. Whatever PostgreSQL a failed test leaves running in it ends with it.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-admin-").tempdir().unwrap();
        // The embedded PostgreSQL passes through it as an account of its own.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn signing_keys(&self) -> PathBuf {
        self.path().join("signing-keys")
    }

    /// The embedded PostgreSQL, if it runs.
    fn postmaster(&self) -> Option<Pid> {
        let note = fs::read_to_string(self.path().join("postgres/data/postmaster.pid")).ok()?;
        let pid: i32 = note.lines().next()?.parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains(self.path().to_str()?).then_some(Pid::from_raw(pid))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster() {
            // Gone meanwhile is as good.
            let _ = kill(postmaster, Signal::SIGQUIT);
        }
    }
}

/// Whether a server takes a token.
async fn takes(server: &TestServer, token: &str) -> bool {
    server.api(token).await.whoami().await.is_ok()
}

/// A file of signing keys in a directory.
fn keys_in(directory: &TempDir, text: &str) -> PathBuf {
    write_keys(directory.path(), text);
    directory.path().join("signing-keys")
}
