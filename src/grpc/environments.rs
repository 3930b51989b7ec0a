//! `gitpod.v1.EnvironmentService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, classes, classes::lacks, convert, convert_environment, unsupported};
use crate::domain::{
    environment::{DesiredPhase, EnvironmentFilter, EnvironmentTime, SESSION_ID_LIMIT},
    page::Order,
    text,
};
use crate::pb::gitpod::v1::{
    AllowPortAccessRequest, AllowPortAccessResponse, ArchiveEnvironmentRequest, ArchiveEnvironmentResponse,
    CreateEnvironmentAccessTokenRequest, CreateEnvironmentAccessTokenResponse, CreateEnvironmentFromProjectRequest,
    CreateEnvironmentFromProjectResponse, CreateEnvironmentLogsTokenRequest, CreateEnvironmentLogsTokenResponse,
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreatePortAccessTokenRequest, CreatePortAccessTokenResponse,
    DeleteEnvironmentRequest, DeleteEnvironmentResponse, EnvironmentRole, GetEnvironmentRequest,
    GetEnvironmentResponse, ListEnvironmentClassesRequest, ListEnvironmentClassesResponse, ListEnvironmentsRequest,
    ListEnvironmentsResponse, MarkEnvironmentActiveRequest, MarkEnvironmentActiveResponse, PaginationResponse,
    RunnerKind, StartEnvironmentRequest, StartEnvironmentResponse, StopEnvironmentRequest, StopEnvironmentResponse,
    UnarchiveEnvironmentRequest, UnarchiveEnvironmentResponse, UpdateEnvironmentRequest, UpdateEnvironmentResponse,
    environment_service_server::EnvironmentService, list_environments_request,
};
use crate::service::{CreateEnvironment, Environments, ServiceError};

/// Serves the use cases of environments.
#[derive(Clone)]
pub struct EnvironmentApi {
    environments: Environments,
    public_url: Arc<str>,
}

impl EnvironmentApi {
    /// On use cases; URLs in answers begin with `public_url`, which has no slash at its end.
    #[must_use]
    pub fn new(environments: Environments, public_url: Arc<str>) -> Self {
        Self { environments, public_url }
    }

    async fn desire<T>(
        &self,
        request: &Request<T>,
        id: &str,
        desired: DesiredPhase,
        rpc: &'static str,
    ) -> Result<(), Status> {
        let caller = caller(request)?;
        let id = convert::id("environment_id", id)?;
        Ok(self.environments.desire(caller.actor(), id, desired, rpc).await?)
    }

    async fn archive<T>(
        &self,
        request: &Request<T>,
        id: &str,
        archived: bool,
        rpc: &'static str,
    ) -> Result<(), Status> {
        let caller = caller(request)?;
        let id = convert::id("environment_id", id)?;
        Ok(self.environments.archive(caller.actor(), id, archived, rpc).await?)
    }
}

