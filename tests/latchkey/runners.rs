//! What environments run on, and what is said of a repository before anything is made from it.

mod contexts;
mod lists;

use latchkey::pb::gitpod::v1::{
    CheckAuthenticationForHostRequest, GetEnvironmentClassRequest, GetRunnerRequest, ListEnvironmentClassesRequest,
    ListRunnersRequest, ParseContextUrlRequest, RunnerKind, RunnerPhase, RunnerProvider,
    list_environment_classes_request,
};
use tonic::Code;

use crate::support::{
    Api, LocalServer, TestDatabase, TestServer, details,
    environments::{from_url, of_class, status},
    eventually,
};

const UNKNOWN: &str = "01987654-3210-7abc-8def-0123456789ab";

/// In the order of the official Python client, with what each answer has for the next question.
#[tokio::test]
async fn a_client_that_knows_a_url_alone_finds_all_that_an_environment_needs() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let mut api = local.api_of_user("dev@example.com").await;
    let url = "https://github.com/owner/name".to_owned();

    let request = ParseContextUrlRequest { context_url: url.clone(), ..Default::default() };
    let context = api.runners.parse_context_url(request).await.unwrap().into_inner();
    assert_eq!(context.original_context_url, url);
    // Without any of these the client looks for a class by itself, and makes the environment of no project.
    assert_eq!((context.recommended_environment_classes.len(), context.project_ids.len()), (0, 0));

    let filter = list_environment_classes_request::Filter {
        enabled: Some(true),
        can_create_environments: Some(true),
        ..Default::default()
    };
    let request = ListEnvironmentClassesRequest { filter: Some(filter), ..Default::default() };
    let of_environments = api.environments.list_environment_classes(request.clone()).await.unwrap().into_inner();
    let of_runners = api.runner_configuration.list_environment_classes(request).await.unwrap().into_inner();
    assert_eq!(of_runners, of_environments);
    let small = of_runners.environment_classes.into_iter().find(|class| class.display_name == "Small").unwrap();

    let request = GetEnvironmentClassRequest { environment_class_id: small.id.clone() };
    let class = api.runner_configuration.get_environment_class(request).await.unwrap().into_inner();
    assert_eq!(class.environment_class, Some(small.clone()));

    let request =
        CheckAuthenticationForHostRequest { runner_id: small.runner_id.clone(), host: "github.com".to_owned() };
    let host = api.runners.check_authentication_for_host(request).await.unwrap().into_inner();
    assert!(host.authenticated && host.authentication_url.is_empty() && !host.pat_supported, "{host:?}");

    let made = api.create_running(of_class(from_url(&url), &small.id)).await;
    let environment = api.get(&made).await.unwrap();
    assert_eq!(environment.metadata.as_ref().unwrap().runner_id, small.runner_id);
    let git = status(&environment).content.as_ref().unwrap().git.clone().unwrap();
    assert_eq!(git.clone_url, context.git.unwrap().clone_url);
    api.delete_whole(&made).await;
}

#[tokio::test]
async fn the_servers_own_runner_is_active_and_of_others_it_does_not_know() {
    let local = LocalServer::start().await;
    let mut api = local.api_of_user("dev@example.com").await;
    let own = std::fs::read_to_string(local.data_dir().join("runner-id")).unwrap().trim().to_owned();
    local.database.runner_nowhere().await;
    let runners = api.runners.list_runners(ListRunnersRequest::default()).await.unwrap().into_inner().runners;
    assert_eq!(runners.len(), 2);
    for runner in runners {
        let request = GetRunnerRequest { runner_id: runner.runner_id.clone() };
        assert_eq!(api.runners.get_runner(request).await.unwrap().into_inner().runner.as_ref(), Some(&runner));
        let status = runner.status.as_ref().unwrap();
        if runner.runner_id == own {
            assert_eq!((status.phase(), status.message.as_str()), (RunnerPhase::Active, ""));
        } else {
            assert_eq!((status.phase(), runner.name.as_str()), (RunnerPhase::Unspecified, "nowhere"));
            assert!(status.message.contains("another server's"), "{status:?}");
        }
        assert_eq!(runner.spec.as_ref().unwrap().desired_phase(), RunnerPhase::Active);
        assert_eq!((runner.kind(), runner.provider()), (RunnerKind::Remote, RunnerProvider::LinuxHost));
        assert!(runner.created_at.is_some() && runner.updated_at == runner.created_at && runner.creator.is_none());
    }
}

