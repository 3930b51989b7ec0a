//! What the contract can ask for and no environment here has. To pass over it would be a made-up success: whoever asks that an
//! environment stop by itself, or that nobody else reach it, relies on that.

use crate::pb::gitpod::v1::{
    AdmissionLevel, EnvironmentSpec, UpdateEnvironmentRequest, environment_spec, update_environment_request,
};
use crate::service::ServiceError;

const COMMIT_NAMES: &str = "names for commits ('git config user.name' in the environment does it)";
const COMMIT_ADDRESSES: &str = "addresses for commits ('git config user.email' in the environment does it)";

/// Of projects.
pub(super) const PROJECTS: ServiceError = ServiceError::Unsupported(
    "there are no projects here; use CreateEnvironment with the URL of the project's repository",
);
/// Of logs.
pub(super) const LOGS: ServiceError = ServiceError::Unsupported(
    "logs of environments are not kept here; what went wrong is in status.failure_message, which GetEnvironment answers",
);
/// Of ports.
pub(super) const PORTS: ServiceError = ServiceError::Unsupported(
    "ports of environments cannot be reached from outside here; run commands in the environment with EnvironmentOpsService.Exec, \
     with a token of CreateEnvironmentAccessToken",
);
/// Of signs of work.
pub(super) const ACTIVITY: ServiceError = ServiceError::Unsupported(
    "environments do not stop by themselves here, so nobody has to be told that one is in use; leave this call out",
);

/// Refuses the first thing asked for that is not there, by its field.
pub(super) fn refuse(spec: &EnvironmentSpec) -> Result<(), ServiceError> {
    let content = spec.content.as_ref();
    let asked = [
        ("spec.secrets", !spec.secrets.is_empty(), "secrets"),
        ("spec.ports", !spec.ports.is_empty(), "ports that others reach"),
        ("spec.timeout.disconnected", stops_by_itself(spec), "environments that stop by themselves"),
        ("spec.admission", admits_others(spec), "environments that others reach"),
        ("spec.devcontainer", spec.devcontainer.as_ref().is_some_and(is_special), "dev containers"),
        ("spec.ssh_public_keys", !spec.ssh_public_keys.is_empty(), "logins by SSH"),
        (
            "spec.automations_file",
            spec.automations_file
                .as_ref()
                .is_some_and(|file| !file.automations_file_path.is_empty() || !file.trigger_filter.is_empty()),
            "automations",
        ),
        ("spec.workflow_action_id", spec.workflow_action_id.as_ref().is_some_and(|id| !id.is_empty()), "workflows"),
        ("spec.kernel_controls_config", spec.kernel_controls_config.is_some(), "kernel controls"),
        ("spec.security_policy_id", !spec.security_policy_id.is_empty(), "security policies"),
        ("spec.content.git_username", content.is_some_and(|content| !content.git_username.is_empty()), COMMIT_NAMES),
        ("spec.content.git_email", content.is_some_and(|content| !content.git_email.is_empty()), COMMIT_ADDRESSES),
    ];
    refuse_first(asked)
}

/// Refuses the first change asked for that cannot be made, by its field. What is empty asks for nothing.
pub(super) fn refuse_change(request: &UpdateEnvironmentRequest) -> Result<(), ServiceError> {
    let says = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let spec = request.spec.as_ref();
    let content = spec.and_then(|spec| spec.content.as_ref());
    let container = spec.and_then(|spec| spec.devcontainer.as_ref());
    let automations = spec.and_then(|spec| spec.automations_file.as_ref());
    let asked = [
        (
            "metadata.lockdown_at",
            request.metadata.as_ref().is_some_and(|metadata| metadata.lockdown_at.is_some()),
            "lockdowns",
        ),
        (
            "spec.content.session",
            says(content.and_then(|content| content.session.as_ref())),
            "contents that are fetched anew (create another environment)",
        ),
        (
            "spec.content.initializer",
            content.and_then(|content| content.initializer.as_ref()).is_some_and(|from| !from.specs.is_empty()),
            "contents that change (create another environment)",
        ),
        ("spec.content.git_username", says(content.and_then(|content| content.git_username.as_ref())), COMMIT_NAMES),
        ("spec.content.git_email", says(content.and_then(|content| content.git_email.as_ref())), COMMIT_ADDRESSES),
        ("spec.ssh_public_keys", spec.is_some_and(|spec| !spec.ssh_public_keys.is_empty()), "logins by SSH"),
        (
            "spec.devcontainer",
            container.is_some_and(|container| {
                says(container.session.as_ref()) || says(container.devcontainer_file_path.as_ref())
            }),
            "dev containers",
        ),
        ("spec.ports", spec.is_some_and(|spec| !spec.ports.is_empty()), "ports that others reach"),
        (
            "spec.timeout.disconnected",
            spec.and_then(|spec| spec.timeout.as_ref()).is_some_and(is_finite),
            "environments that stop by themselves",
        ),
        (
            "spec.automations_file",
            automations.is_some_and(|file| says(file.session.as_ref()) || says(file.automations_file_path.as_ref())),
            "automations",
        ),
        (
            "spec.kernel_controls_config",
            spec.is_some_and(|spec| spec.kernel_controls_config.is_some()),
            "kernel controls",
        ),
    ];
    refuse_first(asked)
}

fn refuse_first<const N: usize>(asked: [(&'static str, bool, &str); N]) -> Result<(), ServiceError> {
    match asked.into_iter().find(|(_, is_asked, _)| *is_asked) {
        Some((field, _, what)) => {
            Err(ServiceError::Invalid { field, problem: format!("{what} are not supported; leave it out") })
        }
        None => Ok(()),
    }
}

/// Nothing said, and zero, mean never.
fn stops_by_itself(spec: &EnvironmentSpec) -> bool {
    let disconnected = spec.timeout.as_ref().and_then(|timeout| timeout.disconnected.as_ref());
    disconnected.is_some_and(|after| after.seconds != 0 || after.nanos != 0)
}

fn is_finite(timeout: &update_environment_request::Timeout) -> bool {
    timeout.disconnected.as_ref().is_some_and(|after| after.seconds != 0 || after.nanos != 0)
}

/// An environment is its creator's: whatever asks for no more than that is what there is.
fn admits_others(spec: &EnvironmentSpec) -> bool {
    match AdmissionLevel::try_from(spec.admission) {
        Ok(AdmissionLevel::Unspecified | AdmissionLevel::OwnerOnly | AdmissionLevel::CreatorOnly) => false,
        Ok(AdmissionLevel::Everyone | AdmissionLevel::Organization) | Err(_) => true,
    }
}

/// An empty description asks for nothing, and a session is a mark of the client's own.
fn is_special(container: &environment_spec::DevContainer) -> bool {
    !container.devcontainer_file_path.is_empty()
        || !container.default_devcontainer_image.is_empty()
        || container.dotfiles.as_ref().is_some_and(|dotfiles| !dotfiles.repository.is_empty())
}
