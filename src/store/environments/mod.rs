//! Environments: what principals ask for.

mod change;
mod limits;
mod reconcile;
mod row;

use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, PgTextExpressionMethods, QueryDsl, SelectableHelper,
    dsl::{InnerJoin, IntoBoxed, count_star, sql},
    pg::Pg,
    sql_types::{Bool, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use limits::{Counts, hold};
pub use reconcile::PhaseWrite;
use row::{EnvironmentRow, NewRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, audit,
    error::{TransactionError, not_found},
    keyset::{from_page, key_of, sorting},
    reading,
    schema::{environment_classes, environments, principals, runners},
    writing,
};
use crate::domain::{
    audit::AuditEvent,
    environment::{
        DesiredPhase, Environment, EnvironmentFilter, EnvironmentLimits, EnvironmentTime, LimitReached, NewEnvironment,
    },
    ids::{EnvironmentId, OrganizationId, PrincipalId, RunnerId},
    page::{Order, Page, PageRequest},
    principal::PrincipalStatus,
};

/// Environments with who created them.
type WithCreator<'a> = IntoBoxed<'a, InnerJoin<environments::table, principals::table>, Pg>;

/// An organization's environments that match.
fn matching(organization: OrganizationId, filter: &EnvironmentFilter) -> WithCreator<'_> {
    let mut query = environments::table
        .inner_join(principals::table)
        .filter(environments::organization_id.eq(organization.uuid()))
        .into_boxed();
    query = match filter.creator_ids.as_slice() {
        [] => query,
        // By equality, the index has the order.
        [creator] => query.filter(environments::creator_id.eq(creator.uuid())),
        creators => query.filter(environments::creator_id.eq_any(creators.iter().map(|id| id.uuid()))),
    };
    if !filter.runner_ids.is_empty() {
        query = query.filter(environments::runner_id.eq_any(filter.runner_ids.iter().map(|id| id.uuid())));
    }
    if !filter.session_ids.is_empty() {
        query = query.filter(environments::session_id.eq_any(&filter.session_ids));
    }
    if !filter.phases.is_empty() {
        query = query.filter(environments::phase.eq_any(filter.phases.iter().map(|phase| phase.as_str())));
    }
    query = match filter.archived {
        None => query,
        Some(true) => query.filter(environments::archived_at.is_not_null()),
        Some(false) => query.filter(environments::archived_at.is_null()),
    };
    if let Some(before) = filter.created_before {
        query = query.filter(environments::created_at.lt(before));
    }
    if !filter.search.is_empty() {
        let search = format!("%{}%", filter.search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        query = query.filter(
            environments::name
                .ilike(search.clone())
                .or(sql::<Bool>("coalesce(context_url, '') ILIKE ").bind::<Text, _>(search)),
        );
    }
    query
}

/// Why an environment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentCreateError {
    /// There is no such class in the organization, or environments cannot be made of it.
    #[error("no such class")]
    NoSuchClass,
    /// The organization has no default class.
    #[error("no default class")]
    NoDefaultClass,
    /// Who asks was suspended meanwhile.
    #[error("creator suspended")]
    CreatorSuspended,
    /// There are as many as there may be.
    #[error("{0}")]
    Limit(LimitReached),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for EnvironmentCreateError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl TransactionError for EnvironmentCreateError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unavailable(),
            Self::NoSuchClass | Self::NoDefaultClass | Self::CreatorSuspended | Self::Limit(_) => false,
        }
    }

    fn at_commit(self) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.at_commit()),
            Self::NoSuchClass | Self::NoDefaultClass | Self::CreatorSuspended | Self::Limit(_) => self,
        }
    }
}

/// What came of a change of what is wanted of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentChange {
    /// It is so from now on.
    Changed,
    /// It was so already; nothing changed.
    Already,
    /// It is archived, and starts no more.
    Archived,
    /// Its creator is suspended, and nothing of theirs starts.
    CreatorSuspended,
    /// It is to run, so it cannot be archived.
    Runs,
    /// It is being deleted, and nothing else becomes of it.
    Deleting,
    /// As many run as may.
    Limit(LimitReached),
    /// There is no such environment in that scope.
    NotFound,
}

