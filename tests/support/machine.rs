//! A machine for environments: a data directory, a Git server that stands for the world, local runners one after the
//! other. Whatever a failed test leaves running ends with it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use latchkey::{
    domain::{
        environment::{Content, GitSource, GitTarget},
        exec::{Command, CommandOutput, Operations, OperationsError},
        ids::EnvironmentId,
    },
    environments::{
        egress,
        runner::{
            Resources, Runner,
            local::{Account, LocalConfig, LocalRunner},
        },
    },
};
use rustix::{fs::FlockOperation, process::Pid};
use tempfile::TempDir;

use super::git_server::GitServer;

/// Enough for what tests do.
pub(crate) const RESOURCES: Resources =
    Resources { cpu_millicores: 2000, memory_bytes: 2 << 30, processes: 256, disk_bytes: 1 << 30 };

/// The variable that says where the server's program is.
pub(crate) const PROGRAM: &str = "CARGO_BIN_EXE_latchkey";

/// The machine.
pub(crate) struct Machine {
    directory: TempDir,
    pub(crate) git: GitServer,
    pub(crate) config: LocalConfig,
}

impl Machine {
    /// A machine on which `https://github.com/` is a Git server of the test's own.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let git = GitServer::start().await;
        let git_config = directory.path().join("gitconfig");
        fs::write(&git_config, git.rewriting("https://github.com/")).unwrap();
        // An account that nothing else on a machine has.
        let account = rustix::process::geteuid().is_root().then_some(Account { uid: 60_123, gid: 60_123 });
        let config = LocalConfig {
            data_dir: directory.path().to_owned(),
            account,
            server: None,
            binary: program(),
            git_config: Some(git_config),
            own_addresses: Vec::new(),
            clone_timeout: Duration::from_secs(60),
            clone_silence: Duration::from_secs(60),
            egress: egress::Limits::default(),
            // Whatever is free of the disk that tests are on.
            free_space_reserve: Some(0),
        };
        Self { directory, git, config }
    }

    /// Makes `https://github.com/` another server, whose certificate the operator trusts, for runners opened from now on.
    pub(crate) fn lead_to(&self, git: &GitServer) {
        let certificates = self.directory.path().join("ca.pem");
        fs::write(&certificates, git.certificate()).unwrap();
        let rewrite = git.rewriting("https://github.com/");
        let text = format!("{rewrite}[http]\n\tsslCAInfo = {}\n", certificates.display());
        fs::write(self.directory.path().join("gitconfig"), text).unwrap();
    }

    /// A runner on this machine; the one before it must be gone.
    pub(crate) async fn runner(&self) -> LocalRunner {
        LocalRunner::open(self.config.clone()).await.unwrap()
    }

    /// What belongs to an environment.
    pub(crate) fn directory_of(&self, environment: EnvironmentId) -> PathBuf {
        self.environments().join(environment.to_string())
    }

    fn environments(&self) -> PathBuf {
        self.directory.path().join("environments")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Ok(entries) = fs::read_dir(self.environments()) else { return };
        for entry in entries.flatten() {
            for pid in sandbox(&entry.path()).into_iter().chain(counting(&entry.path())) {
                // Gone between the two looks is as good.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// The server's program: where Cargo has put it, unless whoever runs the tests has it elsewhere.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| env!("CARGO_BIN_EXE_latchkey").into(), PathBuf::from)
}

/// The first process of an environment's sandbox, if bubblewrap still holds its lock.
pub(crate) fn sandbox(directory: &Path) -> Option<Pid> {
    first_process(&directory.join("status"))
}

/// The same of the sandbox that an environment is counted in.
pub(crate) fn counting(directory: &Path) -> Option<Pid> {
    first_process(&directory.join("measuring.status"))
}

fn first_process(status: &Path) -> Option<Pid> {
    let file = File::open(status).ok()?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let text = fs::read_to_string(status).ok()?;
    let status: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
    Pid::from_raw(i32::try_from(status.get("child-pid")?.as_i64()?).ok()?)
}

/// Every living process of this machine that has `text` in its command line.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(text).then(|| format!("{}: {line}", entry.file_name().to_string_lossy()))
        })
        .collect()
}

/// Waits until something is so that gives no sign of its own; only a broken test waits for long.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let asking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("still waiting: {what}"));
}

/// The same, of what has to be asked for.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("still waiting: {what}"))
}

/// A repository of the test's own server, under its public name.
pub(crate) fn repository(name: &str, target: GitTarget) -> Content {
    let source = GitSource::new(&format!("https://github.com/{name}"), None, target, None).unwrap();
    Content::Git { source, context_url: None }
}

/// Makes and starts an environment with an empty workspace.
pub(crate) async fn running(runner: &LocalRunner) -> EnvironmentId {
    let environment = EnvironmentId::generate();
    runner.create(environment, &Content::Empty, &RESOURCES).await.unwrap();
    runner.start(environment, &RESOURCES).await.unwrap();
    environment
}

/// A command as it comes from a person.
pub(crate) fn command(text: &str) -> Command {
    Command {
        operation_id: String::new(),
        command: text.to_owned(),
        working_directory: String::new(),
        timeout: Duration::from_secs(60),
    }
}

/// Runs a command that does not fail to run.
pub(crate) async fn exec(runner: &LocalRunner, environment: EnvironmentId, text: &str) -> CommandOutput {
    try_exec(runner, environment, text).await.unwrap()
}

/// Runs a command.
pub(crate) async fn try_exec(
    runner: &LocalRunner,
    environment: EnvironmentId,
    text: &str,
) -> Result<CommandOutput, OperationsError> {
    run(runner, environment, command(text)).await
}

/// Runs any command.
pub(crate) async fn run(
    runner: &LocalRunner,
    environment: EnvironmentId,
    command: Command,
) -> Result<CommandOutput, OperationsError> {
    runner.exec(environment, command).await.map(|(output, _)| output)
}
