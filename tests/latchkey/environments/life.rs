//! From creation to the end, and what happens in between.

use latchkey::pb::gitpod::v1::{EnvironmentPhase, environment_status::ContentPhase as Content};
use nix::{
    sys::signal::{Signal, kill},
    unistd::User,
};
use tonic::Code;

use crate::support::{
    LocalServer, TestDatabase, TestServer,
    environments::{from_nothing, from_url, status},
    eventually,
    git_server::Manners,
    keys::token_id,
    outside, processes_with,
};

#[tokio::test]
async fn files_are_kept_over_a_stop_and_nothing_over_a_deletion() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    let marker = format!("31536000.{}", u32::from_str_radix(&id[..8], 16).unwrap());
    let begin =
        format!("echo mine > kept; mkdir ~/.cache && echo home > ~/.cache/kept; sleep {marker} >/dev/null 2>&1 &");
    api.said(&id, &begin).await;
    assert!(!processes_with(&marker).is_empty());
    let before = api.get(&id).await.unwrap();

    // Told twice, as once.
    api.stop(&id).await.unwrap();
    api.stop(&id).await.unwrap();
    let stopped = api.until(&id, EnvironmentPhase::Stopped).await;
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    assert_eq!(processes_with(&id), Vec::<String>::new());
    assert_eq!(status(&stopped).failure_message, Vec::<String>::new());
    assert_eq!(status(&stopped).environment_urls.as_ref().unwrap().ops, "");
    assert_eq!(status(&stopped).content.as_ref().unwrap().phase(), Content::Ready);
    assert!(status(&stopped).status_version > status(&before).status_version);
    assert!(stopped.spec.as_ref().unwrap().spec_version > before.spec.as_ref().unwrap().spec_version);

    api.start(&id).await.unwrap();
    api.start(&id).await.unwrap();
    let again = api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat kept ~/.cache/kept a").await, "mine\nhome\nb");
    let started = |environment: &latchkey::pb::gitpod::v1::Environment| {
        let time = environment.metadata.as_ref().unwrap().last_started_at.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(started(&again) > started(&before));

    // Deleted while it runs, with files that resist.
    api.said(&id, "mkdir -p deep/er; touch deep/er/x; chmod 0 deep/er deep; chmod 500 /workspace").await;
    api.delete(&id).await.unwrap();
    match api.delete(&id).await {
        Ok(()) => {}
        Err(status) => assert_eq!(status.code(), Code::NotFound, "quick, then"),
    }
    api.until_gone(&id).await;
    local.is_gone(&id).await;
    for error in [api.start(&id).await, api.stop(&id).await, api.delete(&id).await] {
        assert_eq!(error.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(api.environment_token(&id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_being_cloned_can_be_stopped_started_and_deleted() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;
    let creating = api.get(&id).await.unwrap();
    assert_eq!(status(&creating).phase(), EnvironmentPhase::Creating);
    assert_eq!(status(&creating).content.as_ref().unwrap().phase(), Content::Initializing);
    assert_ne!(processes_with(&id), Vec::<String>::new());

    api.stop(&id).await.unwrap();
    let stopped = api.until(&id, EnvironmentPhase::Stopped).await;
    assert_eq!(status(&stopped).failure_message, Vec::<String>::new(), "a stop is no failure");
    assert_ne!(status(&stopped).content.as_ref().unwrap().phase(), Content::Ready);
    assert_eq!(processes_with(&id), Vec::<String>::new());

    // Started while the server still says nothing, then stopped and started at once: the last word counts.
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Creating).await;
    local.git.set_manners("owner/slow", Manners::Plain);
    api.stop(&id).await.unwrap();
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat README.md").await, "slow");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;

    local.add_stalling_repository("owner/slower");
    let id = api.create(from_url("https://github.com/owner/slower")).await.unwrap().id;
    local.stalls("owner/slower").await;
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn one_that_does_not_answer_does_not_hold_up_the_others() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    let slow = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;
    let quick = api.create_running(from_nothing()).await;
    assert_eq!(status(&api.get(&slow).await.unwrap()).phase(), EnvironmentPhase::Creating);
    api.delete_whole(&quick).await;
    api.delete_whole(&slow).await;
    local.is_gone(&slow).await;
}

#[tokio::test]
async fn whoever_clones_much_at_once_waits_and_nobody_else_does() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let greedy = local.api_of_user("greedy@example.com").await;
    let mut asked = Vec::new();
    for _ in 0..6 {
        asked.push(greedy.create(from_url("https://github.com/owner/slow")).await.unwrap().id);
    }
    let cloning = || asked.iter().partition::<Vec<&String>, _>(|id| local.sandbox_of(id).is_some());
    let (clone, wait) = eventually("four clone", async || Some(cloning()).filter(|(clone, _)| clone.len() == 4)).await;
    let other = local.api_of_user("dev@example.com").await;
    let id = other.create_running(from_url("https://github.com/owner/name")).await;
    assert_eq!(cloning(), (clone.clone(), wait.clone()), "nobody else came to their turn meanwhile");

    // Who waits can give up, and who gives up makes room.
    greedy.delete_whole(wait[0]).await;
    assert!(local.sandbox_of(wait[1]).is_none());
    greedy.delete_whole(clone[0]).await;
    eventually("the last one has its turn", async || local.sandbox_of(wait[1]).map(drop)).await;
    for id in clone[1..].iter().chain(&wait[1..]) {
        greedy.delete_whole(id).await;
    }
    other.delete_whole(&id).await;
}

#[tokio::test]
async fn one_whose_processes_end_by_themselves_is_stopped_and_says_so() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    api.said(&id, "echo mine > kept").await;
    kill(local.sandbox_of(&id).expect("it runs"), Signal::SIGKILL).unwrap();
    let stopped = api.until(&id, EnvironmentPhase::Stopped).await;
    let failure = status(&stopped).failure_message.join("\n");
    assert!(failure.contains("ended unexpectedly"), "{failure}");
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat kept").await, "mine");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn a_server_that_is_told_to_end_leaves_environments_running() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let process = local.sandbox_of(&id).expect("it runs");
    local.stop().await;
    assert_eq!(local.sandbox_of(&id), Some(process));
    local.start_again().await;
    let api = local.api(&token).await;
    assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Running);
    assert_eq!(api.said(&id, "echo here").await, "here");
    assert_eq!(local.sandbox_of(&id), Some(process));
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    eventually("nobody holds the sandbox", async || local.sandbox_of(&id).is_none().then_some(())).await;
}

