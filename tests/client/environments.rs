//! `gitpod environment`, but for `exec`.

use std::process::Stdio;

use latchkey::pb::gitpod::v1::{
    EnvironmentClass, EnvironmentMetadata, EnvironmentPhase, environment_initializer::spec::Spec,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Status;

use crate::{
    gitpod::{Home, Run},
    server::{Server, environment, failed, new_id},
};

const URL: &str = "https://github.com/your-repo";

async fn signed_in() -> (Home, Server) {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    server.state().calls.clear();
    (home, server)
}

#[tokio::test]
async fn create_waits_and_prints_the_id_alone() {
    let (home, server) = signed_in().await;
    let id = new_id();
    server.looks(
        &id,
        [
            Ok(environment(&id, EnvironmentPhase::Creating)),
            Err(Status::unavailable("the database is away")),
            Ok(environment(&id, EnvironmentPhase::Starting)),
            Ok(environment(&id, EnvironmentPhase::Running)),
        ],
    );
    let run = home.gitpod(&["environment", "create", "--class-id", "some-class-id", URL, "--name", "n"]).await.ended(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (format!("{id}\n").as_str(), ""));
    assert_eq!(server.count("GetEnvironment"), 4);
    let request = server.state().created.remove(0);
    assert_eq!(request.name.as_deref(), Some("n"));
    let spec = request.spec.unwrap();
    assert_eq!(spec.desired_phase(), EnvironmentPhase::Running);
    assert_eq!(spec.machine.unwrap().class, "some-class-id");
    let specs = spec.content.unwrap().initializer.unwrap().specs;
    assert!(matches!(specs[0].spec.as_ref().unwrap(), Spec::ContextUrl(context) if context.url == URL), "{specs:?}");
}

#[tokio::test]
async fn create_with_dont_wait_returns_at_once_with_no_class_given() {
    let (home, server) = signed_in().await;
    let id = new_id();
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Creating))]);
    let run = home.gitpod(&["environment", "create", URL, "--dont-wait"]).await.ended(0);
    assert_eq!(run.stdout, format!("{id}\n"));
    assert_eq!(server.paths(), ["/gitpod.v1.EnvironmentService/CreateEnvironment"]);
    let request = server.state().created.remove(0);
    assert_eq!(request.spec.unwrap().machine.unwrap().class, "");
    assert_eq!(request.name, None);
}

#[tokio::test]
async fn create_tells_why_it_failed_and_which_it_was() {
    let (home, server) = signed_in().await;
    let id = new_id();
    let message = "git: the repository does not exist";
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Creating)), Ok(failed(&id, 2, message))]);
    let run = home.gitpod(&["environment", "create", URL]).await.ended(1).saying(message);
    assert_eq!(run.stdout, format!("{id}\n"));
}

#[tokio::test]
async fn create_shows_the_environment_when_asked_to() {
    let (home, server) = signed_in().await;
    let id = new_id();
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Running))]);
    let run = home.gitpod(&["environment", "create", URL, "-o", "json"]).await.ended(0);
    assert_eq!(run.json()["status"]["phase"], "ENVIRONMENT_PHASE_RUNNING");
}

#[tokio::test]
async fn waiting_ends_at_its_deadline_and_at_a_deletion() {
    let (home, server) = signed_in().await;
    let id = new_id();
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Starting))]);
    let run = home.gitpod(&["environment", "create", URL, "--timeout", "100ms"]).await.ended(1);
    run.saying("is not running after 100ms").saying(&id);
    server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Starting)), Err(Status::not_found("no"))]);
    home.gitpod(&["environment", "create", URL]).await.ended(4).saying("was deleted meanwhile");
}

#[tokio::test]
async fn ctrl_c_leaves_the_environment_and_names_it() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (home, server) = signed_in().await;
        let id = new_id();
        server.looks(&id, [Ok(environment(&id, EnvironmentPhase::Starting))]);
        let mut command = home.command(&["environment", "create", URL]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.called("GetEnvironment").await;
        kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), signal).unwrap();
        let run = Run::of(child).await.ended(code).saying(&id);
        assert_eq!(run.stdout, format!("{id}\n"));
        assert_eq!(server.count("DeleteEnvironment") + server.count("StopEnvironment"), 0);
    }
}

