//! Commands in environments: what is asked of them is checked here, and carried out by the runner of this server.

use super::{Environments, subject};
use crate::domain::{
    audit::{Action, AuditEvent},
    environment::Phase,
    exec::{
        COMMAND_LIMIT, Command, CommandOutput, DIRECTORY_LIMIT, Held, LONGEST_TIMEOUT, OPERATION_ID_LIMIT, Operations,
        OperationsError,
    },
    ids::EnvironmentId,
    principal::Actor,
};
use crate::service::ServiceError;

impl Environments {
    /// Runs a command. It is in the audit log before it begins.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn exec(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        command: Command,
        rpc: &'static str,
    ) -> Result<(CommandOutput, Held), ServiceError> {
        check_command(&command)?;
        let operations = self.operations(actor, id).await?;
        self.store.audit_act(&AuditEvent::of(actor, Action::EnvironmentExec, rpc, subject(id))).await?;
        tokio::select! {
            output = operations.exec(id, command) => match output {
                Ok(output) => Ok(output),
                // Who suspends a user stops the environment as well, which may be what came first.
                Err(error) => Err(self.standing.has_ended(actor).await.unwrap_or_else(|| error.into())),
            },
            // Dropping the other future ends the command.
            ended = self.standing.ended(actor) => Err(ended),
        }
    }

    /// Ends a command that was started with this operation ID.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn cancel_exec(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        operation_id: String,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        if operation_id.is_empty() {
            return Err(ServiceError::invalid("operation_id", "must not be empty"));
        }
        check_length("operation_id", &operation_id, OPERATION_ID_LIMIT)?;
        let operations = self.operations(actor, id).await?;
        self.store.audit_act(&AuditEvent::of(actor, Action::EnvironmentExecCancel, rpc, subject(id))).await?;
        Ok(operations.cancel(id, operation_id).await?)
    }

    /// Who carries out operations in an environment that is running, on this server's runner.
    async fn operations(&self, actor: &Actor, id: EnvironmentId) -> Result<&dyn Operations, ServiceError> {
        let environment = self
            .store
            .environment_get(actor.organization_id, Some(actor.principal_id), id)
            .await?
            .ok_or_else(|| ServiceError::not_found("environment", id))?;
        if environment.phase != Phase::Running {
            return Err(OperationsError::NotRunning.into());
        }
        match &self.local {
            Some((runner, operations)) if *runner == environment.runner_id => Ok(operations.as_ref()),
            Some(_) | None => Err(OperationsError::Elsewhere.into()),
        }
    }
}

/// What can be said without asking the environment.
fn check_command(command: &Command) -> Result<(), ServiceError> {
    if command.command.trim().is_empty() {
        return Err(ServiceError::invalid("command", "must not be empty"));
    }
    check_length("command", &command.command, COMMAND_LIMIT)?;
    check_length("operation_id", &command.operation_id, OPERATION_ID_LIMIT)?;
    check_length("working_directory", &command.working_directory, DIRECTORY_LIMIT)?;
    for (field, text) in [("command", &command.command), ("working_directory", &command.working_directory)] {
        if text.contains('\0') {
            return Err(ServiceError::invalid(field, "must not contain NUL"));
        }
    }
    if command.timeout > LONGEST_TIMEOUT {
        let problem = format!("must be at most {}", LONGEST_TIMEOUT.as_secs());
        return Err(ServiceError::invalid("timeout_seconds", problem));
    }
    Ok(())
}

fn check_length(field: &'static str, text: &str, limit: usize) -> Result<(), ServiceError> {
    let problem = || ServiceError::invalid(field, format!("has {} bytes, the most are {limit}", text.len()));
    if text.len() > limit { Err(problem()) } else { Ok(()) }
}

impl From<OperationsError> for ServiceError {
    fn from(error: OperationsError) -> Self {
        match error {
            OperationsError::NotRunning => Self::Precondition(error.to_string()),
            OperationsError::TimedOut(_) => Self::TimedOut(error.to_string()),
            OperationsError::Cancelled => Self::Cancelled(error.to_string()),
            OperationsError::Invalid(problem) => refused(problem),
            OperationsError::Exhausted(problem) => Self::Exhausted(problem),
            OperationsError::Elsewhere => Self::unavailable(&OperationsError::Elsewhere.to_string(), "other runner"),
            OperationsError::Unreachable(detail) => {
                Self::unavailable("the environment does not answer; try again, or stop and start it", detail)
            }
        }
    }
}

/// What an environment does not take: it begins with the field's name, if it is about one.
fn refused(text: String) -> ServiceError {
    let about = ["command", "operation_id", "timeout_seconds", "working_directory"]
        .into_iter()
        .find_map(|field| Some((field, text.strip_prefix(field)?.strip_prefix(": ")?)));
    match about {
        Some((field, problem)) => ServiceError::invalid(field, problem),
        None => ServiceError::Precondition(text),
    }
}