#[tokio::test]
async fn outside_all_that_it_does_is_done_by_the_sandboxes_account() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    // A server that is not root has no other account to give.
    let us = nix::unistd::geteuid();
    let account = if us.is_root() { User::from_name("latchkey-env").unwrap().expect("it exists").uid } else { us };
    assert!(!account.is_root());
    let look = async |id: &str, program: &str| {
        let seen = eventually(&format!("{program} runs"), async || {
            let seen = outside::of_sandbox(local.sandbox_of(id)?.as_raw());
            seen.iter().any(|one| one.name == program).then_some(seen)
        })
        .await;
        assert!(seen.iter().any(|one| one.name == "bwrap"), "{seen:?}");
        for one in seen {
            assert_eq!(one.users, [account.as_raw(); 4], "{one:?}");
            assert!(!one.groups.contains(&0) || !us.is_root(), "{one:?}");
        }
    };

    // A clone.
    let id = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;
    look(&id, "git").await;
    local.git.set_manners("owner/slow", Manners::Plain);
    api.stop(&id).await.unwrap();
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    // The supervisor, and commands.
    look(&id, "latchkey").await;
    assert_eq!(api.said(&id, "id -u; sleep 31536000 >/dev/null 2>&1 &").await, "1000", "inside it is somebody else");
    look(&id, "sleep").await;
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn what_was_asked_to_start_is_stopped_no_more() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    // Nobody brings it up.
    let id = database.environment_of(&token_id(&token)).await;
    api.start(&id).await.unwrap();
    assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Creating);
    let owner = database.owner().await;
    owner
        .batch_execute("UPDATE environments SET phase = 'stopped', desired_phase = 'stopped', content_ready = true")
        .await
        .unwrap();
    api.start(&id).await.unwrap();
    assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Starting);
}
