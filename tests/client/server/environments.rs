//! Environments, and commands in them.

use latchkey::{
    domain::token::CredentialKind,
    pb::{
        gitpod::v1::{environment_service_server::EnvironmentService, *},
        supervisor::v1::{
            CancelExecRequest, CancelExecResponse, ExecRequest, ExecResponse,
            environment_ops_service_server::EnvironmentOpsService,
        },
    },
};
use tonic::{Request, Response, Status};

use super::{Service, environment, mint, new_id, page};
use crate::unserved::unserved;

#[tonic::async_trait]
impl EnvironmentService for Service {
    unserved! {
        update_environment: UpdateEnvironmentRequest => UpdateEnvironmentResponse;
        archive_environment: ArchiveEnvironmentRequest => ArchiveEnvironmentResponse;
        unarchive_environment: UnarchiveEnvironmentRequest => UnarchiveEnvironmentResponse;
        create_environment_from_project: CreateEnvironmentFromProjectRequest => CreateEnvironmentFromProjectResponse;
        create_environment_logs_token: CreateEnvironmentLogsTokenRequest => CreateEnvironmentLogsTokenResponse;
        create_port_access_token: CreatePortAccessTokenRequest => CreatePortAccessTokenResponse;
        allow_port_access: AllowPortAccessRequest => AllowPortAccessResponse;
        mark_environment_active: MarkEnvironmentActiveRequest => MarkEnvironmentActiveResponse;
    }

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        self.answer("CreateEnvironment", |state| {
            state.created.push(request.into_inner());
            let id = state.looks.keys().next().cloned().unwrap_or_else(new_id);
            CreateEnvironmentResponse { environment: Some(environment(&id, EnvironmentPhase::Creating)) }
        })
    }

    async fn get_environment(
        &self,
        request: Request<GetEnvironmentRequest>,
    ) -> Result<Response<GetEnvironmentResponse>, Status> {
        let id = request.into_inner().environment_id;
        self.answer("GetEnvironment", |state| match state.looks.get_mut(&id) {
            None => Err(Status::not_found("there is no environment of yours with this ID")),
            Some(looks) if looks.len() > 1 => looks.pop_front().unwrap(),
            Some(looks) => looks.front().unwrap().clone(),
        })?
        .into_inner()
        .map(|environment| Response::new(GetEnvironmentResponse { environment: Some(environment) }))
    }

    async fn list_environments(
        &self,
        request: Request<ListEnvironmentsRequest>,
    ) -> Result<Response<ListEnvironmentsResponse>, Status> {
        self.answer("ListEnvironments", |state| {
            let (environments, pagination) = page(state, &state.environments, request.into_inner().pagination);
            ListEnvironmentsResponse { pagination, environments, count: None }
        })
    }

    async fn start_environment(
        &self,
        _: Request<StartEnvironmentRequest>,
    ) -> Result<Response<StartEnvironmentResponse>, Status> {
        self.answer("StartEnvironment", |_| StartEnvironmentResponse {})
    }

    async fn stop_environment(
        &self,
        request: Request<StopEnvironmentRequest>,
    ) -> Result<Response<StopEnvironmentResponse>, Status> {
        let known = self.state.lock().unwrap().looks.contains_key(&request.into_inner().environment_id);
        if !known {
            return Err(Status::not_found("there is no environment of yours with this ID"));
        }
        self.answer("StopEnvironment", |_| StopEnvironmentResponse {})
    }

    async fn delete_environment(
        &self,
        _: Request<DeleteEnvironmentRequest>,
    ) -> Result<Response<DeleteEnvironmentResponse>, Status> {
        self.answer("DeleteEnvironment", |_| DeleteEnvironmentResponse {})
    }

    async fn list_environment_classes(
        &self,
        request: Request<ListEnvironmentClassesRequest>,
    ) -> Result<Response<ListEnvironmentClassesResponse>, Status> {
        self.answer("ListEnvironmentClasses", |state| {
            let (environment_classes, pagination) = page(state, &state.classes, request.into_inner().pagination);
            ListEnvironmentClassesResponse { pagination, environment_classes }
        })
    }

    async fn create_environment_access_token(
        &self,
        _: Request<CreateEnvironmentAccessTokenRequest>,
    ) -> Result<Response<CreateEnvironmentAccessTokenResponse>, Status> {
        self.answer("CreateEnvironmentAccessToken", |state| {
            let access_token = mint(CredentialKind::EnvironmentToken);
            state.accepted.push(access_token.clone());
            CreateEnvironmentAccessTokenResponse { access_token }
        })
    }
}

#[tonic::async_trait]
impl EnvironmentOpsService for Service {
    async fn exec(&self, request: Request<ExecRequest>) -> Result<Response<ExecResponse>, Status> {
        let answer = self.answer("Exec", |state| {
            state.execs.push(request.into_inner());
            state.exec_answer.clone()
        })?;
        match answer.into_inner() {
            Some(answer) => Ok(Response::new(answer)),
            None => std::future::pending().await,
        }
    }

    async fn cancel_exec(&self, request: Request<CancelExecRequest>) -> Result<Response<CancelExecResponse>, Status> {
        self.answer("CancelExec", |state| {
            state.cancelled.push(request.into_inner().operation_id);
            CancelExecResponse {}
        })
    }
}