#[tokio::test]
async fn a_list_is_an_array_of_all_pages() {
    let (home, server) = signed_in().await;
    let run = home.gitpod(&["environment", "list", "-o", "json"]).await.ended(0);
    assert_eq!(run.json(), serde_json::json!([]));
    home.gitpod(&["environment", "list"]).await.ended(0).saying("There are no environments");
    let ids: Vec<String> = (0..5).map(|_| new_id()).collect();
    server.state().environments = ids.iter().map(|id| environment(id, EnvironmentPhase::Running)).collect();
    server.state().environments[1].metadata =
        Some(EnvironmentMetadata { name: "evil\u{1b}[2J\nname".to_owned(), ..Default::default() });
    server.state().calls.clear();

    let run = home.gitpod(&["environment", "list", "-o", "json"]).await.ended(0);
    assert_eq!(server.count("ListEnvironments"), 3);
    let list = run.json();
    let entries = list.as_array().unwrap();
    assert_eq!(entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    for entry in entries {
        assert_eq!(entry["status"]["phase"], "ENVIRONMENT_PHASE_RUNNING");
        assert_eq!(entry["status"]["statusVersion"], "1", "proto3 JSON writes 64-bit numbers as strings");
        assert_eq!(entry["url"], format!("{}/details/{}", server.url(), entry["id"].as_str().unwrap()));
    }
    let run = home.gitpod(&["environment", "ls", "-o", "yaml"]).await.ended(0);
    assert_eq!(serde_norway::from_str::<serde_json::Value>(&run.stdout).unwrap(), list);
    let run = home.gitpod(&["env", "list"]).await.ended(0);
    assert_eq!(run.stdout.lines().count(), 6, "{run:?}");
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let (home, server) = signed_in().await;
    server.state().endless = true;
    home.gitpod(&["environment", "list"]).await.ended(1).saying("again and again");
}

#[tokio::test]
async fn get_shows_one_or_several() {
    let (home, server) = signed_in().await;
    let (one, two, none) = (new_id(), new_id(), new_id());
    server.looks(&one, [Ok(environment(&one, EnvironmentPhase::Running))]);
    server.looks(&two, [Ok(failed(&two, 1, "no such branch"))]);
    let run = home.gitpod(&["environment", "get", &one, "-o", "json"]).await.ended(0);
    assert_eq!(run.json()["url"], format!("{}/details/{one}", server.url()));
    let run = home.gitpod(&["environment", "get", &two]).await.ended(0);
    assert!(run.stdout.contains("no such branch"), "{run:?}");
    let run = home.gitpod(&["environment", "get", &one, &none, &two, "-o", "json"]).await.ended(4).saying(&none);
    let found: Vec<_> = run.json().as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(found, [one.as_str(), two.as_str()]);
    home.gitpod(&["environment", "get", &none]).await.ended(4).saying("there is no environment of yours");
    home.gitpod(&["environment", "get", "1"]).await.ended(2).saying("is not a UUID");
}

#[tokio::test]
async fn stop_waits_for_each_and_reports_each() {
    let (home, server) = signed_in().await;
    let (one, two, none) = (new_id(), new_id(), new_id());
    for id in [&one, &two] {
        let phases = [EnvironmentPhase::Running, EnvironmentPhase::Stopping, EnvironmentPhase::Stopped];
        server.looks(id, phases.map(|phase| Ok(environment(id, phase))));
    }
    let run = home.gitpod(&["environment", "stop", &one, &none, &two]).await.ended(4).saying(&none);
    assert_eq!(run.stdout, "");
    assert_eq!(server.count("StopEnvironment"), 3);
    assert_eq!(server.count("GetEnvironment"), 6);
    home.gitpod(&["environment", "stop", &one]).await.ended(0);
    server.state().calls.clear();
    home.gitpod(&["environment", "stop", &one, "--dont-wait"]).await.ended(0);
    assert_eq!(server.count("GetEnvironment"), 0);
}

#[tokio::test]
async fn start_is_not_misled_by_the_failure_before() {
    let (home, server) = signed_in().await;
    let id = new_id();
    let old = || Ok(failed(&id, 7, "the old failure"));
    server.looks(&id, [old(), old(), old(), Ok(environment(&id, EnvironmentPhase::Running))]);
    home.gitpod(&["environment", "start", &id]).await.ended(0);
    server.looks(&id, [old(), old(), Ok(failed(&id, 9, "the new failure"))]);
    home.gitpod(&["environment", "start", &id]).await.ended(1).saying("the new failure");
}

#[tokio::test]
async fn delete_waits_until_it_is_gone() {
    let (home, server) = signed_in().await;
    let id = new_id();
    let deleting = Ok(environment(&id, EnvironmentPhase::Deleting));
    server.looks(&id, [deleting.clone(), deleting, Err(Status::not_found("gone"))]);
    home.gitpod(&["environment", "delete", &id]).await.ended(0);
    assert_eq!(server.count("GetEnvironment"), 3);
}

#[tokio::test]
async fn classes_are_listed() {
    let (home, server) = signed_in().await;
    let class = |id: &str| EnvironmentClass { id: id.to_owned(), enabled: true, ..Default::default() };
    server.state().classes = ["small", "regular", "large"].map(class).to_vec();
    let run = home.gitpod(&["environment", "list-classes", "-o", "json"]).await.ended(0);
    assert_eq!(run.json()[2], serde_json::json!({"id": "large", "enabled": true}));
    let run = home.gitpod(&["environment", "list-classes"]).await.ended(0);
    assert_eq!(run.stdout.lines().count(), 4);
}

#[tokio::test]
async fn a_closed_or_full_standard_output_is_no_panic() {
    let (home, server) = signed_in().await;
    server.state().environments = vec![environment(&new_id(), EnvironmentPhase::Running)];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = home.gitpod_into(writer, &["environment", "list"]).await.ended(0);
    assert_eq!(run.stderr, "");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = home.gitpod_into(full, &["environment", "list"]).await.ended(1);
    run.saying("cannot write the output");
}

#[tokio::test]
async fn durations_are_checked_first() {
    let home = Home::new();
    for wrong in ["0s", "soon", "-1s", ""] {
        home.gitpod(&["environment", "create", URL, "--timeout", wrong]).await.ended(2);
    }
}
