//! What ends credentials, or changes what they are good for, as PostgreSQL tells it to every server.

use diesel::sql_types::{Integer, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Notifications, Store, StoreError};
use crate::domain::ids::{EnvironmentId, PrincipalId};

/// Announces changes: see the migration.
const CHANNEL: &str = "latchkey_verification";

/// What was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialChange {
    /// Of a token of either kind, and of those that were made from it.
    Token(Uuid),
    /// Of every token of a principal.
    Principal(PrincipalId),
    /// Of every token of an environment.
    Environment(EnvironmentId),
    /// Of any.
    All,
    /// Of none: a heartbeat of this connection's, by its number, has come back.
    Heartbeat(u64),
}

/// A connection on which changes come, and heartbeats, in the order in which they were committed.
pub struct CredentialNotifications {
    notifications: Notifications,
    /// The process of PostgreSQL's at the other end, once it has been asked: what it announces is from here, and nothing else is.
    backend: Option<i32>,
}

#[derive(diesel::QueryableByName)]
struct Beat {
    #[diesel(sql_type = Timestamptz)]
    now: OffsetDateTime,
    #[diesel(sql_type = Integer)]
    backend: i32,
}

impl Store {
    /// Listens for changes from now on, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn listen_for_credential_changes(&self) -> Result<CredentialNotifications, StoreError> {
        let notifications = self.listen(CHANNEL).await?;
        Ok(CredentialNotifications { notifications, backend: None })
    }
}

impl CredentialNotifications {
    /// Waits for the next change, but no longer than until then.
    ///
    /// # Errors
    /// When the connection is lost: what was announced meanwhile is lost with it.
    pub async fn next(&mut self, until: Instant) -> Result<Option<CredentialChange>, StoreError> {
        loop {
            let Some(notification) = self.notifications.next_until(until).await? else { return Ok(None) };
            match notification.payload.strip_prefix("heartbeat ") {
                None => return Ok(Some(read(&notification.payload))),
                Some(number) => {
                    let is_own = self.backend == Some(notification.backend);
                    if let Some(number) = number.parse().ok().filter(|_| is_own) {
                        return Ok(Some(CredentialChange::Heartbeat(number)));
                    }
                }
            }
        }
    }

    /// Sends a heartbeat, which comes back after every change that was committed before. Returns PostgreSQL's time.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn beat(&mut self, number: u64) -> Result<OffsetDateTime, StoreError> {
        let query =
            diesel::sql_query("SELECT clock_timestamp() AS now, pg_backend_pid() AS backend, pg_notify($1, $2)")
                .bind::<Text, _>(CHANNEL)
                .bind::<Text, _>(format!("heartbeat {number}"));
        let (deadline, connection) = self.notifications.by_hand();
        let beat: Beat = tokio::time::timeout(deadline, query.get_result(connection))
            .await
            .map_err(|_| StoreError::Unavailable("the listening connection does not answer".to_owned()))??;
        self.backend = Some(beat.backend);
        Ok(beat.now)
    }
}

/// What cannot be read may mean anything: anybody who may connect may announce it.
fn read(payload: &str) -> CredentialChange {
    let read = payload.split_once(' ').and_then(|(what, id)| match what {
        "token" => id.parse().ok().map(CredentialChange::Token),
        "principal" => id.parse().ok().map(CredentialChange::Principal),
        "environment" => id.parse().ok().map(CredentialChange::Environment),
        _ => None,
    });
    read.unwrap_or(CredentialChange::All)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_change_of_any() {
        let id = Uuid::from_u128(7);
        assert_eq!(read(&format!("token {id}")), CredentialChange::Token(id));
        assert_eq!(read(&format!("principal {id}")), CredentialChange::Principal(id.into()));
        assert_eq!(read(&format!("environment {id}")), CredentialChange::Environment(id.into()));
        for other in ["all".to_owned(), String::new(), "token".to_owned(), "token x".to_owned(), format!("key {id}")] {
            assert_eq!(read(&other), CredentialChange::All, "{other}");
        }
    }
}
