//! The data directory, and the PostgreSQL that Latchkey runs for itself when it is given no other.
//!
//! PostgreSQL is made from the system's own programs, is reached by a Unix socket alone, and knows who connects by
//! asking the kernel (peer authentication): there is no password to keep. It runs detached and outlives the server: one
//! that is still alive is adopted. Linux only (pidfd_open(2), `/proc`).
//!
//! In reading order: [`DataDirectory`] and [`DataDirectoryLock`] (who may run it), [`Cluster`] (running it),
//! [`CommandSession`] (both together, for a command). This module imports nothing else of ours.

mod access;
mod account;
mod bootstrap;
mod cluster;
mod command_session;
mod config;
mod connect;
mod data_directory;
mod error;
mod files;
mod initialize;
mod installation;
mod layout;
mod lock;
mod log_tail;
mod missing_major;
mod postmaster;
mod process;
mod settings;
mod socket_directory;

pub use account::Account;
pub use cluster::{Cluster, Start, Stop};
pub use command_session::CommandSession;
pub use config::{ClusterConfig, DATABASE, Role};
pub use data_directory::DataDirectory;
pub use error::EmbeddedError;
pub use lock::{CommandAccess, DataDirectoryLock};
pub use missing_major::MissingMajor;

/// Runs work that may wait for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(EmbeddedError::Cancelled),
        },
    }
}
