//! What can be changed of an environment, what cannot, and what is not there at all.

use latchkey::pb::gitpod::v1::{
    AllowPortAccessRequest, CreateEnvironmentFromProjectRequest, CreateEnvironmentLogsTokenRequest,
    CreatePortAccessTokenRequest, EnvironmentInitializer, KernelControlsConfig, MarkEnvironmentActiveRequest,
    UpdateEnvironmentRequest, environment_initializer, environment_spec,
    update_environment_request::{AutomationsFile, Content, DevContainer, Metadata, Spec, SshPublicKey, Timeout},
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Response, Status};

use crate::support::{
    Api, TestDatabase, TestServer, details,
    environments::{from_nothing, stopped},
};

/// A server without environments that run, an environment, and its creator.
async fn somewhere() -> (TestDatabase, TestServer, Api, String) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    database.runner_nowhere().await;
    let api = server.api(&server.user(&database, "dev@example.com").await).await;
    let id = api.create(stopped(from_nothing())).await.unwrap().id;
    (database, server, api, id)
}

async fn update(api: &Api, request: UpdateEnvironmentRequest) -> Result<(), Status> {
    api.environments.clone().update_environment(request).await.map(drop)
}

#[tokio::test]
async fn an_environment_gets_another_name() {
    let (database, server, api, id) = somewhere().await;
    let before = api.get(&id).await.unwrap();
    api.rename(&id, "another").await.unwrap();
    let after = api.get(&id).await.unwrap();
    assert_eq!(after.metadata.as_ref().unwrap().name, "another");
    let version = |of: &latchkey::pb::gitpod::v1::Environment| of.status.as_ref().unwrap().status_version;
    assert_eq!(version(&after), version(&before) + 1, "whoever waits for a change sees it");
    assert_eq!(after.spec, before.spec);
    api.rename(&id, "another").await.expect("it is called that already");
    // Nothing is asked for, so nothing changes.
    for metadata in [None, Some(Metadata::default())] {
        let request = UpdateEnvironmentRequest { environment_id: id.clone(), metadata, spec: Some(Spec::default()) };
        update(&api, request).await.unwrap();
    }
    assert_eq!(api.get(&id).await.unwrap(), after);
    let acts = "SELECT count(*) FROM audit_logs WHERE action = 'environment_update'";
    assert_eq!(database.number(acts, &[]).await, 1);

    let long = "ä".repeat(81);
    for name in ["", " ", "a\nb", "a\u{202e}b", &long] {
        let refused = api.rename(&id, name).await.expect_err(name);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, "metadata.name", "{name}");
    }
    api.rename(&id, &"ä".repeat(80)).await.unwrap();

    // An admin may, and nobody of another organization, whatever they are there.
    let admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    admin.rename(&id, "by an admin").await.unwrap();
    let (_, _, token) = server.stranger(&database, "admin").await;
    let stranger = server.api(&token).await;
    for answer in [stranger.rename(&id, "theirs").await, stranger.archive(&id).await, stranger.unarchive(&id).await] {
        assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    }
    // One that is not there any more for those who start it is not there for these either.
    api.delete(&id).await.unwrap();
    for answer in [api.rename(&id, "late").await, api.archive(&id).await, api.unarchive(&id).await] {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("being deleted"), "{refused}");
    }
    assert_eq!(api.get(&id).await.unwrap().metadata.unwrap().name, "by an admin");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_by_its_field() {
    let (_database, _server, api, id) = somewhere().await;
    let before = api.get(&id).await.unwrap();
    // With a name that could be given: nothing is done in part.
    let with = |spec: Spec| UpdateEnvironmentRequest {
        environment_id: id.clone(),
        metadata: Some(Metadata { name: Some("another".to_owned()), lockdown_at: None }),
        spec: Some(spec),
    };
    let content = |content: Content| with(Spec { content: Some(content), ..Default::default() });
    let text = |text: &str| Some(text.to_owned());
    let initializer = Some(EnvironmentInitializer { specs: vec![environment_initializer::Spec { spec: None }] });
    let container = |session, path| DevContainer { session, devcontainer_file_path: path };
    let automations = |session, path| AutomationsFile { session, automations_file_path: path };
    let after = |seconds| Timeout { disconnected: Some(Duration { seconds, nanos: 0 }) };
    let lockdown = Some(Metadata { name: None, lockdown_at: Some(Timestamp::default()) });
    for (field, request) in [
        ("metadata.lockdown_at", UpdateEnvironmentRequest { metadata: lockdown, ..with(Spec::default()) }),
        ("spec.content.session", content(Content { session: text("x"), ..Default::default() })),
        ("spec.content.initializer", content(Content { initializer, ..Default::default() })),
        ("spec.content.git_username", content(Content { git_username: text("Me"), ..Default::default() })),
        ("spec.content.git_email", content(Content { git_email: text("me@example.com"), ..Default::default() })),
        ("spec.ssh_public_keys", with(Spec { ssh_public_keys: vec![SshPublicKey::default()], ..Default::default() })),
        ("spec.devcontainer", with(Spec { devcontainer: Some(container(text("x"), None)), ..Default::default() })),
        ("spec.devcontainer", with(Spec { devcontainer: Some(container(None, text("a.json"))), ..Default::default() })),
        ("spec.ports", with(Spec { ports: vec![environment_spec::EnvironmentPort::default()], ..Default::default() })),
        ("spec.timeout.disconnected", with(Spec { timeout: Some(after(1800)), ..Default::default() })),
        (
            "spec.automations_file",
            with(Spec { automations_file: Some(automations(text("x"), None)), ..Default::default() }),
        ),
        (
            "spec.automations_file",
            with(Spec { automations_file: Some(automations(None, text("a.yaml"))), ..Default::default() }),
        ),
        (
            "spec.kernel_controls_config",
            with(Spec { kernel_controls_config: Some(KernelControlsConfig::default()), ..Default::default() }),
        ),
    ] {
        let refused = update(&api, request).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        assert!(refused.message().contains("not supported"), "{field}: {refused}");
        assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, field);
    }
    assert_eq!(api.get(&id).await.unwrap(), before);
    // What asks for no more than there is.
    let empty = Spec {
        content: Some(Content { session: text(""), git_email: text(""), ..Default::default() }),
        devcontainer: Some(container(text(""), text(""))),
        timeout: Some(after(0)),
        automations_file: Some(AutomationsFile::default()),
        ..Default::default()
    };
    update(&api, with(empty)).await.unwrap();
    assert_eq!(api.get(&id).await.unwrap().metadata.unwrap().name, "another");
}

