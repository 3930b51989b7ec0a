//! What PostgreSQL tells of its own accord.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures::StreamExt;

use super::{Store, StoreError, connect};

/// How long a connection may say nothing before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Where it was announced.
    pub channel: String,
    /// What was said.
    pub payload: String,
}

/// A connection that listens.
pub struct Notifications {
    connection: AsyncPgConnection,
    deadline: Duration,
}

impl Store {
    /// Listens on a channel, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn listen(&self, channel: &'static str) -> Result<Notifications, StoreError> {
        let work = async {
            let mut connection = connect::connect_serving(&self.config).await?;
            diesel::sql_query(format!("LISTEN {channel}")).execute(&mut connection).await?;
            Ok(Notifications { connection, deadline: self.config.deadline })
        };
        self.bounded(self.end(), work).await?
    }
}

impl Notifications {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// When the connection is lost: what was announced meanwhile is lost with it.
    pub async fn next(&mut self) -> Result<Notification, StoreError> {
        loop {
            let told = {
                let mut stream = std::pin::pin!(self.connection.notifications_stream());
                tokio::time::timeout(SILENCE, stream.next()).await
            };
            match told {
                Ok(Some(Ok(notification))) => {
                    return Ok(Notification { channel: notification.channel, payload: notification.payload });
                }
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(StoreError::Unavailable("the listening connection was closed".to_owned())),
                Err(_silence) => {}
            }
            tokio::time::timeout(self.deadline, diesel::sql_query("SELECT 1").execute(&mut self.connection))
                .await
                .map_err(|_| StoreError::Unavailable("the listening connection does not answer".to_owned()))??;
        }
    }
}