#[tonic::async_trait]
impl EnvironmentService for EnvironmentApi {
    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let spec = request.spec.unwrap_or_default();
        unsupported::refuse(&spec)?;
        let asked = CreateEnvironment {
            class_id: convert::optional_id("spec.machine.class", &spec.machine.unwrap_or_default().class)?,
            name: request.name.filter(|name| !name.is_empty()),
            content: convert_environment::content(spec.content.unwrap_or_default().initializer)?,
            desired_phase: convert_environment::desired_phase(spec.desired_phase)?,
            annotations: request.annotations.into_iter().collect(),
            session_id: request.session_id,
        };
        let rpc = "gitpod.v1.EnvironmentService/CreateEnvironment";
        let environment = self.environments.create(caller.actor(), asked, rpc).await?;
        let environment = convert_environment::environment(environment, &self.public_url);
        Ok(Response::new(CreateEnvironmentResponse { environment: Some(environment) }))
    }

    async fn get_environment(
        &self,
        request: Request<GetEnvironmentRequest>,
    ) -> Result<Response<GetEnvironmentResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("environment_id", &request.get_ref().environment_id)?;
        let environment = self.environments.get(caller.actor(), id).await?;
        let environment = convert_environment::environment(environment, &self.public_url);
        Ok(Response::new(GetEnvironmentResponse { environment: Some(environment) }))
    }

    async fn list_environments(
        &self,
        request: Request<ListEnvironmentsRequest>,
    ) -> Result<Response<ListEnvironmentsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = convert::page_request(request.pagination)?;
        let is_counted = request.count.is_some_and(|count| count.include);
        let asked = request.filter.unwrap_or_default();
        let (matches_none, has_phases) = (matches_none(&asked), !asked.status_phases.is_empty());
        let filter = filter(asked)?;
        let order = order(request.sort, filter.archived)?;
        let matches_none = matches_none || (has_phases && filter.phases.is_empty());
        if matches_none {
            let pagination = Some(PaginationResponse::default());
            let count = is_counted.then(|| convert::count(0));
            return Ok(Response::new(ListEnvironmentsResponse { pagination, environments: Vec::new(), count }));
        }
        let (environments, count) = self.environments.list(caller.actor(), filter, order, &page, is_counted).await?;
        let (environments, pagination) =
            convert::page(environments, |environment| convert_environment::environment(environment, &self.public_url));
        let count = count.map(convert::count);
        Ok(Response::new(ListEnvironmentsResponse { pagination, environments, count }))
    }

    async fn list_environment_classes(
        &self,
        request: Request<ListEnvironmentClassesRequest>,
    ) -> Result<Response<ListEnvironmentClassesResponse>, Status> {
        classes::list(&self.environments, request).await
    }

    async fn start_environment(
        &self,
        request: Request<StartEnvironmentRequest>,
    ) -> Result<Response<StartEnvironmentResponse>, Status> {
        let rpc = "gitpod.v1.EnvironmentService/StartEnvironment";
        self.desire(&request, &request.get_ref().environment_id, DesiredPhase::Running, rpc).await?;
        Ok(Response::new(StartEnvironmentResponse {}))
    }

    async fn stop_environment(
        &self,
        request: Request<StopEnvironmentRequest>,
    ) -> Result<Response<StopEnvironmentResponse>, Status> {
        let rpc = "gitpod.v1.EnvironmentService/StopEnvironment";
        self.desire(&request, &request.get_ref().environment_id, DesiredPhase::Stopped, rpc).await?;
        Ok(Response::new(StopEnvironmentResponse {}))
    }

    async fn delete_environment(
        &self,
        request: Request<DeleteEnvironmentRequest>,
    ) -> Result<Response<DeleteEnvironmentResponse>, Status> {
        let rpc = "gitpod.v1.EnvironmentService/DeleteEnvironment";
        self.desire(&request, &request.get_ref().environment_id, DesiredPhase::Deleted, rpc).await?;
        Ok(Response::new(DeleteEnvironmentResponse {}))
    }

    async fn create_environment_access_token(
        &self,
        request: Request<CreateEnvironmentAccessTokenRequest>,
    ) -> Result<Response<CreateEnvironmentAccessTokenResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("environment_id", &request.get_ref().environment_id)?;
        let rpc = "gitpod.v1.EnvironmentService/CreateEnvironmentAccessToken";
        let token = self.environments.access_token(caller.actor(), id, rpc).await?;
        Ok(Response::new(CreateEnvironmentAccessTokenResponse { access_token: token.expose().to_owned() }))
    }

    async fn update_environment(
        &self,
        request: Request<UpdateEnvironmentRequest>,
    ) -> Result<Response<UpdateEnvironmentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let id = convert::id("environment_id", &request.environment_id)?;
        unsupported::refuse_change(request)?;
        let name = request.metadata.as_ref().and_then(|metadata| metadata.name.as_deref());
        let rpc = "gitpod.v1.EnvironmentService/UpdateEnvironment";
        self.environments.update(caller.actor(), id, name, rpc).await?;
        Ok(Response::new(UpdateEnvironmentResponse {}))
    }

    async fn archive_environment(
        &self,
        request: Request<ArchiveEnvironmentRequest>,
    ) -> Result<Response<ArchiveEnvironmentResponse>, Status> {
        let rpc = "gitpod.v1.EnvironmentService/ArchiveEnvironment";
        self.archive(&request, &request.get_ref().environment_id, true, rpc).await?;
        Ok(Response::new(ArchiveEnvironmentResponse {}))
    }

    async fn unarchive_environment(
        &self,
        request: Request<UnarchiveEnvironmentRequest>,
    ) -> Result<Response<UnarchiveEnvironmentResponse>, Status> {
        let rpc = "gitpod.v1.EnvironmentService/UnarchiveEnvironment";
        self.archive(&request, &request.get_ref().environment_id, false, rpc).await?;
        Ok(Response::new(UnarchiveEnvironmentResponse {}))
    }

    async fn create_environment_from_project(
        &self,
        _: Request<CreateEnvironmentFromProjectRequest>,
    ) -> Result<Response<CreateEnvironmentFromProjectResponse>, Status> {
        Err(unsupported::PROJECTS.into())
    }

    async fn create_environment_logs_token(
        &self,
        _: Request<CreateEnvironmentLogsTokenRequest>,
    ) -> Result<Response<CreateEnvironmentLogsTokenResponse>, Status> {
        Err(unsupported::LOGS.into())
    }

    async fn create_port_access_token(
        &self,
        _: Request<CreatePortAccessTokenRequest>,
    ) -> Result<Response<CreatePortAccessTokenResponse>, Status> {
        Err(unsupported::PORTS.into())
    }

    async fn allow_port_access(
        &self,
        _: Request<AllowPortAccessRequest>,
    ) -> Result<Response<AllowPortAccessResponse>, Status> {
        Err(unsupported::PORTS.into())
    }

    async fn mark_environment_active(
        &self,
        _: Request<MarkEnvironmentActiveRequest>,
    ) -> Result<Response<MarkEnvironmentActiveResponse>, Status> {
        Err(unsupported::ACTIVITY.into())
    }
}

