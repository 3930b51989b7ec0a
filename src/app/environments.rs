//! What environments run on.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AppError, Database};
use crate::{
    config::Config,
    domain::{
        exec::{Command, CommandOutput, OperationFuture, Operations, OperationsError},
        ids::{EnvironmentId, OrganizationId},
    },
    store::Store,
};

pub(super) async fn start(
    _config: &Config,
    _database: &Database,
    _organization: OrganizationId,
    _store: &Store,
    _stop: &CancellationToken,
    _tasks: &mut JoinSet<()>,
) -> Result<Arc<dyn Operations>, AppError> {
    Ok(Arc::new(NoRunner))
}

/// The answer of a server that runs no environments.
struct NoRunner;

impl Operations for NoRunner {
    fn exec(&self, _environment: EnvironmentId, _command: Command) -> OperationFuture<'_, CommandOutput> {
        Box::pin(async { Err(OperationsError::Elsewhere) })
    }

    fn cancel(&self, _environment: EnvironmentId, _operation_id: String) -> OperationFuture<'_, ()> {
        Box::pin(async { Err(OperationsError::Elsewhere) })
    }
}
