//! `supervisor.v1.EnvironmentOpsService`: served at an environment's own URL, with a token for that environment.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::caller;
use crate::auth::Caller;
use crate::domain::{
    exec::{Command, CommandOutput, DEFAULT_TIMEOUT},
    ids::EnvironmentId,
};
use crate::pb::supervisor::v1::{
    CancelExecRequest, CancelExecResponse, ExecRequest, ExecResponse,
    environment_ops_service_server::EnvironmentOpsService,
};
use crate::service::{Environments, ServiceError};

/// Serves the operations of environments.
#[derive(Clone)]
pub struct EnvironmentOpsApi {
    environments: Environments,
}

impl EnvironmentOpsApi {
    /// On use cases.
    #[must_use]
    pub const fn new(environments: Environments) -> Self {
        Self { environments }
    }
}

#[tonic::async_trait]
impl EnvironmentOpsService for EnvironmentOpsApi {
    async fn exec(&self, request: Request<ExecRequest>) -> Result<Response<ExecResponse>, Status> {
        let caller = caller(&request)?;
        let environment = environment(&caller)?;
        let request = request.into_inner();
        let timeout = match u64::try_from(request.timeout_seconds) {
            Ok(0) => DEFAULT_TIMEOUT,
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                return Err(ServiceError::Invalid {
                    field: "timeout_seconds",
                    problem: "must not be negative; 0 means the default".to_owned(),
                }
                .into());
            }
        };
        let command = Command {
            operation_id: request.operation_id,
            command: request.command,
            working_directory: request.working_directory,
            timeout,
        };
        let rpc = "supervisor.v1.EnvironmentOpsService/Exec";
        let (output, held) = self.environments.exec(caller.actor(), environment, command, rpc).await?;
        let CommandOutput { exit_code, stdout, stderr } = output;
        let mut response = Response::new(ExecResponse { exit_code, stdout, stderr });
        // Whoever sends the answer lets go of it when it was taken.
        response.extensions_mut().insert(held);
        Ok(response)
    }

    async fn cancel_exec(&self, request: Request<CancelExecRequest>) -> Result<Response<CancelExecResponse>, Status> {
        let caller = caller(&request)?;
        let environment = environment(&caller)?;
        let operation_id = request.into_inner().operation_id;
        let rpc = "supervisor.v1.EnvironmentOpsService/CancelExec";
        self.environments.cancel_exec(caller.actor(), environment, operation_id, rpc).await?;
        Ok(Response::new(CancelExecResponse {}))
    }
}

/// The policy lets nobody in here without a token for an environment.
fn environment(caller: &Caller) -> Result<EnvironmentId, Status> {
    caller.environment().ok_or_else(|| Status::internal("internal error"))
}
