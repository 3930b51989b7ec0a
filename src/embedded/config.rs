//! What can be chosen about the embedded PostgreSQL.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the embedded PostgreSQL; the default is what `latchkey serve` uses.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The directory of PostgreSQL's programs; None looks for the right one.
    pub programs: Option<PathBuf>,
    /// The account that PostgreSQL runs as when this process is root's; otherwise it runs as the account of this process.
    pub postgres_account: String,
    /// Accounts that may connect besides root and the account of this process, such as the one that a server started
    /// as root goes on as. Only root can let others in.
    pub accounts: Vec<String>,
    /// Further settings of PostgreSQL (its `-c name=value`), which win over Latchkey's own. Those that decide who gets
    /// in and where the files are cannot be set. With `fsync=off`, for throw-away data only, a new cluster is not
    /// flushed to disk either.
    pub options: Vec<(String, String)>,
    /// How long a start may take until PostgreSQL answers, recovery from a crash included.
    pub start_deadline: Duration,
    /// How long a fast shutdown may take before it becomes an immediate one (whose next start recovers).
    pub stop_deadline: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            programs: None,
            postgres_account: "postgres".to_owned(),
            accounts: Vec::new(),
            options: Vec::new(),
            start_deadline: Duration::from_secs(120),
            stop_deadline: Duration::from_secs(30),
        }
    }
}

/// As whom to connect to the embedded PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owns the database and migrates it.
    Owner,
    /// Serves: makes nothing, and touches only what migrations grant it.
    Serving,
    /// The superuser: open only to root and to the account that runs PostgreSQL. For bootstrap, and for test suites
    /// that make a database each.
    Superuser,
}

impl Role {
    /// The role's name in PostgreSQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "latchkey_owner",
            Self::Serving => "latchkey_serving",
            Self::Superuser => "postgres",
        }
    }
}

/// The database's name.
pub const DATABASE: &str = "latchkey";
