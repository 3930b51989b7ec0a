//! `gitpod.v1.RunnerService`.

use tonic::{Request, Response, Status};
use url::Url;

use super::{caller, classes::lacks, convert};
use crate::domain::{
    environment::{GitSource, GitTarget},
    ids::PrincipalId,
    page::Page,
    runner::Runner,
};
use crate::pb::gitpod::v1::{
    self as pb, CheckAuthenticationForHostRequest, CheckAuthenticationForHostResponse, GetRunnerRequest,
    GetRunnerResponse, ListRunnersRequest, ListRunnersResponse, ParseContextUrlRequest, ParseContextUrlResponse,
    RunnerKind, RunnerPhase, RunnerProvider, RunnerSpec, RunnerStatus, list_runners_request,
    parse_context_url_response::GitContext, runner_service_server::RunnerService,
};
use crate::service::Runners;

/// Serves the use cases of runners.
#[derive(Debug, Clone)]
pub struct RunnerApi {
    runners: Runners,
}

impl RunnerApi {
    /// On use cases.
    #[must_use]
    pub const fn new(runners: Runners) -> Self {
        Self { runners }
    }

    fn runner(&self, runner: Runner) -> pb::Runner {
        let (phase, message) = if self.runners.is_own(runner.id) {
            (RunnerPhase::Active, String::new())
        } else {
            (RunnerPhase::Unspecified, "another server's; this one does not know how it is".to_owned())
        };
        let created_at = Some(convert::timestamp(runner.created_at));
        pb::Runner {
            runner_id: runner.id.to_string(),
            created_at,
            updated_at: created_at,
            name: runner.name,
            spec: Some(RunnerSpec { desired_phase: RunnerPhase::Active.into() }),
            status: Some(RunnerStatus { phase: phase.into(), message }),
            creator: None,
            kind: RunnerKind::Remote.into(),
            provider: RunnerProvider::LinuxHost.into(),
            runner_manager_id: String::new(),
        }
    }
}

#[tonic::async_trait]
impl RunnerService for RunnerApi {
    async fn get_runner(&self, request: Request<GetRunnerRequest>) -> Result<Response<GetRunnerResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("runner_id", &request.get_ref().runner_id)?;
        let runner = self.runners.get(caller.actor(), id).await?;
        Ok(Response::new(GetRunnerResponse { runner: Some(self.runner(runner)) }))
    }

    async fn list_runners(
        &self,
        request: Request<ListRunnersRequest>,
    ) -> Result<Response<ListRunnersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = convert::page_request(request.pagination)?;
        let filter = request.filter.unwrap_or_default();
        convert::ids::<PrincipalId>("filter.creator_ids", &filter.creator_ids)?;
        let found = if no_runner_matches(&filter) {
            Page { entries: Vec::new(), next: None }
        } else {
            self.runners.list(caller.actor(), &page).await?
        };
        let (runners, pagination) = convert::page(found, |runner| self.runner(runner));
        Ok(Response::new(ListRunnersResponse { pagination, runners }))
    }

    async fn parse_context_url(
        &self,
        request: Request<ParseContextUrlRequest>,
    ) -> Result<Response<ParseContextUrlResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let runner = convert::optional_id("runner_id", &request.runner_id)?;
        let source = self.runners.context(caller.actor(), runner, &request.context_url).await?;
        Ok(Response::new(ParseContextUrlResponse {
            original_context_url: request.context_url,
            git: Some(git_context(&source)),
            project_ids: Vec::new(),
            scm_id: String::new(),
            recommended_environment_classes: Vec::new(),
        }))
    }

    async fn check_authentication_for_host(
        &self,
        request: Request<CheckAuthenticationForHostRequest>,
    ) -> Result<Response<CheckAuthenticationForHostResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let runner = convert::optional_id("runner_id", &request.runner_id)?;
        self.runners.host(caller.actor(), runner, &request.host).await?;
        Ok(Response::new(CheckAuthenticationForHostResponse { authenticated: true, ..Default::default() }))
    }
}

/// Whether a condition asks for what no runner here has: all are added by servers, which run on Linux.
fn no_runner_matches(filter: &list_runners_request::Filter) -> bool {
    !filter.creator_ids.is_empty()
        || lacks(&filter.kinds, RunnerKind::Remote.into())
        || lacks(&filter.providers, RunnerProvider::LinuxHost.into())
}

fn git_context(source: &GitSource) -> GitContext {
    let (branch, commit, tag) = match &source.target {
        GitTarget::RemoteHead => Default::default(),
        GitTarget::RemoteBranch(branch) | GitTarget::LocalBranch(branch) => {
            (branch.clone(), String::new(), String::new())
        }
        GitTarget::RemoteCommit(commit) => (String::new(), commit.clone(), String::new()),
        GitTarget::RemoteTag(tag) => (String::new(), String::new(), tag.clone()),
    };
    // It was read as a URL before.
    let url = Url::parse(&source.remote_url).ok();
    let host = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    let path = url.as_ref().map(|url| url.path().trim_matches('/').to_owned()).unwrap_or_default();
    GitContext {
        clone_url: source.remote_url.clone(),
        branch,
        commit,
        host: host.unwrap_or_default(),
        owner: path.rsplit_once('/').map(|(owner, _)| owner.to_owned()).unwrap_or_default(),
        repo: source.repository_name().to_owned(),
        upstream_remote_url: source.upstream_url.clone().unwrap_or_default(),
        tag,
    }
}
