//! `gitpod.v1.EnvironmentService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller, classes, classes::lacks, convert, convert_environment, unsupported};
use crate::domain::{
    environment::{DesiredPhase, EnvironmentFilter, SESSION_ID_LIMIT},
    text,
};
use crate::pb::gitpod::v1::{
    CreateEnvironmentAccessTokenRequest, CreateEnvironmentAccessTokenResponse, CreateEnvironmentRequest,
    CreateEnvironmentResponse, DeleteEnvironmentRequest, DeleteEnvironmentResponse, EnvironmentRole,
    GetEnvironmentRequest, GetEnvironmentResponse, ListEnvironmentClassesRequest, ListEnvironmentClassesResponse,
    ListEnvironmentsRequest, ListEnvironmentsResponse, PaginationResponse, RunnerKind, StartEnvironmentRequest,
    StartEnvironmentResponse, StopEnvironmentRequest, StopEnvironmentResponse,
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
        check_sort(request.sort)?;
        let is_counted = request.count.is_some_and(|count| count.include);
        let asked = request.filter.unwrap_or_default();
        let (matches_none, has_phases) = (matches_none(&asked), !asked.status_phases.is_empty());
        let filter = filter(asked)?;
        let matches_none = matches_none || (has_phases && filter.phases.is_empty());
        if matches_none {
            let pagination = Some(PaginationResponse::default());
            let count = is_counted.then(|| convert::count(0));
            return Ok(Response::new(ListEnvironmentsResponse { pagination, environments: Vec::new(), count }));
        }
        let (environments, count) = self.environments.list(caller.actor(), filter, &page, is_counted).await?;
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

/// Whether a condition asks for what no environment here has: a project, an archive. Were such a condition
/// passed over, a script that deletes what it finds would delete everything.
fn matches_none(filter: &list_environments_request::Filter) -> bool {
    use list_environments_request::ArchivalStatus;
    !filter.project_ids.is_empty()
        || filter.lockdown_before.is_some()
        || filter.archival_status == Some(ArchivalStatus::Archived.into())
        || lacks(&filter.roles, EnvironmentRole::Default.into())
        || lacks(&filter.runner_kinds, RunnerKind::Remote.into())
}

/// The list has one order: by ID, which is by the time of creation.
fn check_sort(sort: Option<list_environments_request::Sort>) -> Result<(), ServiceError> {
    use crate::pb::gitpod::v1::SortOrder;
    use list_environments_request::SortField;
    let Some(sort) = sort else { return Ok(()) };
    match SortField::try_from(sort.field) {
        Ok(SortField::Unspecified | SortField::Id) => {}
        Ok(SortField::ArchivedAt) | Err(_) => {
            let problem = "must be SORT_FIELD_ID: by the time of creation".to_owned();
            return Err(ServiceError::Invalid { field: "sort.field", problem });
        }
    }
    match SortOrder::try_from(sort.order) {
        Ok(SortOrder::Unspecified | SortOrder::Desc) => Ok(()),
        Ok(SortOrder::Asc) | Err(_) => Err(ServiceError::Invalid {
            field: "sort.order",
            problem: "must be SORT_ORDER_DESC: newest first".to_owned(),
        }),
    }
}
