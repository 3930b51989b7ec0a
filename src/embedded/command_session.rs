//! PostgreSQL for the time of one administration command, beside a running server or without one.

use std::time::Duration;

use super::cluster::{Cluster, Start};
use super::config::ClusterConfig;
use super::data_directory::DataDirectory;
use super::error::EmbeddedError;
use super::lock::{CommandAccess, DataDirectoryLock};

/// A command's hold on PostgreSQL. End it with [`CommandSession::end`]: what the command started is stopped there. A
/// command that dies first leaves PostgreSQL running; the next start adopts it.
#[derive(Debug)]
pub struct CommandSession {
    cluster: Cluster,
    /// Held if no server runs; and whether PostgreSQL is ours to stop.
    alone: Option<(DataDirectoryLock, Start)>,
}

impl CommandSession {
    /// Reaches the PostgreSQL of a running server, or starts it. Waits at most `wait` for another command to finish, or for
    /// a server to finish its start.
    ///
    /// # Errors
    ///
    /// As [`DataDirectoryLock::for_command`], [`Cluster::attach`] and [`Cluster::ensure_running`].
    pub async fn begin(
        directory: &DataDirectory,
        config: ClusterConfig,
        wait: Duration,
    ) -> Result<Self, EmbeddedError> {
        let cluster = Cluster::open(directory, config)?;
        let alone = match DataDirectoryLock::for_command(directory, wait).await? {
            CommandAccess::Alone(lock) => {
                let start = cluster.ensure_running(&lock).await?;
                Some((lock, start))
            }
            CommandAccess::BesideServer { pid: _ } => {
                cluster.attach(wait).await?;
                None
            }
        };
        Ok(Self { cluster, alone })
    }

    /// The cluster, which takes connections.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether a running server's PostgreSQL is used.
    #[must_use]
    pub fn is_beside_server(&self) -> bool {
        self.alone.is_none()
    }

    /// Stops PostgreSQL if this session started it, and leaves it as it was found otherwise.
    ///
    /// # Errors
    ///
    /// As [`Cluster::stop`].
    pub async fn end(self) -> Result<(), EmbeddedError> {
        match self.alone {
            Some((lock, Start::Started)) => self.cluster.stop(&lock).await.map(|_| ()),
            Some((_, Start::Adopted)) | None => Ok(()),
        }
    }
}
