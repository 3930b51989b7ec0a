//! Changes of environments that no runner has to do with: their names, and whether they are archived.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl,
    dsl::sql,
    sql_types::{Nullable, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::EnvironmentChange;
use crate::domain::{
    audit::AuditEvent,
    environment::DesiredPhase,
    ids::{EnvironmentId, OrganizationId, PrincipalId},
};
use crate::store::{Store, StoreError, audit, schema::environments, writing};

/// What is known of an environment that nobody else changes until the transaction ends.
struct Held {
    creator_id: Uuid,
    name: String,
    desired_phase: String,
    archived_at: Option<OffsetDateTime>,
}

impl Held {
    fn is_to_be(&self, desired: DesiredPhase) -> bool {
        self.desired_phase == desired.as_str()
    }
}

/// Holds on to an environment of an organization; of one creator, if one is given.
async fn hold(
    connection: &mut AsyncPgConnection,
    organization: OrganizationId,
    creator: Option<PrincipalId>,
    id: EnvironmentId,
) -> Result<Option<Held>, StoreError> {
    let row: Option<(Uuid, String, String, Option<OffsetDateTime>)> = environments::table
        .filter(environments::id.eq(id.uuid()))
        .filter(environments::organization_id.eq(organization.uuid()))
        .select((environments::creator_id, environments::name, environments::desired_phase, environments::archived_at))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    let held =
        row.map(|(creator_id, name, desired_phase, archived_at)| Held { creator_id, name, desired_phase, archived_at });
    Ok(held.filter(|held| creator.is_none_or(|creator| creator.uuid() == held.creator_id)))
}

impl Store {
    /// Gives an environment another name, and logs it if it is another one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_rename(
        &self,
        organization: OrganizationId,
        creator: Option<PrincipalId>,
        id: EnvironmentId,
        name: Option<&str>,
        event: &AuditEvent,
    ) -> Result<EnvironmentChange, StoreError> {
        writing!(self, async |connection| -> Result<EnvironmentChange, StoreError> {
            let Some(held) = hold(connection, organization, creator, id).await? else {
                return Ok(EnvironmentChange::NotFound);
            };
            if held.is_to_be(DesiredPhase::Deleted) {
                return Ok(EnvironmentChange::Deleting);
            }
            let Some(name) = name.filter(|name| *name != held.name) else { return Ok(EnvironmentChange::Already) };
            diesel::update(environments::table.find(id.uuid()))
                .set((environments::name.eq(name), environments::status_version.eq(environments::status_version + 1)))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(EnvironmentChange::Changed)
        })
    }

    /// Archives an environment that is not to run, or takes that back, and logs it if that is new.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_archive(
        &self,
        organization: OrganizationId,
        creator: Option<PrincipalId>,
        id: EnvironmentId,
        archived: bool,
        event: &AuditEvent,
    ) -> Result<EnvironmentChange, StoreError> {
        writing!(self, async |connection| -> Result<EnvironmentChange, StoreError> {
            let Some(held) = hold(connection, organization, creator, id).await? else {
                return Ok(EnvironmentChange::NotFound);
            };
            if held.is_to_be(DesiredPhase::Deleted) {
                return Ok(EnvironmentChange::Deleting);
            }
            if held.archived_at.is_some() == archived {
                return Ok(EnvironmentChange::Already);
            }
            if held.is_to_be(DesiredPhase::Running) {
                return Ok(EnvironmentChange::Runs);
            }
            let at = if archived { "now()" } else { "NULL" };
            diesel::update(environments::table.find(id.uuid()))
                .set((
                    environments::archived_at.eq(sql::<Nullable<Timestamptz>>(at)),
                    environments::status_version.eq(environments::status_version + 1),
                ))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(EnvironmentChange::Changed)
        })
    }
}
