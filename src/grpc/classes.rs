//! Classes of environments: listed by two services of the contract.

use tonic::{Request, Response, Status};

use super::{caller, convert, convert_environment};
use crate::domain::environment::ClassFilter;
use crate::pb::gitpod::v1::{
    GetEnvironmentClassRequest, GetEnvironmentClassResponse, ListEnvironmentClassesRequest,
    ListEnvironmentClassesResponse, PaginationResponse, RunnerKind, RunnerProvider, list_environment_classes_request,
    runner_configuration_service_server::RunnerConfigurationService,
};
use crate::service::Environments;

/// Serves `gitpod.v1.RunnerConfigurationService`.
#[derive(Clone)]
pub struct RunnerConfigurationApi {
    environments: Environments,
}

impl RunnerConfigurationApi {
    /// On the use cases of environments, whose classes these are.
    #[must_use]
    pub const fn new(environments: Environments) -> Self {
        Self { environments }
    }
}

#[tonic::async_trait]
impl RunnerConfigurationService for RunnerConfigurationApi {
    async fn get_environment_class(
        &self,
        request: Request<GetEnvironmentClassRequest>,
    ) -> Result<Response<GetEnvironmentClassResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("environment_class_id", &request.get_ref().environment_class_id)?;
        let class = self.environments.class(caller.actor(), id).await?;
        let environment_class = Some(convert_environment::class(class));
        Ok(Response::new(GetEnvironmentClassResponse { environment_class }))
    }

    async fn list_environment_classes(
        &self,
        request: Request<ListEnvironmentClassesRequest>,
    ) -> Result<Response<ListEnvironmentClassesResponse>, Status> {
        list(&self.environments, request).await
    }
}

/// Lists classes.
pub(super) async fn list(
    environments: &Environments,
    request: Request<ListEnvironmentClassesRequest>,
) -> Result<Response<ListEnvironmentClassesResponse>, Status> {
    let caller = caller(&request)?;
    let request = request.into_inner();
    let page = convert::page_request(request.pagination)?;
    let asked = request.filter.unwrap_or_default();
    let filter = ClassFilter {
        runner_ids: convert::ids("filter.runner_ids", &asked.runner_ids)?,
        enabled: asked.enabled,
        can_create_environments: asked.can_create_environments,
    };
    if no_class_matches(&asked) {
        let pagination = Some(PaginationResponse::default());
        return Ok(Response::new(ListEnvironmentClassesResponse { pagination, environment_classes: Vec::new() }));
    }
    let classes = environments.classes(caller.actor(), &filter, &page).await?;
    let (environment_classes, pagination) = convert::page(classes, convert_environment::class);
    Ok(Response::new(ListEnvironmentClassesResponse { pagination, environment_classes }))
}

/// Whether a condition asks for what no class here has: all are of runners on Linux servers.
fn no_class_matches(filter: &list_environment_classes_request::Filter) -> bool {
    lacks(&filter.runner_kinds, RunnerKind::Remote.into())
        || lacks(&filter.runner_providers, RunnerProvider::LinuxHost.into())
}

/// Whether a list says what is wanted, and does not say the one thing that there is.
pub(super) fn lacks(wanted: &[i32], ours: i32) -> bool {
    !wanted.is_empty() && !wanted.contains(&ours)
}
