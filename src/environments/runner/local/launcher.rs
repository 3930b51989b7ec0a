//! Starts and ends sandboxes. Everything here that needs the rights of the server's first user (making directories that
//! belong to the sandboxes' account, starting processes as it, ending them, control groups) is in this file and the
//! ones it calls, behind [`Launcher`], so that it can go to a process that keeps those rights when the server drops them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{libc, unistd};
use rustix::{
    fs::FlockOperation,
    process::{Resource, Rlimit},
};
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::{
    Account,
    cgroups::{Cgroups, Group},
    command_line::{Ingredients, arguments},
    process::Process,
    state::Directory,
};
use crate::environments::{
    runner::{Failure, FailureKind, Resources},
    supervisor::task::Task,
};

/// How long bubblewrap may take to start a sandbox.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last processes of a killed sandbox may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a task of our own may take: removing millions of files takes a while.
const RUN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Between two looks at what bubblewrap tells in a file: it takes some 10 ms in all.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// `keyctl(2)`: a new session keyring, empty and without a name.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
/// Descriptors that a process in a sandbox may have open: few at first, as programs expect, and some more if they ask.
const DESCRIPTORS: Rlimit = Rlimit { current: Some(1024), maximum: Some(16 * 1024) };
/// The most bytes of a log that are read.
const LOG_BYTES: u64 = 4 * 1024;

/// Starts and ends sandboxes.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) bubblewrap: PathBuf,
    pub(super) account: Option<Account>,
    pub(super) ingredients: Ingredients,
    pub(super) cgroups: Cgroups,
}

impl Launcher {
    /// The user ID that sandboxes run as.
    pub(super) fn owner(&self) -> u32 {
        self.account.map_or_else(|| unistd::geteuid().as_raw(), |account| account.uid)
    }

    /// Makes an environment's directories; those that are there stay as they are.
    pub(super) fn make_directories(&self, directory: &Directory) -> io::Result<()> {
        // The account passes through to what is its own, and sees nothing else.
        self.make_directory(directory.path(), 0o710, false)?;
        self.make_directory(&directory.workspace(), 0o700, true)?;
        self.make_directory(&directory.home(), 0o700, true)?;
        self.make_directory(&directory.run(), 0o711, true)?;
        self.make_directory(&directory.egress(), 0o711, false)
    }

