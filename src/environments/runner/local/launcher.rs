//! Starts and ends sandboxes, by [`Hands`] of its own or by those of another process, which has kept the rights that this one
//! has given up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
    time::Duration,
};

use rustix::fs::FlockOperation;
use serde::Deserialize;
use tokio::net::unix::pipe;

use super::{
    cgroups::Controller,
    hands::{Hands, Launch},
    monitor,
    process::{Identity, Process},
    state::Directory,
};
use crate::environments::{
    runner::{Failure, FailureKind, Resources},
    supervisor::task::{MeasureTask, Task, places},
};

/// How long bubblewrap may take to start a sandbox.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last processes of a killed sandbox may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a task of our own may take: removing millions of files takes a while.
const RUN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Between two looks at what bubblewrap tells in a file: it takes some 10 ms in all.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// A status file before bubblewrap tells anything: that takes some 200 bytes.
static BLANK: [u8; 4096] = [b' '; 4096];
/// The most bytes of a log that are read.
const LOG_BYTES: u64 = 4 * 1024;

/// Starts and ends sandboxes.
#[derive(Debug, Clone)]
pub(super) enum Launcher {
    /// With the rights of this process.
    Own(Arc<Hands>),
    /// With those of the process at the other end.
    Monitor(monitor::Client),
}

impl Launcher {
    /// The user ID that sandboxes run as.
    pub(super) fn owner(&self) -> u32 {
        match self {
            Self::Own(hands) => hands.owner(),
            Self::Monitor(client) => client.owner(),
        }
    }

    /// Makes an environment's directories; those that are there stay as they are.
    pub(super) async fn make_directories(&self, directory: &Directory) -> io::Result<()> {
        match self {
            Self::Own(hands) => hands.make_directories(directory),
            Self::Monitor(client) => client.make_directories(directory).await,
        }
    }

    /// Makes the control groups of an environment, as far as this machine lets the server. Returns what is not limited.
    pub(super) async fn limit(&self, directory: &Directory, resources: &Resources) -> io::Result<Vec<Controller>> {
        match self {
            Self::Own(hands) => Ok(hands.limit(directory, resources)),
            Self::Monitor(client) => client.limit(directory, resources).await,
        }
    }

    /// Starts a sandbox and returns its first process, which may have only begun.
    ///
    /// Dropping the future may leave a sandbox behind: [`Launcher::clear`] finds it.
    pub(super) async fn launch(
        &self,
        directory: &Directory,
        task: &Task,
        resources: &Resources,
    ) -> Result<Process, Failure> {
        self.start(directory, task, Some(resources), None).await?;
        let at_once = || failed("the sandbox ended at once").with_excerpt(&read_log(directory));
        self.begun(directory).await?.ok_or_else(at_once)
    }

    /// The same, for a task that comes to an end by itself, and tells its standard output how far it is: a pipe of the
    /// server's, which nothing that the task starts ever has, and without which it goes on. No process if it is over already.
    pub(super) async fn launch_telling(
        &self,
        directory: &Directory,
        task: &Task,
        resources: &Resources,
    ) -> Result<(Option<Process>, pipe::Receiver), Failure> {
        let (output, told) = output()?;
        self.start(directory, task, Some(resources), Some(output)).await?;
        Ok((self.begun(directory).await?, told))
    }

