//! What a spec asks for and no environment here has: refused by name, and never passed over.

use latchkey::pb::gitpod::v1::{
    AdmissionLevel, CreateEnvironmentRequest, EnvironmentSpec, KernelControlsConfig,
    environment_spec::{
        AutomationsFile, Content, DevContainer, EnvironmentPort, Secret, SshPublicKey, Timeout, dev_container::Dotfiles,
    },
};
use prost_types::Duration;
use tonic::Code;

use crate::support::{LocalServer, details, environments::stopped};

fn with(change: impl FnOnce(&mut EnvironmentSpec)) -> CreateEnvironmentRequest {
    let mut spec = EnvironmentSpec::default();
    change(&mut spec);
    stopped(CreateEnvironmentRequest { spec: Some(spec), ..Default::default() })
}

fn after(seconds: i64) -> Option<Timeout> {
    Some(Timeout { disconnected: Some(Duration { seconds, nanos: 0 }) })
}

#[tokio::test]
async fn what_no_environment_has_is_refused_by_its_field() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let container = |container: DevContainer| with(|spec| spec.devcontainer = Some(container));
    for (request, field) in [
        (with(|spec| spec.secrets.push(Secret::default())), "spec.secrets"),
        (with(|spec| spec.ports.push(EnvironmentPort::default())), "spec.ports"),
        (with(|spec| spec.timeout = after(1800)), "spec.timeout.disconnected"),
        (with(|spec| spec.admission = AdmissionLevel::Everyone.into()), "spec.admission"),
        (with(|spec| spec.admission = AdmissionLevel::Organization.into()), "spec.admission"),
        (with(|spec| spec.admission = 99), "spec.admission"),
        (
            container(DevContainer { devcontainer_file_path: "a.json".to_owned(), ..Default::default() }),
            "spec.devcontainer",
        ),
        (
            container(DevContainer { default_devcontainer_image: "debian".to_owned(), ..Default::default() }),
            "spec.devcontainer",
        ),
        (
            container(DevContainer {
                dotfiles: Some(Dotfiles { repository: "https://github.com/me/dotfiles".to_owned() }),
                ..Default::default()
            }),
            "spec.devcontainer",
        ),
        (with(|spec| spec.ssh_public_keys.push(SshPublicKey::default())), "spec.ssh_public_keys"),
        (
            with(|spec| {
                let automations_file_path = "automations.yaml".to_owned();
                spec.automations_file = Some(AutomationsFile { automations_file_path, ..Default::default() });
            }),
            "spec.automations_file",
        ),
        (with(|spec| spec.workflow_action_id = Some("x".to_owned())), "spec.workflow_action_id"),
        (
            with(|spec| spec.kernel_controls_config = Some(KernelControlsConfig::default())),
            "spec.kernel_controls_config",
        ),
        (with(|spec| spec.security_policy_id = "x".to_owned()), "spec.security_policy_id"),
        (
            with(|spec| spec.content = Some(Content { git_username: "Me".to_owned(), ..Default::default() })),
            "spec.content.git_username",
        ),
        (
            with(|spec| spec.content = Some(Content { git_email: "me@example.com".to_owned(), ..Default::default() })),
            "spec.content.git_email",
        ),
    ] {
        let error = api.create(request).await.expect_err(field);
        assert_eq!(error.code(), Code::InvalidArgument, "{field}: {error}");
        assert!(error.message().contains("not supported"), "{field}: {error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, field);
    }
    // What asks for no more than there is.
    for request in [
        with(|spec| spec.timeout = after(0)),
        with(|spec| spec.timeout = Some(Timeout::default())),
        with(|spec| spec.admission = AdmissionLevel::OwnerOnly.into()),
        with(|spec| spec.admission = AdmissionLevel::CreatorOnly.into()),
        container(DevContainer { session: "x".to_owned(), ..Default::default() }),
        with(|spec| spec.automations_file = Some(AutomationsFile::default())),
        with(|spec| spec.workflow_action_id = Some(String::new())),
    ] {
        let what = format!("{request:?}");
        api.create(request).await.expect(&what);
    }
}
