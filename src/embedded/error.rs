//! What can go wrong with the data directory and the embedded PostgreSQL, told to the operator.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::missing_major::MissingMajor;

/// Every failure of this module. The text of each says what was wrong and what to do about it; none holds a secret
/// (peer authentication has none).
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The operating system refused something on a file or directory.
    #[error("could not {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, as a verb that the path completes.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
    /// No place for the default data directory.
    #[error("this account has no home directory to keep data in: set HOME or XDG_DATA_HOME, or name a data directory")]
    NoHome,
    /// The data directory, or a directory inside it, belongs to another account.
    #[error(
        "{} belongs to the account with ID {owner}, and this process runs as {current}: run Latchkey as that account, \
         or name another data directory",
        path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// The user ID that owns it.
        owner: u32,
        /// The user ID of this process.
        current: u32,
    },
    /// A directory was named that holds something else.
    #[error(
        "{} is not a Latchkey data directory and is not empty (it holds {entry:?}): name an empty or a new directory",
        path.display()
    )]
    NotLatchkeys {
        /// The directory.
        path: PathBuf,
        /// One entry that Latchkey did not make.
        entry: String,
    },
    /// Another server holds the data directory.
    #[error(
        "a Latchkey server{} is already running on {}: stop it first, or name another data directory",
        process(*pid), path.display()
    )]
    ServerRunning {
        /// The data directory.
        path: PathBuf,
        /// The server's process ID, if it could be read.
        pid: Option<i32>,
    },
    /// An administration command holds the data directory, and did not finish in time.
    #[error(
        "{} has been using {} for longer than {waited} s: wait until it has finished, or end it",
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("a latchkey command (PID {pid})")),
        path.display()
    )]
    CommandRunning {
        /// The data directory.
        path: PathBuf,
        /// The command's process ID, if it could be read.
        pid: Option<i32>,
        /// How long it was waited for, in seconds.
        waited: u64,
    },
    /// The user ID of this process has no name.
    #[error(
        "the user ID {uid} has no name on this machine (no entry in /etc/passwd), and PostgreSQL knows accounts by \
         name: add one, or run Latchkey as an account that has one"
    )]
    NamelessAccount {
        /// The user ID.
        uid: u32,
    },
    /// An account was named that does not exist.
    #[error(
        "there is no account {name:?} on this machine: the package `postgresql` makes the account postgres \
         (apt-get install postgresql), another one is made with `useradd --system {name}`"
    )]
    NoSuchAccount {
        /// The name.
        name: String,
    },
    /// The account that was to run PostgreSQL is root.
    #[error("PostgreSQL refuses to run as root: name an unprivileged account for it, such as postgres")]
    RootAccount,
    /// An account that is not root was asked to let others in.
    #[error("only a server started as root can let other accounts ({name}) connect to its PostgreSQL")]
    AccountsNeedRoot {
        /// The first account that was named.
        name: String,
    },
    /// An account name that PostgreSQL's map of accounts cannot hold.
    #[error("the account name {name:?} has characters that PostgreSQL's map of accounts cannot hold")]
    AccountName {
        /// The name.
        name: String,
    },
    /// A setting that may not be given or cannot be passed on.
    #[error("the PostgreSQL setting {name:?} cannot be set here: {why}")]
    Setting {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// PostgreSQL is not installed.
    #[error(
        "PostgreSQL ({oldest} or later) is not installed here (looked in {looked}): install it \
         (apt-get install postgresql), or give LATCHKEY_DATABASE_URL to use a PostgreSQL elsewhere"
    )]
    NotInstalled {
        /// The oldest major version that will do.
        oldest: u32,
        /// Where it was looked for.
        looked: String,
    },
    /// The data belongs to a major version that is not installed.
    #[error("{0}")]
    MissingMajor(Box<MissingMajor>),
    /// The files of the cluster are not as PostgreSQL and Latchkey leave them.
    #[error("the database in {} is damaged: {why}; restore it from a backup", path.display())]
    Damaged {
        /// PostgreSQL's data directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The account that runs PostgreSQL cannot reach the data directory.
    #[error(
        "the account {account} may not pass through {}, and its PostgreSQL is to keep its files below: \
         `chmod a+x {}`, or name another data directory", closed.display(), closed.display()
    )]
    CannotEnter {
        /// The account's name.
        account: String,
        /// The directory that is closed to it.
        closed: PathBuf,
    },
    /// A program of PostgreSQL could not be started.
    #[error("could not run {} as the account {account}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The account's name.
        account: String,
        /// Why not.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("PostgreSQL could not make a new database in {} ({status}); it said:\n{output}", path.display())]
    Initialize {
        /// Where the database was to be.
        path: PathBuf,
        /// How `initdb` ended.
        status: String,
        /// The last lines of its output.
        output: String,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full: make room there and start again; PostgreSQL said:\n{output}", path.display())]
    DiskFull {
        /// The directory.
        path: PathBuf,
        /// The last lines of PostgreSQL's output.
        output: String,
    },
    /// PostgreSQL ended before it was ready.
    #[error("PostgreSQL ended before it was ready ({status}); the last lines of its log:\n{log}")]
    StartFailed {
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// PostgreSQL was not ready in time.
    #[error(
        "PostgreSQL (PID {pid}) was not ready after {waited} s; it goes on in the background, perhaps recovering from \
         a crash: start again to wait longer; the last lines of its log:\n{log}"
    )]
    StartTimeout {
        /// The postmaster's process ID.
        pid: i32,
        /// How long it was waited for, in seconds.
        waited: u64,
        /// The last lines of its log.
        log: String,
    },
    /// No PostgreSQL of this data directory answers.
    #[error(
        "no PostgreSQL of {} answered within {waited} s ({why}): see the log of the Latchkey server that runs it",
        path.display()
    )]
    NotAnswering {
        /// The data directory.
        path: PathBuf,
        /// How long it was waited for, in seconds.
        waited: u64,
        /// The last reason.
        why: String,
    },
    /// PostgreSQL answered with an error while it was set up.
    #[error("PostgreSQL refused to {action}: {message}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// PostgreSQL's message.
        message: String,
        /// The error itself.
        source: tokio_postgres::Error,
    },
    /// PostgreSQL did not answer while it was set up.
    #[error("PostgreSQL did not answer within {waited} s while it was to {action}")]
    Silent {
        /// What was tried.
        action: &'static str,
        /// How long it was waited for, in seconds.
        waited: u64,
    },
    /// The postmaster could not be signalled.
    #[error(
        "could not signal PostgreSQL (PID {pid}, account {account}): {source}; a server that has given up root leaves \
         it running, and the next start adopts it"
    )]
    Signal {
        /// The postmaster's process ID.
        pid: i32,
        /// The account that it runs as.
        account: String,
        /// Why not.
        source: io::Error,
    },
    /// PostgreSQL would not stop.
    #[error("PostgreSQL (PID {pid}) did not stop, not even at once (SIGQUIT): see its log in {}", log.display())]
    StopFailed {
        /// The postmaster's process ID.
        pid: i32,
        /// Where its log is.
        log: PathBuf,
    },
    /// A lock of another data directory was handed in.
    #[error("the lock of {} does not guard {}", locked.display(), wanted.display())]
    WrongLock {
        /// The directory that is locked.
        locked: PathBuf,
        /// The directory that should be.
        wanted: PathBuf,
    },
    /// The runtime is shutting down.
    #[error("the work was cut short because the process is ending")]
    Cancelled,
}

impl EmbeddedError {
    /// Turns an `io::Error` on a path into ours: `.map_err(EmbeddedError::io("create", path))`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// An error of PostgreSQL's, with its message spelled out (the crate's own text is just "db error").
    pub(super) fn refused(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Refused { action, message: postgres_message(&source), source }
    }
}

/// What PostgreSQL, or the way to it, said.
pub(super) fn postgres_message(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// How a process ended, in words; nobody knows it of a process that was somebody else's child.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "how is not known".to_owned(), |status| status.to_string())
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (PID {pid})"))
}

fn hint(source: &io::Error) -> &'static str {
    let is = |kind| source.kind() == kind;
    if is(io::ErrorKind::PermissionDenied) {
        ": run Latchkey as an account that may, or name another data directory"
    } else if is(io::ErrorKind::StorageFull) || is(io::ErrorKind::QuotaExceeded) {
        ": make room there and start again"
    } else if is(io::ErrorKind::ReadOnlyFilesystem) {
        ": name a data directory that can be written to"
    } else {
        ""
    }
}
