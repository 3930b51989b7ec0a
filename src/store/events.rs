//! Events of environments, as PostgreSQL tells them to every server.

use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Notifications, Store, StoreError, reading, schema::environments};
use crate::domain::{
    event::{Event, Operation},
    ids::{EnvironmentId, OrganizationId, PrincipalId},
};

/// Announces events: see the migration.
const CHANNEL: &str = "latchkey_events";

/// A connection on which events come.
pub struct EventNotifications(Notifications);

impl EventNotifications {
    /// Waits for the next event.
    ///
    /// # Errors
    /// When the connection is lost: what happened meanwhile is lost with it.
    pub async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            let notification = self.0.next().await?;
            match read(&notification.payload) {
                Some(event) => return Ok(event),
                // Anybody who may connect may announce anything.
                None => tracing::warn!("an event that cannot be read is passed over"),
            }
        }
    }
}

impl Store {
    /// Listens for events from now on, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn listen_for_events(&self) -> Result<EventNotifications, StoreError> {
        self.listen(CHANNEL).await.map(EventNotifications)
    }

    /// Who made which of these environments of an organization; those that are not there are missing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_creators(
        &self,
        organization: OrganizationId,
        ids: &[EnvironmentId],
    ) -> Result<Vec<(EnvironmentId, PrincipalId)>, StoreError> {
        let rows: Vec<(Uuid, Uuid)> = reading!(self, |connection| {
            environments::table
                .filter(environments::organization_id.eq(organization.uuid()))
                .filter(environments::id.eq_any(ids.iter().map(|id| id.uuid())))
                .select((environments::id, environments::creator_id))
                .load(connection)
        })?;
        Ok(rows.into_iter().map(|(id, creator)| (id.into(), creator.into())).collect())
    }
}

fn read(payload: &str) -> Option<Event> {
    let mut words = payload.split(' ');
    let event = Event {
        organization_id: words.next()?.parse().ok()?,
        creator_id: words.next()?.parse().ok()?,
        operation: match words.next()? {
            "create" => Operation::Create,
            "update" => Operation::Update,
            "update_status" => Operation::UpdateStatus,
            "delete" => Operation::Delete,
            _ => return None,
        },
        environment_id: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_none() {
        let id = Uuid::nil();
        assert!(read(&format!("{id} {id} delete {id}")).is_some());
        for payload in [
            String::new(),
            format!("{id} {id} delete"),
            format!("{id} {id} burn {id}"),
            format!("{id} {id} create {id} x"),
        ] {
            assert_eq!(read(&payload), None, "{payload}");
        }
    }
}