/// A server that runs no environments, one runner that is nowhere, with a class, and somebody who asks.
async fn somewhere() -> (TestDatabase, TestServer, Api) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    database.runner_nowhere().await;
    let api = server.api(&server.user(&database, "dev@example.com").await).await;
    (database, server, api)
}

#[tokio::test]
async fn runners_and_classes_of_another_organization_do_not_exist() {
    let (database, server, mut own) = somewhere().await;
    let runner = database.text("SELECT id::text FROM runners", &[]).await;
    let class = database.text("SELECT id::text FROM environment_classes", &[]).await;
    let (_, _, token) = server.stranger(&database, "admin").await;
    let mut stranger = server.api(&token).await;

    for api in [&mut own, &mut stranger] {
        let of_none = ask(api, UNKNOWN, UNKNOWN).await;
        for refused in &of_none {
            assert_eq!(refused.as_ref().unwrap_err().code(), Code::NotFound, "{refused:?}");
        }
        for (field, refused) in
            ["runner_id", "environment_class_id", "runner_id", "runner_id"].into_iter().zip(ask(api, "x", "x").await)
        {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, field);
        }
    }
    for answer in ask(&mut own, &runner, &class).await {
        answer.unwrap();
    }
    let of_none = ask(&mut stranger, UNKNOWN, UNKNOWN).await;
    for (of_others, of_none) in ask(&mut stranger, &runner, &class).await.into_iter().zip(of_none) {
        let (of_others, of_none) = (of_others.unwrap_err(), of_none.unwrap_err());
        assert_eq!(of_others.code(), Code::NotFound, "{of_others}");
        let message = of_others.message().replace(&runner, UNKNOWN).replace(&class, UNKNOWN);
        assert_eq!(message, of_none.message(), "not to be told from what there is not");
    }
    let runners = stranger.runners.list_runners(ListRunnersRequest::default()).await.unwrap().into_inner();
    assert_eq!(runners.runners, []);
    let classes = ListEnvironmentClassesRequest::default();
    let classes = stranger.runner_configuration.list_environment_classes(classes).await.unwrap().into_inner();
    assert_eq!(classes.environment_classes, []);

    // Who looks for what is not theirs is seen.
    eventually("the reads are counted", async || {
        let counted = "SELECT count(DISTINCT rpc) FROM audit_tallies WHERE action = 'read' AND (rpc LIKE
            'gitpod.v1.RunnerService/%' OR rpc LIKE 'gitpod.v1.RunnerConfigurationService/%')";
        (database.number(counted, &[]).await == 6).then_some(())
    })
    .await;
}

/// What each RPC that names a runner or a class answers.
async fn ask(api: &mut Api, runner: &str, class: &str) -> [Result<(), tonic::Status>; 4] {
    let runner_id = || runner.to_owned();
    let context_url = "https://github.com/owner/name".to_owned();
    [
        api.runners.get_runner(GetRunnerRequest { runner_id: runner_id() }).await.map(drop),
        api.runner_configuration
            .get_environment_class(GetEnvironmentClassRequest { environment_class_id: class.to_owned() })
            .await
            .map(drop),
        api.runners.parse_context_url(ParseContextUrlRequest { runner_id: runner_id(), context_url }).await.map(drop),
        api.runners
            .check_authentication_for_host(CheckAuthenticationForHostRequest {
                runner_id: runner_id(),
                host: "github.com".to_owned(),
            })
            .await
            .map(drop),
    ]
}

#[tokio::test]
async fn a_class_is_shown_whether_it_is_enabled_or_not() {
    let (database, _server, mut api) = somewhere().await;
    let disable = "UPDATE environment_classes SET enabled = false, is_default = false RETURNING id::text";
    let id = database.text(disable, &[]).await;
    let request = GetEnvironmentClassRequest { environment_class_id: id.to_uppercase() };
    let class = api.runner_configuration.get_environment_class(request).await.unwrap().into_inner();
    let class = class.environment_class.unwrap();
    assert_eq!((class.id, class.enabled), (id, false));
}