impl Store {
    /// Makes an environment, of the class asked for or else of the default one, if there may be one more.
    ///
    /// # Errors
    /// [`EnvironmentCreateError`]
    pub async fn environment_create(
        &self,
        new: &NewEnvironment,
        limits: &EnvironmentLimits,
        event: &AuditEvent,
    ) -> Result<Environment, EnvironmentCreateError> {
        writing!(self, async |connection| -> Result<Environment, EnvironmentCreateError> {
            match hold(connection, new.organization_id, new.creator_id).await? {
                PrincipalStatus::Active => {}
                PrincipalStatus::Suspended => return Err(EnvironmentCreateError::CreatorSuspended),
            }
            let counts = Counts::of(connection, new.organization_id, new.creator_id).await?;
            if let Some(reached) = counts.reached(limits, true, new.desired_phase == DesiredPhase::Running) {
                return Err(EnvironmentCreateError::Limit(reached));
            }
            let mut classes = environment_classes::table
                .inner_join(runners::table)
                .filter(runners::organization_id.eq(new.organization_id.uuid()))
                .filter(environment_classes::enabled)
                .select((environment_classes::id, environment_classes::runner_id))
                // With several runners, that of the server that was asked, or else the newest one's default.
                .order((
                    sql::<Bool>("runners.id IS NOT DISTINCT FROM ")
                        .bind::<Nullable<SqlUuid>, _>(new.preferred_runner.map(RunnerId::uuid))
                        .sql(" DESC"),
                    runners::created_at.desc(),
                    runners::id.desc(),
                ))
                .into_boxed();
            classes = match new.class_id {
                Some(id) => classes.filter(environment_classes::id.eq(id.uuid())),
                None => classes.filter(environment_classes::is_default),
            };
            let class: Option<(Uuid, Uuid)> = classes.first(connection).await.optional()?;
            let (class_id, runner_id) = match (class, new.class_id) {
                (Some(class), _) => class,
                (None, Some(_)) => return Err(EnvironmentCreateError::NoSuchClass),
                (None, None) => return Err(EnvironmentCreateError::NoDefaultClass),
            };
            let row: EnvironmentRow = diesel::insert_into(environments::table)
                .values(NewRow::new(new, class_id, runner_id))
                .returning(EnvironmentRow::as_returning())
                .get_result(connection)
                .await?;
            audit::insert(connection, event).await?;
            let creator_kind: String =
                principals::table.find(new.creator_id.uuid()).select(principals::kind).first(connection).await?;
            Ok(row.environment(&creator_kind)?)
        })
    }

