//! Between messages and environments.

use super::convert::{distinct, subject, timestamp};
use crate::domain::environment::{
    Content, DesiredPhase, Environment, EnvironmentClass, GitSource, GitTarget, InvalidSource, Phase, Progress,
    ProgressStep,
};
use crate::pb::gitpod::v1::{
    self as pb, EnvironmentPhase, environment_initializer::spec::Spec, environment_status,
    git_initializer::CloneTargetMode,
};
use crate::service::ServiceError;

const INITIALIZER: &str = "spec.content.initializer";

/// Where a repository is checked out: below this.
const WORKSPACE: &str = "/workspace";

/// Reads what an environment is made from. Nothing said means an empty workspace.
pub(super) fn content(initializer: Option<pb::EnvironmentInitializer>) -> Result<Content, ServiceError> {
    let mut specs = initializer.map(|initializer| initializer.specs).unwrap_or_default();
    if specs.len() > 1 {
        return Err(invalid("spec.content.initializer.specs", "must have at most one entry"));
    }
    match specs.pop().map(|spec| spec.spec) {
        None => Ok(Content::Empty),
        Some(None) => Err(invalid("spec.content.initializer.specs", "must say git or context_url")),
        Some(Some(Spec::ContextUrl(context))) => Content::from_context_url(&context.url)
            .map_err(|problem| invalid("spec.content.initializer.specs.context_url.url", &problem.to_string())),
        Some(Some(Spec::Git(git))) => git_content(git),
    }
}

fn git_content(git: pb::GitInitializer) -> Result<Content, ServiceError> {
    let mode = CloneTargetMode::try_from(git.target_mode)
        .map_err(|_| invalid("spec.content.initializer.specs.git.target_mode", "is no known mode"))?;
    let name = git.clone_target;
    let target = match mode {
        // The contract: a name is not looked at in this mode.
        CloneTargetMode::RemoteHead => GitTarget::RemoteHead,
        CloneTargetMode::Unspecified if name.is_empty() => GitTarget::RemoteHead,
        CloneTargetMode::Unspecified => {
            return Err(invalid(
                "spec.content.initializer.specs.git.clone_target",
                "must be empty without a mode; say with target_mode what it is",
            ));
        }
        CloneTargetMode::RemoteBranch => GitTarget::RemoteBranch(name),
        CloneTargetMode::LocalBranch => GitTarget::LocalBranch(name),
        CloneTargetMode::RemoteCommit => GitTarget::RemoteCommit(name),
        CloneTargetMode::RemoteTag => GitTarget::RemoteTag(name),
    };
    let upstream = (!git.upstream_remote_uri.is_empty()).then_some(git.upstream_remote_uri.as_str());
    let location = (!git.checkout_location.is_empty()).then_some(git.checkout_location.as_str());
    let source = GitSource::new(&git.remote_uri, upstream, target, location).map_err(|problem| {
        let field = match problem {
            InvalidSource::Remote(_) => "spec.content.initializer.specs.git.remote_uri",
            InvalidSource::Upstream(_) => "spec.content.initializer.specs.git.upstream_remote_uri",
            InvalidSource::Target(_) => "spec.content.initializer.specs.git.clone_target",
            InvalidSource::Location(_) => "spec.content.initializer.specs.git.checkout_location",
        };
        invalid(field, &problem.to_string())
    })?;
    Ok(Content::Git { source, context_url: None })
}

fn invalid(field: &'static str, problem: &str) -> ServiceError {
    debug_assert!(field.starts_with(INITIALIZER), "fields are named from the request on");
    ServiceError::Invalid { field, problem: problem.to_owned() }
}

/// Reads where a new environment is to be: running, if nothing is said.
pub(super) fn desired_phase(number: i32) -> Result<DesiredPhase, ServiceError> {
    match EnvironmentPhase::try_from(number) {
        Ok(EnvironmentPhase::Unspecified | EnvironmentPhase::Running) => Ok(DesiredPhase::Running),
        Ok(EnvironmentPhase::Stopped) => Ok(DesiredPhase::Stopped),
        Ok(
            EnvironmentPhase::Creating
            | EnvironmentPhase::Starting
            | EnvironmentPhase::Updating
            | EnvironmentPhase::Stopping
            | EnvironmentPhase::Deleting
            | EnvironmentPhase::Deleted,
        )
        | Err(_) => Err(ServiceError::Invalid {
            field: "spec.desired_phase",
            problem: "must be ENVIRONMENT_PHASE_RUNNING or ENVIRONMENT_PHASE_STOPPED".to_owned(),
        }),
    }
}