fn filter(filter: list_environments_request::Filter) -> Result<EnvironmentFilter, ServiceError> {
    Ok(EnvironmentFilter {
        runner_ids: convert::ids("filter.runner_ids", &filter.runner_ids)?,
        phases: convert_environment::phases(&filter.status_phases)?,
        creator_ids: convert::ids("filter.creator_ids", &filter.creator_ids)?,
        session_ids: session_ids(filter.session_ids)?,
        created_before: filter
            .created_before
            .map(|before| convert::time("filter.created_before", before))
            .transpose()?,
        search: search(filter.search)?,
        archived: archived(filter.archival_status)?,
    })
}

/// Part of a name or of a context URL: neither has control characters.
fn search(text: String) -> Result<String, ServiceError> {
    if text.is_empty() {
        return Ok(text);
    }
    text::line(&text, 255)
        .map(|()| text)
        .map_err(|problem| ServiceError::Invalid { field: "filter.search", problem: problem.to_string() })
}

/// Sessions are the clients' own: any text that an environment can have.
fn session_ids(ids: Vec<String>) -> Result<Vec<String>, ServiceError> {
    let invalid = |problem: String| ServiceError::Invalid { field: "filter.session_ids", problem };
    if ids.len() > convert::MAX_IDS {
        return Err(invalid(format!("has {} IDs, the most are {}", ids.len(), convert::MAX_IDS)));
    }
    for id in ids.iter().filter(|id| !id.is_empty()) {
        text::line(id, SESSION_ID_LIMIT).map_err(|problem| invalid(problem.to_string()))?;
    }
    Ok(ids)
}

/// Whether a condition asks for what no environment here has: a project, a lockdown. Were such a condition
/// passed over, a script that deletes what it finds would delete everything.
fn matches_none(filter: &list_environments_request::Filter) -> bool {
    !filter.project_ids.is_empty()
        || filter.lockdown_before.is_some()
        || lacks(&filter.roles, EnvironmentRole::Default.into())
        || lacks(&filter.runner_kinds, RunnerKind::Remote.into())
}

/// Archived ones are not listed unless they are asked for.
fn archived(status: Option<i32>) -> Result<Option<bool>, ServiceError> {
    use list_environments_request::ArchivalStatus;
    match ArchivalStatus::try_from(status.unwrap_or_default()) {
        Ok(ArchivalStatus::Unspecified | ArchivalStatus::Active) => Ok(Some(false)),
        Ok(ArchivalStatus::Archived) => Ok(Some(true)),
        Ok(ArchivalStatus::All) => Ok(None),
        Err(_) => {
            Err(ServiceError::Invalid { field: "filter.archival_status", problem: "is no known status".to_owned() })
        }
    }
}

/// IDs are in the order of their making. Environments that are not archived have no place in the order of the others.
fn order(
    sort: Option<list_environments_request::Sort>,
    archived: Option<bool>,
) -> Result<(EnvironmentTime, Order), ServiceError> {
    use list_environments_request::SortField;
    let sort = sort.unwrap_or_default();
    let invalid = |problem: &str| ServiceError::Invalid { field: "sort.field", problem: problem.to_owned() };
    let by = match (SortField::try_from(sort.field), archived) {
        (Ok(SortField::Unspecified | SortField::Id), _) => EnvironmentTime::Creation,
        (Ok(SortField::ArchivedAt), Some(true)) => EnvironmentTime::Archival,
        (Ok(SortField::ArchivedAt), Some(false) | None) => {
            return Err(invalid(
                "is for archived environments alone; set filter.archival_status to ARCHIVAL_STATUS_ARCHIVED",
            ));
        }
        (Err(_), _) => return Err(invalid("is no known field; use SORT_FIELD_ID or SORT_FIELD_ARCHIVED_AT")),
    };
    Ok((by, convert::order(sort.order)?))
}
