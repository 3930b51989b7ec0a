//! Suspending users, and letting them act again.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    Store, StoreError, audit, columns,
    organizations::PrincipalRow,
    schema::{environments, principals},
    writing,
};
use crate::domain::{
    audit::{Action, AuditActor, AuditEvent, Subject, SubjectType},
    environment::DesiredPhase,
    ids::{OrganizationId, PrincipalId},
    principal::{PrincipalKind, PrincipalRecord, PrincipalStatus, Role},
};

/// What came of suspending a user, or of taking that back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspension {
    /// It is so from now on.
    Changed,
    /// It was so already; nothing changed.
    Already,
    /// Nobody would be left who could take it back.
    LastAdmin,
    /// Whoever asks is suspended by now.
    ActorSuspended,
    /// There is no such user in the organization.
    NotFound,
}

/// Whether whoever does something as an admin is one still; nobody changes that until the transaction ends. Who was let in may have been
/// suspended since, or have lost the role. The operator is none of the organization's, and may do all.
pub(super) async fn is_admin_still(connection: &mut AsyncPgConnection, event: &AuditEvent) -> Result<bool, StoreError> {
    let AuditActor::Principal(actor) = &event.actor else { return Ok(true) };
    let found: Option<PrincipalRow> = principals::table
        .find(actor.principal_id.uuid())
        .select(PrincipalRow::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    Ok(found.map(PrincipalRow::record).transpose()?.is_some_and(|found| found.may_administer()))
}

/// Holds on to a principal and to all who are admins, in the order of their IDs: who suspends one admin waits for who
/// suspends another, and then sees how many are left.
async fn hold(
    connection: &mut AsyncPgConnection,
    organization: OrganizationId,
    user: PrincipalId,
) -> Result<Vec<PrincipalRecord>, StoreError> {
    let rows: Vec<PrincipalRow> = principals::table
        .filter(principals::organization_id.eq(organization.uuid()))
        .filter(principals::id.eq(user.uuid()).or(principals::role.eq(columns::role_text(Role::Admin))))
        .order(principals::id)
        .select(PrincipalRow::as_select())
        .for_no_key_update()
        .load(connection)
        .await?;
    rows.into_iter().map(PrincipalRow::record).collect()
}

impl Store {
    /// Suspends a user and stops what runs of theirs, or lets them act again; logs it if that is new.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn user_suspend(
        &self,
        organization: OrganizationId,
        actor: PrincipalId,
        user: PrincipalId,
        suspended: bool,
        event: &AuditEvent,
    ) -> Result<Suspension, StoreError> {
        writing!(self, async |connection| -> Result<Suspension, StoreError> {
            let held = hold(connection, organization, user).await?;
            let is_active = |held: &&PrincipalRecord| held.status == PrincipalStatus::Active;
            // A call that was let in before does nothing after the answer that its caller is suspended.
            if !held.iter().filter(is_active).any(|held| held.id == actor) {
                return Ok(Suspension::ActorSuspended);
            }
            let Some(subject) = held.iter().find(|held| held.id == user && held.kind == PrincipalKind::User) else {
                return Ok(Suspension::NotFound);
            };
            let wanted = if suspended { PrincipalStatus::Suspended } else { PrincipalStatus::Active };
            if subject.status == wanted {
                return Ok(Suspension::Already);
            }
            let others = held.iter().filter(|held| held.may_administer() && held.id != user);
            if suspended && others.count() == 0 {
                return Ok(Suspension::LastAdmin);
            }
            diesel::update(principals::table.find(user.uuid()))
                .set(principals::status.eq(columns::status_text(wanted)))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            if suspended {
                stop_all(connection, user, event).await?;
            }
            Ok(Suspension::Changed)
        })
    }
}

/// Stops what a user's environments run. Nothing can be started meanwhile: that waits for the user's row.
async fn stop_all(connection: &mut AsyncPgConnection, user: PrincipalId, event: &AuditEvent) -> Result<(), StoreError> {
    let running: Vec<Uuid> = environments::table
        .filter(environments::creator_id.eq(user.uuid()))
        .filter(environments::desired_phase.eq(DesiredPhase::Running.as_str()))
        .order(environments::id)
        .select(environments::id)
        .for_no_key_update()
        .load(connection)
        .await?;
    diesel::update(environments::table.filter(environments::id.eq_any(&running)))
        .set((
            environments::desired_phase.eq(DesiredPhase::Stopped.as_str()),
            environments::epoch.eq(environments::epoch + 1),
            environments::status_version.eq(environments::status_version + 1),
            environments::failure_message.eq(None::<String>),
        ))
        .execute(connection)
        .await?;
    for id in running {
        let subject = Subject { subject_type: SubjectType::Environment, id };
        audit::insert(connection, &AuditEvent { action: Action::EnvironmentStop, subject, ..event.clone() }).await?;
    }
    Ok(())
}