/// Reads the phases of a filter. Those that no environment here is ever in match nothing.
pub(super) fn phases(numbers: &[i32]) -> Result<Vec<Phase>, ServiceError> {
    let phases = distinct(numbers, |number| match EnvironmentPhase::try_from(number) {
        Ok(EnvironmentPhase::Creating) => Ok(Some(Phase::Creating)),
        Ok(EnvironmentPhase::Starting) => Ok(Some(Phase::Starting)),
        Ok(EnvironmentPhase::Running) => Ok(Some(Phase::Running)),
        Ok(EnvironmentPhase::Stopping) => Ok(Some(Phase::Stopping)),
        Ok(EnvironmentPhase::Stopped) => Ok(Some(Phase::Stopped)),
        Ok(EnvironmentPhase::Deleting) => Ok(Some(Phase::Deleting)),
        Ok(EnvironmentPhase::Updating | EnvironmentPhase::Deleted) => Ok(None),
        Ok(EnvironmentPhase::Unspecified) | Err(_) => {
            Err(ServiceError::Invalid { field: "filter.status_phases", problem: format!("{number} is no phase") })
        }
    })?;
    Ok(phases.into_iter().flatten().collect())
}

const fn phase(phase: Phase) -> EnvironmentPhase {
    match phase {
        Phase::Creating => EnvironmentPhase::Creating,
        Phase::Starting => EnvironmentPhase::Starting,
        Phase::Running => EnvironmentPhase::Running,
        Phase::Stopping => EnvironmentPhase::Stopping,
        Phase::Stopped => EnvironmentPhase::Stopped,
        Phase::Deleting => EnvironmentPhase::Deleting,
    }
}

pub(super) fn environment(environment: Environment, public_url: &str) -> pb::Environment {
    let desired_phase = match environment.desired_phase {
        DesiredPhase::Running => EnvironmentPhase::Running,
        DesiredPhase::Stopped => EnvironmentPhase::Stopped,
        DesiredPhase::Deleted => EnvironmentPhase::Deleted,
    };
    let context_url = match &environment.content {
        Content::Empty => None,
        Content::Git { context_url, .. } => context_url.clone(),
    };
    pb::Environment {
        id: environment.id.to_string(),
        metadata: Some(pb::EnvironmentMetadata {
            organization_id: environment.organization_id.to_string(),
            name: environment.name.clone(),
            creator: Some(subject(environment.creator_id, environment.creator_kind)),
            original_context_url: context_url.unwrap_or_default(),
            created_at: Some(timestamp(environment.created_at)),
            runner_id: environment.runner_id.to_string(),
            last_started_at: environment.last_started_at.map(timestamp),
            archived_at: environment.archived_at.map(timestamp),
            role: pb::EnvironmentRole::Default.into(),
            annotations: environment.annotations.clone().into_iter().collect(),
            session_id: environment.session_id.clone(),
            ..pb::EnvironmentMetadata::default()
        }),
        spec: Some(pb::EnvironmentSpec {
            spec_version: environment.epoch.unsigned_abs(),
            desired_phase: desired_phase.into(),
            machine: Some(pb::environment_spec::Machine {
                class: environment.class_id.to_string(),
                ..pb::environment_spec::Machine::default()
            }),
            content: Some(pb::environment_spec::Content {
                initializer: initializer(&environment.content),
                ..pb::environment_spec::Content::default()
            }),
            ..pb::EnvironmentSpec::default()
        }),
        status: Some(status(environment, public_url)),
    }
}