    /// One environment of an organization; of one creator, if one is given.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_get(
        &self,
        organization: OrganizationId,
        creator: Option<PrincipalId>,
        id: EnvironmentId,
    ) -> Result<Option<Environment>, StoreError> {
        let row: Option<(EnvironmentRow, String)> = reading!(self, |connection| {
            let mut query = environments::table
                .inner_join(principals::table)
                .filter(environments::id.eq(id.uuid()))
                .filter(environments::organization_id.eq(organization.uuid()))
                .select((EnvironmentRow::as_select(), principals::kind))
                .into_boxed();
            if let Some(creator) = creator {
                query = query.filter(environments::creator_id.eq(creator.uuid()));
            }
            query.first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        row.map(|(row, kind)| row.environment(&kind)).transpose()
    }

    /// A page of an organization's environments, in the order of a time.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_list(
        &self,
        organization: OrganizationId,
        filter: &EnvironmentFilter,
        (by, order): (EnvironmentTime, Order),
        page: &PageRequest,
    ) -> Result<Page<Environment>, StoreError> {
        let time = match by {
            EnvironmentTime::Creation => "environments.created_at",
            EnvironmentTime::Archival => "environments.archived_at",
        };
        let (in_order, later) = sorting(time, "environments.id", order);
        let rows: Vec<(EnvironmentRow, String)> = reading!(self, |connection| {
            let query = matching(organization, filter)
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .select((EnvironmentRow::as_select(), principals::kind));
            from_page!(query, &later, page).load(connection)
        })?;
        let found = rows.into_iter().map(|(row, kind)| row.environment(&kind)).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(found, |environment| {
            key_of(by.of(environment).unwrap_or(environment.created_at), environment.id.uuid())
        }))
    }

    /// How many environments of an organization match.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_count(
        &self,
        organization: OrganizationId,
        filter: &EnvironmentFilter,
    ) -> Result<i64, StoreError> {
        reading!(self, |connection| { matching(organization, filter).select(count_star()).first(connection) })
    }

    /// Says where an environment is to be, and logs it if that is new. Telling one that failed to run is always new. One more
    /// runs only if it may.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_desire(
        &self,
        organization: OrganizationId,
        creator: Option<PrincipalId>,
        id: EnvironmentId,
        desired: DesiredPhase,
        limits: &EnvironmentLimits,
        event: &AuditEvent,
    ) -> Result<EnvironmentChange, StoreError> {
        writing!(self, async |connection| -> Result<EnvironmentChange, StoreError> {
            let of: Option<Uuid> = environments::table
                .filter(environments::id.eq(id.uuid()))
                .filter(environments::organization_id.eq(organization.uuid()))
                .select(environments::creator_id)
                .first(connection)
                .await
                .optional()?;
            // Whose it is never changes, so it may be read before anything is locked.
            let of = of.filter(|of| creator.is_none_or(|creator| creator.uuid() == *of)).map(PrincipalId::from);
            let Some(of) = of else { return Ok(EnvironmentChange::NotFound) };
            let creator_status = match desired {
                DesiredPhase::Running => hold(connection, organization, of).await?,
                DesiredPhase::Stopped | DesiredPhase::Deleted => PrincipalStatus::Active,
            };
            let current: Option<(String, Option<OffsetDateTime>)> = environments::table
                .filter(environments::id.eq(id.uuid()))
                .select((environments::desired_phase, environments::archived_at))
                .for_no_key_update()
                .first(connection)
                .await
                .optional()?;
            let Some((current, archived_at)) = current else { return Ok(EnvironmentChange::NotFound) };
            if current == desired.as_str() {
                return Ok(EnvironmentChange::Already);
            }
            if current == DesiredPhase::Deleted.as_str() {
                return Ok(EnvironmentChange::Deleting);
            }
            if creator_status == PrincipalStatus::Suspended {
                return Ok(EnvironmentChange::CreatorSuspended);
            }
            if desired == DesiredPhase::Running && archived_at.is_some() {
                return Ok(EnvironmentChange::Archived);
            }
            if desired == DesiredPhase::Running
                && let Some(reached) = Counts::of(connection, organization, of).await?.reached(limits, false, true)
            {
                return Ok(EnvironmentChange::Limit(reached));
            }
            // Whoever asks for a start and looks right after must not find it stopped, which is how it looks when it failed.
            let begun = (desired == DesiredPhase::Running).then(|| {
                environments::phase.eq(sql::<Text>(
                    "CASE WHEN phase NOT IN ('stopped', 'stopping') THEN phase WHEN content_ready THEN 'starting' ELSE 'creating' END",
                ))
            });
            diesel::update(environments::table.find(id.uuid()))
                .set((
                    environments::desired_phase.eq(desired.as_str()),
                    environments::epoch.eq(environments::epoch + 1),
                    environments::status_version.eq(environments::status_version + 1),
                    environments::failure_message.eq(None::<String>),
                    begun,
                ))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(EnvironmentChange::Changed)
        })
    }
}
