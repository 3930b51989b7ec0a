//! What is changed of environments besides the phase that they are to be in.

use super::{Environments, creator, subject};
use crate::domain::{
    audit::{Action, AuditEvent},
    environment::NAME_LIMIT,
    ids::EnvironmentId,
    principal::Actor,
    text,
};
use crate::service::ServiceError;
use crate::store::EnvironmentChange;

impl Environments {
    /// Gives an environment another name, if one is given.
    ///
    /// # Errors
    /// [`ServiceError`]: a precondition when it is being deleted.
    pub async fn update(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        name: Option<&str>,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        if let Some(name) = name {
            text::line(name, NAME_LIMIT).map_err(|problem| ServiceError::invalid("metadata.name", problem))?;
        }
        let event = AuditEvent::of(actor, Action::EnvironmentUpdate, rpc, subject(id));
        let change = self.store.environment_rename(actor.organization_id, creator(actor), id, name, &event).await?;
        outcome(id, change)
    }

    /// Puts an environment aside, or back. One that is there already stays there.
    ///
    /// # Errors
    /// [`ServiceError`]: a precondition when it is to run, and when it is being deleted.
    pub async fn archive(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        archived: bool,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        let action = if archived { Action::EnvironmentArchive } else { Action::EnvironmentUnarchive };
        let event = AuditEvent::of(actor, action, rpc, subject(id));
        let change =
            self.store.environment_archive(actor.organization_id, creator(actor), id, archived, &event).await?;
        outcome(id, change)
    }
}

/// What whoever asked for a change is told of it.
pub(super) fn outcome(id: EnvironmentId, change: EnvironmentChange) -> Result<(), ServiceError> {
    let precondition = |problem: &str| Err(ServiceError::Precondition(problem.to_owned()));
    match change {
        EnvironmentChange::Changed | EnvironmentChange::Already => Ok(()),
        EnvironmentChange::Archived => precondition("the environment is archived; unarchive it first"),
        EnvironmentChange::CreatorSuspended => precondition("the environment's creator is suspended; lift that first"),
        EnvironmentChange::Runs => precondition("the environment is to run; stop it first"),
        EnvironmentChange::Deleting => precondition("the environment is being deleted; create a new one"),
        EnvironmentChange::Limit(reached) => Err(ServiceError::Exhausted(reached.to_string())),
        EnvironmentChange::NotFound => Err(ServiceError::not_found("environment", id)),
    }
}
