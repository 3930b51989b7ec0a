//! Why a server does not start, or ends.

use std::{io, net::SocketAddr};

use super::SigningKeyError;

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another server running? {flag} takes another address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// What the operating system says.
        error: io::Error,
    },
    /// A part of the server that works in the background broke off.
    #[error("a background task broke off; the logs say more")]
    Task,
    /// The embedded PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] crate::embedded::EmbeddedError),
    /// The database URL.
    #[error("the database URL {0}")]
    DatabaseUrl(#[from] crate::store::InvalidDatabaseUrl),
    /// The one besides.
    #[error("the URL of --database-direct-url {0}")]
    DirectDatabaseUrl(crate::store::InvalidDatabaseUrl),
    /// Where they lead.
    #[error(transparent)]
    SelfTest(#[from] crate::store::SelfTestError),
    /// The migrations.
    #[error(transparent)]
    Migrate(#[from] crate::store::MigrateError),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The file of signing keys.
    #[error(transparent)]
    SigningKeys(#[from] SigningKeyError),
    /// The signing keys and the database do not go together.
    #[error(transparent)]
    KeyCheck(#[from] crate::service::KeyCheckError),
    /// The server, a process of its own when root starts it.
    #[error("the server ended ({0}); the logs say more")]
    Server(std::process::ExitStatus),
    /// The local runner.
    #[error("environments cannot run on this machine: {0}")]
    Runner(String),
    /// What the operator asked for cannot be done.
    #[error("{0}")]
    Refused(String),
}