    /// Makes a directory with exactly these permissions, the server's with the account's group, or the account's own.
    pub(super) fn make_directory(&self, path: &Path, mode: u32, is_accounts: bool) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_accounts => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        match self.account {
            Some(account) => std::os::unix::fs::chown(path, is_accounts.then_some(account.uid), Some(account.gid)),
            None => Ok(()),
        }
    }

    /// Makes the control group of an environment, as far as this machine lets the server.
    pub(super) fn limit(&self, directory: &Directory, resources: &Resources) -> Group {
        self.cgroups.prepare(&name(directory), resources)
    }

    /// Starts a sandbox and returns its first process, which may have only begun.
    ///
    /// Dropping the future may leave a sandbox behind: [`Launcher::clear`] finds it.
    pub(super) async fn launch(&self, directory: &Directory, task: &Task, group: Group) -> Result<Process, Failure> {
        let mut child = self.spawn(directory, task, group).await?;
        match tokio::time::timeout(LAUNCH_TIMEOUT, first_process(directory, &mut child)).await {
            Ok(Ok(Some(process))) => Ok(process),
            Ok(Ok(None)) => Err(failed("the sandbox ended at once").with_excerpt(&read_log(directory))),
            Ok(Err(error)) => Err(storage(error)),
            Err(_) => {
                // Without a first process there is nothing but bubblewrap to end; it may be over by itself.
                let _ = child.start_kill();
                Err(failed("the sandbox did not start in time").with_excerpt(&read_log(directory)))
            }
        }
    }

    /// Runs a sandbox to its end, without limits but that of time: for tasks of our own.
    pub(super) async fn run(&self, directory: &Directory, task: &Task) -> Result<(), Failure> {
        let mut child = self.spawn(directory, task, Group::default()).await?;
        match tokio::time::timeout(RUN_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(_)) => Err(failed("the sandbox failed").with_excerpt(&read_log(directory))),
            Ok(Err(error)) => Err(storage(error)),
            Err(_) => {
                self.clear(directory).await?;
                Err(failed("the sandbox did not end in time"))
            }
        }
    }

    async fn spawn(&self, directory: &Directory, task: &Task, group: Group) -> Result<Child, Failure> {
        let task = serde_json::to_string(task).map_err(|error| failed(error.to_string()))?;
        let status_file = open_status(directory).await.map_err(storage)?;
        let status = status_file.as_raw_fd();
        let log = open_log(directory).map_err(storage)?;
        let mut command = Command::new(&self.bubblewrap);
        command.args(arguments(&self.ingredients, directory, &task, status)).env_clear().current_dir("/");
        // No pipe of the server's: the sandbox outlives it.
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(storage)?).stderr(log);
        let account = self.account;
        // SAFETY: system calls alone, on values that were made before the fork.
        unsafe {
            command.pre_exec(move || {
                for mut entrance in &group.entrances {
                    entrance.write_all(b"0")?;
                }
                leave_server(account, status)
            });
        }
        let child = command.spawn().map_err(|error| failed(format!("bubblewrap could not be started: {error}")))?;
        // From here on bubblewrap alone holds the lock.
        drop(status_file);
        Ok(child)
    }

    /// Kills a sandbox and waits until its last process is gone.
    pub(super) async fn end(&self, directory: &Directory, process: &Process) -> Result<(), Failure> {
        process.kill().map_err(|error| not_ended(&error.to_string()))?;
        tokio::time::timeout(END_TIMEOUT, process.gone())
            .await
            .map_err(|_| not_ended("they do not end"))?
            .map_err(|error| not_ended(&error.to_string()))?;
        self.clear(directory).await
    }

    /// Makes sure that nothing of an environment runs: ends what an earlier server started and did not get to write
    /// down. As long as bubblewrap lives it holds a lock, and before the first process may go on, its number is in
    /// the locked file.
    pub(super) async fn clear(&self, directory: &Directory) -> Result<(), Failure> {
        let cleared = async {
            loop {
                if is_unlocked(directory)? {
                    return Ok(());
                }
                if let Some(Status { child_pid: Some(pid), exit_code: None }) = read_status(directory)?
                    && let Some(process) = Process::open(pid)?
                    // While the lock is held, the process has not been collected, nor its number given away.
                    && !is_unlocked(directory)?
                {
                    process.kill()?;
                    process.gone().await?;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let cleared: io::Result<()> =
            tokio::time::timeout(END_TIMEOUT, cleared).await.map_err(|_| not_ended("they do not end"))?;
        cleared.map_err(storage)?;
        self.cgroups.remove(&name(directory)).await;
        Ok(())
    }
}

/// The environment's name in the tree of control groups: that of its directory.
pub(super) fn name(directory: &Directory) -> String {
    directory.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// In the child, between fork and exec: a session of its own, nothing of the server's open, the account's rights.
fn leave_server(account: Option<Account>, status: RawFd) -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: the system call takes two numbers and flags; it closes nothing now, only at exec.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The server has raised its own.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let least = |wanted: Option<u64>| most.map_or(wanted, |most| wanted.map(|wanted| wanted.min(most)));
    let descriptors = Rlimit { current: least(DESCRIPTORS.current), maximum: least(DESCRIPTORS.maximum) };
    rustix::process::setrlimit(Resource::Nofile, descriptors)?;
    // SAFETY: the descriptor is open: it was before the fork, and nothing was closed since.
    if unsafe { libc::fcntl(status, libc::F_SETFD, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Keys that whoever started the server has in the kernel would go in with the session's keyring, and what one sandbox
    // puts there into the next.
    // SAFETY: the system call takes numbers alone, the null pointer among them stands for no name.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    // A kernel without keyrings has nothing to keep.
    if keyring < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
        return Err(io::Error::last_os_error());
    }
    if let Some(account) = account {
        unistd::setgroups(&[])?;
        unistd::setgid(account.gid.into())?;
        unistd::setuid(account.uid.into())?;
    }
    Ok(())
}

/// Opens the status file, empty and locked.
async fn open_status(directory: &Directory) -> io::Result<File> {
    let status = OpenOptions::new().create(true).truncate(false).write(true).open(directory.status())?;
    // Between a fork and an exec anywhere in the server, a child has every descriptor, that of a look at the lock
    // included: what is held by no sandbox is free in a moment.
    let mut attempts = 0;
    loop {
        match rustix::fs::flock(&status, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempts < 1000 => attempts += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    status.set_len(0)?;
    Ok(status)
}

fn open_log(directory: &Directory) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).open(directory.log())
}

/// Waits until bubblewrap tells the first process; none if that is over already.
async fn first_process(directory: &Directory, child: &mut Child) -> io::Result<Option<Process>> {
    loop {
        let is_over = child.try_wait()?.is_some();
        if let Some(Status { child_pid: Some(pid), .. }) = read_status(directory)? {
            return Process::open(pid);
        }
        if is_over {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What bubblewrap tells.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    child_pid: Option<i32>,
    exit_code: Option<i32>,
}

/// Reads what bubblewrap has told so far: JSON documents, a line each; the last one may be under way.
fn read_status(directory: &Directory) -> io::Result<Option<Status>> {
    let text = match fs::read_to_string(directory.status()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Status>(line).ok());
    Ok(lines.reduce(|one, next| Status {
        child_pid: next.child_pid.or(one.child_pid),
        exit_code: next.exit_code.or(one.exit_code),
    }))
}

/// Whether no bubblewrap of this environment lives.
fn is_unlocked(directory: &Directory) -> io::Result<bool> {
    let status = match File::open(directory.status()) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&status, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The beginning of the log; the supervisor's panics and bubblewrap's errors are short.
pub(super) fn read_log(directory: &Directory) -> String {
    let mut text = Vec::new();
    if let Ok(log) = File::open(directory.log()) {
        // What cannot be read says nothing.
        let _ = log.take(LOG_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn failed(message: impl AsRef<str>) -> Failure {
    Failure::new(FailureKind::SandboxFailed, message)
}

fn not_ended(text: &str) -> Failure {
    Failure::new(FailureKind::NotStopped, "the processes of the environment could not be ended").with_excerpt(text)
}

/// An error of the server's own directories.
pub(super) fn storage(error: impl ToString) -> Failure {
    Failure::new(FailureKind::Storage, "the data directory of the server cannot be read or written")
        .with_excerpt(&error.to_string())
}