#[tokio::test]
#[expect(deprecated, reason = "it is part of the contract, and deprecated there")]
async fn what_is_not_there_says_so_and_what_to_use_instead() {
    fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Status {
        answer.unwrap_err()
    }
    let (database, _server, api, id) = somewhere().await;
    let mut environments = api.environments.clone();
    let acts = "SELECT count(*) FROM audit_logs WHERE outcome = 'succeeded' AND action <> 'read'";
    let before = database.number(acts, &[]).await;
    let environment_id = || id.clone();
    let project = CreateEnvironmentFromProjectRequest { project_id: id.clone(), ..Default::default() };
    let logs = CreateEnvironmentLogsTokenRequest { environment_id: environment_id() };
    let port = CreatePortAccessTokenRequest { environment_id: environment_id(), port: 8080 };
    let allow = AllowPortAccessRequest { environment_id: environment_id(), port: 8080 };
    let active = MarkEnvironmentActiveRequest { environment_id: environment_id(), activity_signal: None };
    for (answer, instead) in [
        (refused(environments.create_environment_from_project(project).await), "CreateEnvironment"),
        (refused(environments.create_environment_logs_token(logs).await), "status.failure_message"),
        (refused(environments.create_port_access_token(port).await), "CreateEnvironmentAccessToken"),
        (refused(environments.allow_port_access(allow).await), "CreateEnvironmentAccessToken"),
        (refused(environments.mark_environment_active(active).await), "leave this call out"),
    ] {
        assert_eq!(answer.code(), Code::Unimplemented, "{answer}");
        assert!(answer.message().contains(instead), "{answer}");
        assert_eq!(details(&answer).error_info().unwrap().reason, "NOT_SUPPORTED", "{answer}");
    }
    assert_eq!(database.number(acts, &[]).await, before, "what was not done is no act");
}