    /// The first process of a sandbox that was started; none if that is over already.
    async fn begun(&self, directory: &Directory) -> Result<Option<Process>, Failure> {
        match tokio::time::timeout(LAUNCH_TIMEOUT, first_process(directory)).await {
            Ok(Ok(Some(process))) => {
                if let Err(error) = self.bound(process.identity()).await {
                    tracing::warn!(directory = %directory.path().display(), %error, "a sandbox can use up what is shared by all");
                }
                Ok(Some(process))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(storage(error)),
            Err(_) => Err(not_begun(directory)),
        }
    }

    /// Runs a sandbox to its end, for tasks of our own: without limits but that of time, if none are given.
    pub(super) async fn run(
        &self,
        directory: &Directory,
        task: &Task,
        resources: Option<&Resources>,
    ) -> Result<(), Failure> {
        self.start(directory, task, resources, None).await?;
        self.done(directory).await
    }

    /// Starts a sandbox for a task of our own, without limits, and returns its first process; none if that is over already.
    pub(super) async fn begin(&self, directory: &Directory, task: &Task) -> Result<Option<Process>, Failure> {
        self.start(directory, task, None, None).await?;
        match tokio::time::timeout(LAUNCH_TIMEOUT, first_process(directory)).await {
            Ok(first) => first.map_err(storage),
            Err(_) => Err(not_begun(directory)),
        }
    }

    /// Waits until a task of our own is over, and has done what it was started for. As long as bubblewrap waits for it: if that
    /// was killed, nobody knows how the task ends, nor whether it has.
    pub(super) async fn done(&self, directory: &Directory) -> Result<(), Failure> {
        let ended = async {
            over(directory).await?;
            read_status(directory)
        };
        match tokio::time::timeout(RUN_TIMEOUT, ended).await {
            Ok(Ok(Some(Status { exit_code: Some(0), .. }))) => Ok(()),
            Ok(Ok(_)) => Err(failed("the sandbox failed").with_excerpt(&read_log(directory))),
            Ok(Err(error)) => Err(storage(error)),
            Err(_) => {
                self.clear(directory).await?;
                Err(failed("the sandbox did not end in time"))
            }
        }
    }

    /// Starts a sandbox that counts what an environment's directories hold, and tells its standard output: a pipe of the
    /// server's, which nothing of the environment's ever has. It ends when nobody reads there any more.
    pub(super) async fn start_measuring(&self, directory: &Directory) -> Result<pipe::Receiver, Failure> {
        let (output, told) = output()?;
        let directories = [places::WORKSPACE, places::HOME, places::RUN].map(str::to_owned).to_vec();
        let task = Task::Measure(MeasureTask { directories });
        self.start(directory, &task, None, Some(output)).await?;
        Ok(told)
    }

    async fn start(
        &self,
        directory: &Directory,
        task: &Task,
        resources: Option<&Resources>,
        output: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let status = OwnedFd::from(open_status(directory).await.map_err(storage)?);
        let log = OwnedFd::from(open_log(directory).map_err(storage)?);
        let launch = Launch { directory, task, resources, status, log, output };
        let started = match self {
            Self::Own(hands) => hands.start(launch).map(|mut child| {
                // Collected when it ends, whoever waits for what it does.
                tokio::spawn(async move { child.wait().await });
            }),
            Self::Monitor(client) => client.start(launch).await,
        };
        started.map_err(|error| failed(format!("bubblewrap could not be started: {error}")))
    }

    /// Kills a sandbox and waits until its last process is gone.
    pub(super) async fn end(&self, directory: &Directory, process: &Process) -> Result<(), Failure> {
        self.kill(process.identity()).await.map_err(|error| not_ended(&error.to_string()))?;
        tokio::time::timeout(END_TIMEOUT, process.gone())
            .await
            .map_err(|_| not_ended("they do not end"))?
            .map_err(|error| not_ended(&error.to_string()))?;
        self.clear(directory).await
    }

    /// Kills a process of a sandbox; one that is gone already is no error.
    pub(super) async fn kill(&self, identity: &Identity) -> io::Result<()> {
        match self {
            Self::Own(hands) => hands.kill(identity),
            Self::Monitor(client) => client.kill(identity).await,
        }
    }

    /// Bounds what a sandbox uses of what the kernel counts for all of them.
    async fn bound(&self, identity: &Identity) -> io::Result<()> {
        match self {
            Self::Own(hands) => hands.bound(identity.clone()).await,
            Self::Monitor(client) => client.bound(identity).await,
        }
    }

    /// What sandboxes have written to disks, each by its first process.
    pub(super) async fn written(&self, identities: Vec<Identity>) -> io::Result<Vec<u64>> {
        match self {
            Self::Own(hands) => hands.written(identities).await,
            Self::Monitor(client) => client.written(&identities).await,
        }
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
                    self.kill(process.identity()).await?;
                    process.gone().await?;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let cleared: io::Result<()> =
            tokio::time::timeout(END_TIMEOUT, cleared).await.map_err(|_| not_ended("they do not end"))?;
        cleared.map_err(storage)?;
        if directory.group().is_some() {
            match self {
                Self::Own(hands) => hands.remove_group(directory).await,
                Self::Monitor(client) => client.remove_group(directory).await.map_err(storage)?,
            }
        }
        Ok(())
    }
}

/// A sandbox's standard output, and the server's end of it.
fn output() -> Result<(OwnedFd, pipe::Receiver), Failure> {
    let (sender, receiver) = pipe::pipe().map_err(storage)?;
    Ok((sender.into_blocking_fd().map_err(storage)?, receiver))
}

/// Opens the status file, blank and locked. It keeps the room that it has: on a full disk it might not get any again, and
/// without it nothing of an environment could be removed.
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
    status.set_len(BLANK.len() as u64)?;
    status.write_all_at(&BLANK, 0)?;
    Ok(status)
}

fn open_log(directory: &Directory) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).open(directory.log())
}

/// Waits until bubblewrap tells the first process; none if that is over already.
async fn first_process(directory: &Directory) -> io::Result<Option<Process>> {
    loop {
        let is_over = is_unlocked(directory)?;
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

/// The number of a sandbox's first process, as bubblewrap told it; none if it has not, or has told that it is over.
pub(super) fn first_pid(directory: &Directory) -> io::Result<Option<i32>> {
    let status = read_status(directory)?.filter(|status| status.exit_code.is_none());
    Ok(status.and_then(|status| status.child_pid))
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

/// Waits until no bubblewrap of this environment lives.
pub(super) async fn over(directory: &Directory) -> io::Result<()> {
    while !is_unlocked(directory)? {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
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

pub(super) fn failed(message: impl AsRef<str>) -> Failure {
    Failure::new(FailureKind::SandboxFailed, message)
}

/// Without a first process there is nothing but bubblewrap, which ends by itself.
fn not_begun(directory: &Directory) -> Failure {
    failed("the sandbox did not start in time").with_excerpt(&read_log(directory))
}

fn not_ended(text: &str) -> Failure {
    Failure::new(FailureKind::NotStopped, "the processes of the environment could not be ended").with_excerpt(text)
}

/// An error of the server's own directories.
pub(super) fn storage(error: impl ToString) -> Failure {
    Failure::new(FailureKind::Storage, "the data directory of the server cannot be read or written")
        .with_excerpt(&error.to_string())
}