fn status(environment: Environment, public_url: &str) -> pb::EnvironmentStatus {
    use environment_status::{ContentPhase, machine::Phase as MachinePhase};
    let content_phase = match (environment.content_ready, environment.phase, &environment.failure_message) {
        (true, _, _) => ContentPhase::Ready,
        (false, Phase::Creating, _) => ContentPhase::Initializing,
        (false, _, Some(_)) => ContentPhase::Failed,
        (false, _, None) => ContentPhase::Creating,
    };
    let machine_phase = match environment.phase {
        Phase::Creating => MachinePhase::Creating,
        Phase::Starting => MachinePhase::Starting,
        Phase::Running => MachinePhase::Running,
        Phase::Stopping => MachinePhase::Stopping,
        Phase::Stopped => MachinePhase::Stopped,
        Phase::Deleting => MachinePhase::Deleting,
    };
    let (git, location) = match &environment.content {
        Content::Empty => (None, WORKSPACE.to_owned()),
        Content::Git { source, .. } => (
            Some(pb::EnvironmentGitStatus {
                clone_url: source.remote_url.clone(),
                branch: environment.branch.clone().unwrap_or_default(),
                latest_commit: environment.commit.clone().unwrap_or_default(),
                ..pb::EnvironmentGitStatus::default()
            }),
            format!("{WORKSPACE}/{}", source.directory()),
        ),
    };
    let ops = if environment.phase == Phase::Running {
        format!("{public_url}/environments/{}/ops", environment.id)
    } else {
        String::new()
    };
    pb::EnvironmentStatus {
        status_version: environment.status_version.unsigned_abs(),
        phase: phase(environment.phase).into(),
        failure_message: environment.failure_message.clone().into_iter().collect(),
        environment_urls: Some(environment_status::EnvironmentUrLs {
            ops,
            ..environment_status::EnvironmentUrLs::default()
        }),
        machine: Some(environment_status::Machine {
            phase: machine_phase.into(),
            ..environment_status::Machine::default()
        }),
        content: Some(environment_status::Content {
            phase: content_phase.into(),
            git,
            content_location_in_machine: location,
            progress: environment.progress.map(progress),
            ..environment_status::Content::default()
        }),
        warning_message: environment.warning_message.into_iter().collect(),
        disk_bytes: environment.disk_bytes.unsigned_abs(),
        ..pb::EnvironmentStatus::default()
    }
}

fn progress(progress: Progress) -> environment_status::content::Progress {
    use environment_status::content::progress::Step;
    let step = match progress.step {
        ProgressStep::Counting => Step::Counting,
        ProgressStep::Packing => Step::Packing,
        ProgressStep::Receiving => Step::Receiving,
        ProgressStep::Resolving => Step::Resolving,
        ProgressStep::Writing => Step::Writing,
    };
    environment_status::content::Progress {
        step: step.into(),
        done: progress.done,
        total: progress.total,
        bytes: progress.bytes,
    }
}

fn initializer(content: &Content) -> Option<pb::EnvironmentInitializer> {
    let spec = match content {
        Content::Empty => return None,
        Content::Git { context_url: Some(url), .. } => Spec::ContextUrl(pb::ContextUrlInitializer { url: url.clone() }),
        Content::Git { source, context_url: None } => {
            let (mode, name) = match &source.target {
                GitTarget::RemoteHead => (CloneTargetMode::RemoteHead, ""),
                GitTarget::RemoteBranch(name) => (CloneTargetMode::RemoteBranch, name.as_str()),
                GitTarget::LocalBranch(name) => (CloneTargetMode::LocalBranch, name.as_str()),
                GitTarget::RemoteCommit(name) => (CloneTargetMode::RemoteCommit, name.as_str()),
                GitTarget::RemoteTag(name) => (CloneTargetMode::RemoteTag, name.as_str()),
            };
            Spec::Git(pb::GitInitializer {
                remote_uri: source.remote_url.clone(),
                upstream_remote_uri: source.upstream_url.clone().unwrap_or_default(),
                target_mode: mode.into(),
                clone_target: name.to_owned(),
                checkout_location: source.checkout_location.clone().unwrap_or_default(),
            })
        }
    };
    Some(pb::EnvironmentInitializer { specs: vec![pb::environment_initializer::Spec { spec: Some(spec) }] })
}

pub(super) fn class(class: EnvironmentClass) -> pb::EnvironmentClass {
    let field = |key: &str, value: String| pb::FieldValue { key: key.to_owned(), value };
    pb::EnvironmentClass {
        id: class.id.to_string(),
        display_name: class.display_name,
        description: class.description,
        configuration: vec![
            field("cpuMillicores", class.cpu_millicores.to_string()),
            field("memoryBytes", class.memory_bytes.to_string()),
            field("processes", class.processes.to_string()),
            field("diskBytes", class.disk_bytes.to_string()),
            field("default", class.is_default.to_string()),
        ],
        runner_id: class.runner_id.to_string(),
        enabled: class.enabled,
    }
}
