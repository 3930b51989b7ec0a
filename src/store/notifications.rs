//! What PostgreSQL tells of its own accord.

use std::{sync::Arc, time::Duration};

use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures::StreamExt;
use tokio::time::Instant;

use super::{
    Store, StoreError, connect,
    instance::{ELSEWHERE, Settled},
    primaries::Place,
};

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
    place: Place,
    settled: Arc<Settled>,
}

impl Store {
    /// Listens on a channel, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn listen(&self, channel: &'static str) -> Result<Notifications, StoreError> {
        let work = async {
            let (mut connection, place) = connect::connect_somewhere(&self.config.listening())
                .await
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            // Once another was promoted, this one is no more to be believed, even if it is the only one that answers.
            let settled = self.settled.borrow().place.and_then(|settled| settled.primary);
            if let (Some(settled), Some(found)) = (settled, place.primary)
                && settled.is_newer_than(found)
            {
                return Err(StoreError::Unavailable("the primary that was promoted last does not answer".to_owned()));
            }
            diesel::sql_query(format!("LISTEN {channel}")).execute(&mut connection).await?;
            let settled = Arc::clone(&self.settled);
            Ok(Notifications { connection, deadline: self.config.deadline, place, settled })
        };
        self.bounded(self.end(), work).await?
    }
}

impl Notifications {
    /// Where is listened.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Waits for the next notification.
    ///
    /// # Errors
    /// When the connection is lost, or the store's others lead to another PostgreSQL by now: what was announced meanwhile is lost
    /// with it.
    pub async fn next(&mut self) -> Result<Notification, StoreError> {
        let mut settled = self.settled.subscribe();
        loop {
            if !settled.borrow_and_update().allows(self.place.instance) {
                return Err(StoreError::Unavailable(ELSEWHERE.to_owned()));
            }
            let until = Instant::now() + SILENCE;
            let told = tokio::select! {
                told = self.next_until(until) => told?,
                // The sender is there: it is held here.
                _ = settled.changed() => continue,
            };
            if let Some(notification) = told {
                return Ok(notification);
            }
            tokio::time::timeout(self.deadline, diesel::sql_query("SELECT 1").execute(&mut self.connection))
                .await
                .map_err(|_| StoreError::Unavailable("the listening connection does not answer".to_owned()))??;
        }
    }

    /// Waits for the next notification, but no longer than until then, and without a look whether the connection is still there.
    pub(super) async fn next_until(&mut self, until: Instant) -> Result<Option<Notification>, StoreError> {
        let mut stream = std::pin::pin!(self.connection.notifications_stream());
        match tokio::time::timeout_at(until, stream.next()).await {
            Ok(Some(Ok(told))) => Ok(Some(Notification { channel: told.channel, payload: told.payload })),
            Ok(Some(Err(error))) => Err(error.into()),
            Ok(None) => Err(StoreError::Unavailable("the listening connection was closed".to_owned())),
            Err(_elapsed) => Ok(None),
        }
    }
}
