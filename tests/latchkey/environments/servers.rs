//! Several servers: on one data directory, and on one database.

use std::fs;

use latchkey::pb::{
    gitpod::v1::{EnvironmentPhase, ListEnvironmentClassesRequest},
    supervisor::v1::ExecRequest,
};
use tonic::Code;

use crate::support::{
    LocalServer, ServerOptions, TestServer,
    environments::{from_nothing, of_class, operations, status, stopped},
};

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let Err(said) = TestServer::try_start_with(&local.database, local.options()).await else {
        panic!("a second server started")
    };
    assert!(said.contains("another server") && said.contains("stop it first"), "{said}");
    assert_eq!(api.said(&id, "echo here").await, "here", "the first one goes on");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn an_environment_belongs_to_the_server_that_runs_it() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let class = api.get(&id).await.unwrap().spec.unwrap().machine.unwrap().class;
    let environment_token = api.environment_token(&id).await.unwrap();

    let keys = fs::read_to_string(local.data_dir().join("signing-keys")).unwrap();
    let options = ServerOptions { data_dir: None, signing_keys: Some(keys), ..local.options() };
    let mut second = TestServer::start_with(&local.database, options).await;
    let through = second.api(&token).await;
    assert_eq!(status(&through.get(&id).await.unwrap()).phase(), EnvironmentPhase::Running);

    // What is to run on the second one shows that its reconciler has been at work.
    let request = ListEnvironmentClassesRequest::default();
    let classes =
        through.environments.clone().list_environment_classes(request).await.unwrap().into_inner().environment_classes;
    assert_eq!(classes.len(), 6);
    let first_runner = api.get(&id).await.unwrap().metadata.unwrap().runner_id;
    let of_second = classes.iter().find(|class| class.runner_id != first_runner).unwrap();
    let other = through.create_running(of_class(from_nothing(), &of_second.id)).await;
    // Without a class, the default one of the server that was asked: where commands can be run at once.
    for (asked, runner) in [(&api, &first_runner), (&through, &of_second.runner_id)] {
        let made = asked.create(stopped(from_nothing())).await.unwrap();
        assert_eq!(&made.metadata.unwrap().runner_id, runner);
    }
    assert!(!local.directory_of(&other).exists());
    assert!(second.data_dir().join("environments").join(&other).exists());
    assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Running);

    // Commands go through the server whose environment it is.
    let ops = |server: &TestServer, id: &str| format!("{}/environments/{id}/ops", server.url());
    let exec = || ExecRequest { command: "echo here".to_owned(), ..Default::default() };
    let error = operations(&ops(&second, &id), &environment_token).await.exec(exec()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let answer = operations(&ops(local.server(), &id), &environment_token).await.exec(exec()).await.unwrap();
    assert_eq!(answer.into_inner().stdout, "here\n");

    // Asked of the second, carried out by the first; nobody runs what belongs to a server that is away.
    through.delete_whole(&other).await;
    assert!(!second.data_dir().join("environments").join(&other).exists());
    through.stop(&id).await.unwrap();
    through.until(&id, EnvironmentPhase::Stopped).await;
    assert!(second.stop().await);
    let orphan = api.create(of_class(from_nothing(), &of_second.id)).await.unwrap().id;
    let own = api.create_running(of_class(from_nothing(), &class)).await;
    assert_eq!(status(&api.get(&orphan).await.unwrap()).phase(), EnvironmentPhase::Creating);
    assert!(!local.directory_of(&orphan).exists());
    api.delete_whole(&own).await;
    api.delete_whole(&id).await;
}
