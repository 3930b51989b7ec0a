//! What reconcilers read and write.

use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper, dsl::now};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::row::EnvironmentRow;
use crate::domain::{
    environment::{DesiredPhase, Environment, Phase},
    ids::{EnvironmentId, RunnerId},
};
use crate::store::{
    Store, StoreError, reading,
    schema::{environments, principals},
    writing,
};

/// What a reconciler writes of an environment, decided on knowing `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseWrite {
    /// The epoch that the decision was made on.
    pub epoch: i64,
    /// Where the environment is now.
    pub phase: Phase,
    /// What went wrong. Giving up: the environment is to stay where it is from now on (stopped).
    pub failure: Option<String>,
    /// The files have come: the branch, if any, and the commit, if any.
    pub content: Option<(Option<String>, Option<String>)>,
    /// What does not hold as it should; an empty one takes the last one back, none leaves it as it was.
    pub warning: Option<String>,
    /// What it fills of the disk; none leaves it as it was last counted.
    pub disk_bytes: Option<i64>,
}

impl PhaseWrite {
    /// A phase, and nothing else.
    #[must_use]
    pub const fn phase(epoch: i64, phase: Phase) -> Self {
        Self { epoch, phase, failure: None, content: None, warning: None, disk_bytes: None }
    }
}

impl Store {
    /// The environments of a runner that are not at rest where they should be, and those that run.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environments_to_reconcile(&self, runner: RunnerId) -> Result<Vec<Environment>, StoreError> {
        let rows: Vec<(EnvironmentRow, String)> = reading!(self, |connection| {
            environments::table
                .inner_join(principals::table)
                .filter(environments::runner_id.eq(runner.uuid()))
                .filter(environments::phase.ne("stopped").or(environments::desired_phase.ne("stopped")))
                .order(environments::id)
                .select((EnvironmentRow::as_select(), principals::kind))
                .load(connection)
        })?;
        rows.into_iter().map(|(row, kind)| row.environment(&kind)).collect()
    }

    /// The IDs of all environments of a runner: whatever else lies in its data directory belongs to none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_ids_of_runner(&self, runner: RunnerId) -> Result<Vec<EnvironmentId>, StoreError> {
        let ids: Vec<Uuid> = reading!(self, |connection| {
            environments::table
                .filter(environments::runner_id.eq(runner.uuid()))
                .select(environments::id)
                .load(connection)
        })?;
        Ok(ids.into_iter().map(EnvironmentId::from).collect())
    }

    /// Writes what a reconciler did. False if somebody changed their mind meanwhile: nothing was written, look again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_phase_write(&self, id: EnvironmentId, write: &PhaseWrite) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let row = environments::table.find(id.uuid()).filter(environments::epoch.eq(write.epoch));
            let mut written = diesel::update(row)
                .set((
                    environments::phase.eq(write.phase.as_str()),
                    environments::status_version.eq(environments::status_version + 1),
                    write.failure.as_ref().map(|failure| {
                        (environments::failure_message.eq(Some(failure)), environments::desired_phase.eq("stopped"))
                    }),
                    write.content.as_ref().map(|(branch, commit)| {
                        (
                            environments::content_ready.eq(true),
                            environments::branch.eq(branch),
                            environments::commit.eq(commit),
                        )
                    }),
                    write.warning.as_ref().map(|warning| {
                        environments::warning_message.eq(Some(warning).filter(|warning| !warning.is_empty()))
                    }),
                    write.disk_bytes.map(|bytes| environments::disk_bytes.eq(bytes)),
                ))
                .execute(connection)
                .await?;
            if written == 1 && write.phase == Phase::Running {
                written = diesel::update(environments::table.find(id.uuid()))
                    .set(environments::last_started_at.eq(now))
                    .execute(connection)
                    .await?;
            }
            Ok(written == 1)
        })
    }

    /// Writes what an environment fills of the disk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_disk_write(&self, id: EnvironmentId, bytes: i64) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::update(environments::table.find(id.uuid()))
                .set(environments::disk_bytes.eq(bytes))
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Removes an environment that is no more, if it is still to be deleted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_remove(&self, id: EnvironmentId) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::delete(
                environments::table
                    .filter(environments::id.eq(id.uuid()))
                    .filter(environments::desired_phase.eq(DesiredPhase::Deleted.as_str())),
            )
            .execute(connection)
            .await?;
            Ok(())
        })
    }
}
