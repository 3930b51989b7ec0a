//! Counting environments, exactly: whoever is about to add one holds on to what is counted until it is added.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryableByName, sql_query,
    sql_types::{BigInt, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::domain::{
    environment::{Allowance, EnvironmentLimits, LimitKind, LimitReached, LimitScope},
    ids::{OrganizationId, PrincipalId},
    principal::PrincipalStatus,
};
use crate::store::{StoreError, columns, schema::principals};

/// Makes everybody else who would add to a creator's environments, or to the organization's, wait until the transaction
/// ends; gives whether the creator may act. The creator comes first: who asks for a hundred at once waits for themselves, and holds up nobody else meanwhile.
pub(super) async fn hold(
    connection: &mut AsyncPgConnection,
    organization: OrganizationId,
    creator: PrincipalId,
) -> Result<PrincipalStatus, StoreError> {
    let status = principals::table
        .filter(principals::id.eq(creator.uuid()))
        .filter(principals::organization_id.eq(organization.uuid()))
        .select(principals::status)
        .for_no_key_update()
        .first::<String>(connection)
        .await
        .optional()?
        .ok_or(StoreError::NoRow)?;
    // Not the organization's row: to lock it, the serving role would need a right to change it.
    sql_query("SELECT pg_advisory_xact_lock(hashtext('latchkey environments of'), hashtext($1))")
        .bind::<Text, _>(organization.to_string())
        .execute(connection)
        .await?;
    columns::status(&status)
}

/// What there is.
#[derive(Debug, QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub(super) struct Counts {
    #[diesel(sql_type = BigInt)]
    user_existing: i64,
    #[diesel(sql_type = BigInt)]
    user_running: i64,
    #[diesel(sql_type = BigInt)]
    organization_existing: i64,
    #[diesel(sql_type = BigInt)]
    organization_running: i64,
    #[diesel(sql_type = BigInt)]
    user_disk_bytes: i64,
    #[diesel(sql_type = BigInt)]
    organization_disk_bytes: i64,
}

impl Counts {
    /// Counts a creator's environments and the organization's. Exact once they are held.
    pub(super) async fn of(
        connection: &mut AsyncPgConnection,
        organization: OrganizationId,
        creator: PrincipalId,
    ) -> Result<Self, StoreError> {
        let query = "
            SELECT count(*) FILTER (WHERE creator_id = $2) AS user_existing,
                count(*) FILTER (WHERE creator_id = $2 AND desired_phase = 'running') AS user_running,
                count(*) AS organization_existing,
                count(*) FILTER (WHERE desired_phase = 'running') AS organization_running,
                least(coalesce(sum(disk_bytes) FILTER (WHERE creator_id = $2), 0), $3)::bigint AS user_disk_bytes,
                least(coalesce(sum(disk_bytes), 0), $3)::bigint AS organization_disk_bytes
            FROM environments WHERE organization_id = $1";
        let counts = sql_query(query)
            .bind::<SqlUuid, _>(organization.uuid())
            .bind::<SqlUuid, _>(creator.uuid())
            // Many large numbers add up to more than a number of theirs.
            .bind::<BigInt, _>(i64::MAX)
            .get_result(connection)
            .await?;
        Ok(counts)
    }

    /// The limit that stands in the way of one that is new, or is to run from now on, or both.
    pub(super) fn reached(&self, limits: &EnvironmentLimits, is_new: bool, is_to_run: bool) -> Option<LimitReached> {
        let existing = || self.one_more(limits).filter(|_| is_new);
        let running = || self.one_more_running(limits).filter(|_| is_to_run);
        existing().or_else(running).or_else(|| self.more_disk(limits))
    }

    /// The limit that one more environment would break.
    fn one_more(&self, limits: &EnvironmentLimits) -> Option<LimitReached> {
        let existing = |allowance: &Allowance| u64::from(allowance.existing);
        reached(limits, LimitKind::Existing, existing, self.user_existing, self.organization_existing)
    }

    /// The limit that one more running environment would break.
    fn one_more_running(&self, limits: &EnvironmentLimits) -> Option<LimitReached> {
        let running = |allowance: &Allowance| u64::from(allowance.running);
        reached(limits, LimitKind::Running, running, self.user_running, self.organization_running)
    }

    /// The limit that whatever fills more would break.
    fn more_disk(&self, limits: &EnvironmentLimits) -> Option<LimitReached> {
        let bytes = |allowance: &Allowance| allowance.disk_bytes;
        reached(limits, LimitKind::Disk, bytes, self.user_disk_bytes, self.organization_disk_bytes)
    }
}

/// The user's own limit comes first: that is the one that they can do something about by themselves.
fn reached(
    limits: &EnvironmentLimits,
    kind: LimitKind,
    most: impl Fn(&Allowance) -> u64,
    user: i64,
    organization: i64,
) -> Option<LimitReached> {
    let scopes =
        [(LimitScope::User, &limits.user, user), (LimitScope::Organization, &limits.organization, organization)];
    scopes
        .into_iter()
        .map(|(scope, allowance, found)| LimitReached {
            scope,
            kind,
            found: found.unsigned_abs(),
            limit: most(allowance),
        })
        .find(|reached| reached.found >= reached.limit)
}
