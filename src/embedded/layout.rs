//! What is where in `<data directory>/postgres`, and whose it is.
//!
//! ```text
//! postgres/                 ours (root's); others may only pass
//!   data/                   the cluster (PGDATA), PostgreSQL's own in every respect
//!   initializing-<PID>-<N>/ a cluster that is being made, renamed to data/ when whole
//!   log/                    PostgreSQL's log: one file a weekday, overwritten a week later
//!   socket/                 the Unix socket, unless its path would be too long
//!   config/                 pg_hba.conf and pg_ident.conf: ours, PostgreSQL reads them
//!   start.log, initdb.log   what the programs said before they had a log of their own
//! ```
//!
//! Root writes only where nobody else can, so that a PostgreSQL that was taken over finds no link to lay for root.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::account::Account;
use super::data_directory::DataDirectory;
use super::error::EmbeddedError;
use super::files::{Ownership, create_file, ensure_directory};

/// The paths of one cluster and the accounts that they belong to.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    account: Account,
}

impl Layout {
    /// The layout of this data directory's cluster, which runs as `account`.
    pub(super) fn new(directory: &DataDirectory, account: Account) -> Self {
        Self { root: directory.postgres(), account }
    }

    /// The directory of everything that is PostgreSQL's.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// PGDATA.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The directory of the access rules.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The directory of PostgreSQL's log.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// What `postgres` says before its log is open.
    pub(super) fn start_log(&self) -> PathBuf {
        self.root.join("start.log")
    }

    /// What `initdb` says.
    pub(super) fn initdb_log(&self) -> PathBuf {
        self.root.join("initdb.log")
    }

    /// PostgreSQL's own note of the process that runs the cluster.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Makes the directories, all but PGDATA and the socket's.
    pub(super) fn prepare(&self) -> Result<(), EmbeddedError> {
        let outer = if self.account.is_current() { 0o700 } else { 0o711 };
        ensure_directory(&self.root, Ownership::ours(outer))?;
        ensure_directory(&self.log(), self.of_postgres(0o700))?;
        ensure_directory(&self.config(), self.read_by_postgres(0o750))
    }

    /// A new, empty log file of ours.
    pub(super) fn create_log(&self, path: &Path) -> Result<std::fs::File, EmbeddedError> {
        create_file(path, Ownership::ours(0o600))
    }

    /// Owned by the account that runs PostgreSQL.
    pub(super) fn of_postgres(&self, mode: u32) -> Ownership {
        Ownership { uid: self.account.uid(), gid: self.account.gid(), mode }
    }

    /// Owned by us, with the group of the account that runs PostgreSQL.
    pub(super) fn read_by_postgres(&self, mode: u32) -> Ownership {
        let gid: Gid = if Uid::effective().is_root() { self.account.gid() } else { Gid::effective() };
        Ownership { uid: Uid::effective(), gid, mode }
    }
}
