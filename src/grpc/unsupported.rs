//! What a spec can ask for and no environment here has. To pass over it would be a made-up success: whoever asks that an
//! environment stop by itself, or that nobody else reach it, relies on that.

use crate::pb::gitpod::v1::{AdmissionLevel, EnvironmentSpec, environment_spec};
use crate::service::ServiceError;

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
        (
            "spec.content.git_username",
            content.is_some_and(|content| !content.git_username.is_empty()),
            "names for commits ('git config user.name' in the environment does it)",
        ),
        (
            "spec.content.git_email",
            content.is_some_and(|content| !content.git_email.is_empty()),
            "addresses for commits ('git config user.email' in the environment does it)",
        ),
    ];
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
