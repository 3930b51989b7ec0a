//! What ends credentials, or changes what they are good for, as PostgreSQL tells it to every server.

use diesel::sql_types::{Double, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Notifications, Place, Store, StoreError, reading};
use crate::domain::ids::{EnvironmentId, HeartbeatId, PrincipalId, SessionId};

/// Announces changes: see the migration.
const CHANNEL: &str = "latchkey_verification";

/// What was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialChange {
    /// Of a token of either kind, and of those that were made from it.
    Token(Uuid),
    /// Of a session.
    Session(SessionId),
    /// Of every token and session of a principal.
    Principal(PrincipalId),
    /// Of every token of an environment.
    Environment(EnvironmentId),
    /// Of any.
    All,
    /// Of none: some server's heartbeat of this name, and PostgreSQL's time when it was sent.
    Heartbeat(HeartbeatId, OffsetDateTime),
}

/// A connection on which changes come, and heartbeats, in the order in which they were committed.
pub struct CredentialNotifications(Notifications);

/// What PostgreSQL says when a heartbeat is sent.
#[derive(Debug, Clone, Copy, diesel::QueryableByName)]
pub struct Beat {
    /// Its time.
    #[diesel(sql_type = Timestamptz)]
    pub now: OffsetDateTime,
    /// The share of its queue of notifications that is taken, by every database of it. When it is full, nothing commits that tells of a
    /// change: no token can be revoked.
    #[diesel(sql_type = Double)]
    pub queue: f64,
}

impl Store {
    /// Listens for changes from now on, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn listen_for_credential_changes(&self) -> Result<CredentialNotifications, StoreError> {
        Ok(CredentialNotifications(self.listen(CHANNEL).await?))
    }

    /// Sends a heartbeat, which comes back to whoever listens after every change that was committed before. Its name is known to
    /// nobody before that.
    ///
    /// It is sent over a connection of the pool, as everything is looked up, and never over the one that listens: what comes back is
    /// told by PostgreSQL of its own accord, as changes are. A pooler in between, which passes on what is told while it is asked, and
    /// drops the rest, would bring back heartbeats and no changes. And if the pool leads to another PostgreSQL by now, none comes back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn credential_heartbeat(&self, name: HeartbeatId) -> Result<Beat, StoreError> {
        reading!(self, |connection| {
            diesel::sql_query(
                "SELECT now, pg_notification_queue_usage() AS queue, pg_notify($1, 'heartbeat ' || $2 || ' ' || (extract(epoch FROM now) * 1000000)::bigint)
                 FROM clock_timestamp() AS now",
            )
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(name.to_string())
            .get_result(connection)
        })
    }
}

impl CredentialNotifications {
    /// Where is listened.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.0.place()
    }

    /// Waits for the next change, but no longer than until then.
    ///
    /// # Errors
    /// When the connection is lost: what was announced meanwhile is lost with it.
    pub async fn next(&mut self, until: Instant) -> Result<Option<CredentialChange>, StoreError> {
        Ok(self.0.next_until(until).await?.map(|notification| read(&notification.payload)))
    }
}

/// What cannot be read may mean anything: anybody who may connect may announce it.
fn read(payload: &str) -> CredentialChange {
    let read = payload.split_once(' ').and_then(|(what, id)| match what {
        "token" => id.parse().ok().map(CredentialChange::Token),
        "session" => id.parse().ok().map(CredentialChange::Session),
        "principal" => id.parse().ok().map(CredentialChange::Principal),
        "environment" => id.parse().ok().map(CredentialChange::Environment),
        "heartbeat" => heartbeat(id),
        _ => None,
    });
    read.unwrap_or(CredentialChange::All)
}

fn heartbeat(text: &str) -> Option<CredentialChange> {
    let (name, microseconds) = text.split_once(' ')?;
    let at = i128::from(microseconds.parse::<i64>().ok()?) * 1000;
    Some(CredentialChange::Heartbeat(name.parse().ok()?, OffsetDateTime::from_unix_timestamp_nanos(at).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_change_of_any() {
        let id = Uuid::from_u128(7);
        assert_eq!(read(&format!("token {id}")), CredentialChange::Token(id));
        assert_eq!(read(&format!("session {id}")), CredentialChange::Session(id.into()));
        assert_eq!(read(&format!("principal {id}")), CredentialChange::Principal(id.into()));
        assert_eq!(read(&format!("environment {id}")), CredentialChange::Environment(id.into()));
        let at = OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(1_500_000);
        assert_eq!(read(&format!("heartbeat {id} 1500000")), CredentialChange::Heartbeat(id.into(), at));
        let bad = ["all", "", "token", "token x", "heartbeat", "heartbeat x 1"].map(str::to_owned);
        let far = format!("heartbeat {id} {}", i64::MAX);
        for other in bad.into_iter().chain([format!("key {id}"), format!("heartbeat {id}"), far]) {
            assert_eq!(read(&other), CredentialChange::All, "{other}");
        }
    }
}
