//! Runners and their environment classes.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper,
};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError,
    keyset::{key_of, time_of},
    reading,
    schema::{environment_classes, runners},
    writing,
};
use crate::domain::{
    environment::EnvironmentClass,
    ids::{ClassId, OrganizationId, RunnerId},
    page::{Page, PageRequest},
    runner::Runner,
};

/// A class that a runner offers from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClass {
    /// What people call it; unlike the runner's others.
    pub display_name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Processor time a second of time, in thousandths of a processor.
    pub cpu_millicores: i32,
    /// Memory, in bytes.
    pub memory_bytes: i64,
    /// Processes and threads at once.
    pub processes: i32,
    /// Disk, in bytes.
    pub disk_bytes: i64,
    /// Whether it is taken when a request names none.
    pub is_default: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = environment_classes, check_for_backend(diesel::pg::Pg))]
struct ClassRow {
    id: Uuid,
    runner_id: Uuid,
    display_name: String,
    description: String,
    cpu_millicores: i32,
    memory_bytes: i64,
    processes: i32,
    disk_bytes: i64,
    is_default: bool,
    enabled: bool,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = runners, check_for_backend(diesel::pg::Pg))]
struct RunnerRow {
    id: Uuid,
    name: String,
    created_at: OffsetDateTime,
}

impl From<RunnerRow> for Runner {
    fn from(row: RunnerRow) -> Self {
        Self { id: row.id.into(), name: row.name, created_at: row.created_at }
    }
}

impl From<ClassRow> for EnvironmentClass {
    fn from(row: ClassRow) -> Self {
        Self {
            id: row.id.into(),
            runner_id: row.runner_id.into(),
            display_name: row.display_name,
            description: row.description,
            cpu_millicores: row.cpu_millicores,
            memory_bytes: row.memory_bytes,
            processes: row.processes,
            disk_bytes: row.disk_bytes,
            is_default: row.is_default,
            enabled: row.enabled,
        }
    }
}

impl Store {
    /// Makes a runner known, with its classes. One that is known already stays as it is, and so do classes of the same name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn runner_ensure(
        &self,
        id: RunnerId,
        organization: OrganizationId,
        name: &str,
        classes: &[NewClass],
    ) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::insert_into(runners::table)
                .values((
                    runners::id.eq(id.uuid()),
                    runners::organization_id.eq(organization.uuid()),
                    runners::name.eq(name),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            let rows: Vec<_> = classes
                .iter()
                .map(|class| {
                    (
                        environment_classes::id.eq(ClassId::generate().uuid()),
                        environment_classes::runner_id.eq(id.uuid()),
                        environment_classes::display_name.eq(class.display_name),
                        environment_classes::description.eq(class.description),
                        environment_classes::cpu_millicores.eq(class.cpu_millicores),
                        environment_classes::memory_bytes.eq(class.memory_bytes),
                        environment_classes::processes.eq(class.processes),
                        environment_classes::disk_bytes.eq(class.disk_bytes),
                        environment_classes::is_default.eq(class.is_default),
                    )
                })
                .collect();
            diesel::insert_into(environment_classes::table)
                .values(rows)
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Whether there is such a runner.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn runner_known(&self, id: RunnerId) -> Result<bool, StoreError> {
        reading!(self, |connection| {
            diesel::select(diesel::dsl::exists(runners::table.find(id.uuid()))).get_result(connection)
        })
    }

    /// A runner of an organization.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn runner_get(&self, organization: OrganizationId, id: RunnerId) -> Result<Option<Runner>, StoreError> {
        let row: Option<RunnerRow> = reading!(self, |connection| {
            async {
                let found = runners::table
                    .find(id.uuid())
                    .filter(runners::organization_id.eq(organization.uuid()))
                    .select(RunnerRow::as_select())
                    .first(connection);
                found.await.optional()
            }
        })?;
        Ok(row.map(Runner::from))
    }

    /// A page of the runners of an organization.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn runner_list(
        &self,
        organization: OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Runner>, StoreError> {
        let rows: Vec<RunnerRow> = reading!(self, |connection| {
            let mut query = runners::table
                .filter(runners::organization_id.eq(organization.uuid()))
                .order((runners::created_at.desc(), runners::id.desc()))
                .limit(page.fetch())
                .select(RunnerRow::as_select())
                .into_boxed();
            if let Some(after) = page.after() {
                query = query.filter(
                    runners::created_at
                        .lt(time_of(after))
                        .or(runners::created_at.eq(time_of(after)).and(runners::id.lt(after.id))),
                );
            }
            query.load(connection)
        })?;
        Ok(page
            .page(rows.into_iter().map(Runner::from).collect(), |runner| key_of(runner.created_at, runner.id.uuid())))
    }

    /// The environment classes of an organization, smallest first, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn class_list(&self, organization: OrganizationId) -> Result<Vec<EnvironmentClass>, StoreError> {
        let rows: Vec<ClassRow> = reading!(self, |connection| {
            environment_classes::table
                .inner_join(runners::table)
                .filter(runners::organization_id.eq(organization.uuid()))
                .order((
                    environment_classes::cpu_millicores,
                    environment_classes::memory_bytes,
                    environment_classes::id,
                ))
                .select(ClassRow::as_select())
                .load(connection)
        })?;
        Ok(rows.into_iter().map(EnvironmentClass::from).collect())
    }
}
