//! Who may run the PostgreSQL of a data directory: one process at a time, by an exclusive `flock` on its lock file.
//!
//! A server holds the lock for as long as it lives, whatever becomes of PostgreSQL. An administration command that finds
//! it held by a server works beside that server, on the server's PostgreSQL; one that finds it free takes it while it
//! works, so that two that start PostgreSQL cannot race. The kernel frees the lock of a process that dies.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::O_NOFOLLOW;
use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

use super::data_directory::DataDirectory;
use super::error::EmbeddedError;

/// How often a lock that is held is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// How long a holder may take to write who it is; the lock itself is taken a moment earlier.
const INTRODUCTION: Duration = Duration::from_millis(500);

/// Proof that this process alone runs the PostgreSQL of a data directory. Dropping it, or dying, frees the directory.
#[derive(Debug)]
pub struct DataDirectoryLock {
    file: File,
    directory: PathBuf,
}

/// How an administration command reaches PostgreSQL.
#[derive(Debug)]
pub enum CommandAccess {
    /// No server runs: the command holds the directory and runs PostgreSQL itself.
    Alone(DataDirectoryLock),
    /// A server runs: its PostgreSQL is used.
    BesideServer {
        /// The server's process ID.
        pid: i32,
    },
}

/// What the lock file says of who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Server(i32),
    Command(i32),
    Unknown,
}

impl DataDirectoryLock {
    /// Takes the lock for a server. A command that holds it is waited for, for at most `wait`.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::ServerRunning`] at once where another server holds it, [`EmbeddedError::CommandRunning`] where
    /// a command does not finish in time.
    pub async fn for_server(directory: &DataDirectory, wait: Duration) -> Result<Self, EmbeddedError> {
        match acquire(directory, "server", wait).await? {
            CommandAccess::Alone(lock) => Ok(lock),
            CommandAccess::BesideServer { pid } => {
                Err(EmbeddedError::ServerRunning { path: directory.path().to_path_buf(), pid: Some(pid) })
            }
        }
    }

    /// Takes the lock for a command if no server holds it. Another command that holds it is waited for, for at most
    /// `wait`.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::CommandRunning`] where the other command does not finish in time.
    pub async fn for_command(directory: &DataDirectory, wait: Duration) -> Result<CommandAccess, EmbeddedError> {
        acquire(directory, "command", wait).await
    }

    /// Whether this is the lock of that directory.
    pub(super) fn guards(&self, directory: &DataDirectory) -> Result<(), EmbeddedError> {
        if self.directory == directory.path() {
            return Ok(());
        }
        let (locked, wanted) = (self.directory.clone(), directory.path().to_path_buf());
        Err(EmbeddedError::WrongLock { locked, wanted })
    }
}

impl DataDirectoryLock {
    /// The lock, held once more: it is free when every holder is gone.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }
}

impl Drop for DataDirectoryLock {
    fn drop(&mut self) {
        // Only so that a later holder is not mistaken for this one; the kernel frees the lock with the descriptor.
        let _ = self.file.set_len(0);
    }
}

async fn acquire(directory: &DataDirectory, role: &str, wait: Duration) -> Result<CommandAccess, EmbeddedError> {
    let path = directory.lock_file();
    let started = Instant::now();
    loop {
        if let Some(file) = try_lock(&path, role).map_err(EmbeddedError::io("lock", &path))? {
            return Ok(CommandAccess::Alone(DataDirectoryLock { file, directory: directory.path().to_path_buf() }));
        }
        let (deadline, pid) = match holder(&path).map_err(EmbeddedError::io("read", &path))? {
            Holder::Server(pid) => return Ok(CommandAccess::BesideServer { pid }),
            Holder::Command(pid) => (wait, Some(pid)),
            Holder::Unknown => (wait.max(INTRODUCTION), None),
        };
        if started.elapsed() >= deadline {
            let path = directory.path().to_path_buf();
            return Err(EmbeddedError::CommandRunning { path, pid, waited: deadline.as_secs() });
        }
        sleep(RETRY).await;
    }
}

/// Takes the lock and writes who holds it, or None if somebody else has it.
fn try_lock(path: &Path, role: &str) -> io::Result<Option<File>> {
    let mut file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Whoever removes and remakes the file meanwhile would otherwise hold 'the' lock beside us.
    let (locked, named) = (file.metadata()?, path.metadata()?);
    if (locked.dev(), locked.ino()) != (named.dev(), named.ino()) {
        return Ok(None);
    }
    file.set_len(0)?;
    writeln!(file, "{role} {}", std::process::id())?;
    Ok(Some(file))
}

fn holder(path: &Path) -> io::Result<Holder> {
    let file = open(path)?;
    let mut content = String::new();
    file.take(64).read_to_string(&mut content)?;
    // What a holder that was killed left there must not be taken for the next one, who is about to write.
    let living = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
    let (role, pid) = content.strip_suffix('\n').and_then(|line| line.split_once(' ')).unwrap_or_default();
    Ok(match (role, pid.parse().ok().filter(living)) {
        ("server", Some(pid)) => Holder::Server(pid),
        ("command", Some(pid)) => Holder::Command(pid),
        (_, _) => Holder::Unknown,
    })
}

fn open(path: &Path) -> io::Result<File> {
    // Not readable for others: whoever can open it can lock it, and keep the server out.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}
