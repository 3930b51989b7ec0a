//! Sandboxes that are killed: their first process, with all that runs there, or bubblewrap, which waits outside for them.

use latchkey::pb::{gitpod::v1::EnvironmentPhase, supervisor::v1::ExecRequest};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Code;

use super::{Barrier, Death};
use crate::support::{
    Api, LocalServer,
    environments::{from_nothing, from_url, status},
    eventually,
    git_server::Manners,
    is_alive, left_out, long_sleep, processes_around, processes_with,
};

/// The bubblewrap that waits for an environment's sandbox.
fn bubblewrap(environment: &str) -> Pid {
    let found: Vec<String> =
        processes_with(environment).into_iter().filter(|line| !line.contains("\"measure\"")).collect();
    let [line] = found.as_slice() else { panic!("not one bubblewrap: {found:?}") };
    Pid::from_raw(line.split(':').next().unwrap().parse().unwrap())
}

fn end(process: Pid) {
    kill(process, Signal::SIGKILL).unwrap();
}

async fn ends(process: Pid) {
    eventually("a process ends", async || (!is_alive(process)).then_some(())).await;
}

#[tokio::test]
async fn a_clone_whose_sandbox_is_killed_fails_and_can_be_done_again() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;
    end(local.sandbox_of(&id).expect("it clones"));
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("ended without saying why"), "{failure}");
    local.is_at_rest(&id);
    local.git.set_manners("owner/slow", Manners::Plain);
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "git status --short; cat README.md").await, "slow");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_clone_whose_bubblewrap_is_killed_is_under_control_still() {
    let mut local = LocalServer::start().await;
    local.add_stalling_repository("owner/slow");
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let mut clones = Vec::new();
    for name in ["owner/slow", "owner/other"] {
        local.add_stalling_repository(name);
        let id = api.create(from_url(&format!("https://github.com/{name}"))).await.unwrap().id;
        local.stalls(name).await;
        let sandbox = local.sandbox_of(&id).expect("it clones");
        let bubblewrap = bubblewrap(&id);
        end(bubblewrap);
        ends(bubblewrap).await;
        assert!(is_alive(sandbox), "bubblewrap's end is not the sandbox's");
        clones.push((id, sandbox));
    }
    // By the same server.
    let (id, sandbox) = clones.remove(0);
    api.delete_whole(&id).await;
    assert!(!is_alive(sandbox));
    local.is_gone(&id).await;
    // And by the next one.
    let (id, sandbox) = clones.remove(0);
    // It would end by itself, without the server's proxy.
    kill(sandbox, Signal::SIGSTOP).unwrap();
    local.kill().await;
    local.git.set_manners("owner/other", Manners::Plain);
    local.start_again().await;
    let api = local.api(&token).await;
    api.until(&id, EnvironmentPhase::Running).await;
    assert!(!is_alive(sandbox), "two clone into one directory");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn what_runs_without_its_bubblewrap_goes_on_and_is_under_control_still() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let sandbox = local.sandbox_of(&id).expect("it runs");
    let bubblewrap = bubblewrap(&id);
    end(bubblewrap);
    ends(bubblewrap).await;
    assert_eq!(api.said(&id, "echo mine | tee kept").await, "mine");
    local.kill().await;
    local.start_again().await;
    let api = local.api(&token).await;
    assert_eq!(api.said(&id, "cat kept").await, "mine");
    assert!(is_alive(sandbox), "the same one goes on");
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    assert!(!is_alive(sandbox));
    local.is_at_rest(&id);
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat kept").await, "mine");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn what_dies_while_it_starts_is_stopped_and_says_so() {
    let local = LocalServer::start().await;
    let barrier = Barrier::before_update(&local, "NEW.phase = 'running'").await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_nothing()).await.unwrap().id;
    barrier.reached(&local).await;
    let sandbox = local.sandbox_of(&id).expect("it starts");
    end(sandbox);
    ends(sandbox).await;
    drop(barrier);
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("ended unexpectedly"), "{failure}");
    local.is_at_rest(&id);
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_command_ends_with_the_sandbox_or_the_server_and_is_not_done_twice() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let id = api.create_running(from_nothing()).await;
        let sleep = long_sleep(&id);
        let request = ExecRequest { command: format!("echo once >> done; {sleep}"), ..Default::default() };
        let run = async |api: &Api| {
            let mut operations = api.operations_of(&id).await;
            let request = request.clone();
            let running = tokio::spawn(async move { operations.exec(request).await });
            // The shell has the same words in its own line, before it has done anything.
            let sleeps = || processes_with(&sleep).iter().any(|line| line.contains(": sleep"));
            eventually("the command runs", async || sleeps().then_some(())).await;
            // In a tuple: what is awaited is not the end.
            (running,)
        };

        let (running,) = run(&api).await;
        death.comes_to(&mut local).await;
        // The client's own word for a connection that broke.
        assert!(running.await.unwrap().is_err());
        eventually("the command ends", async || processes_with(&sleep).is_empty().then_some(())).await;
        local.start_again().await;
        let api = local.api(&token).await;
        assert_eq!(api.said(&id, "cat done").await, "once");

        let (running,) = run(&api).await;
        end(local.sandbox_of(&id).expect("it runs"));
        assert_eq!(running.await.unwrap().unwrap_err().code(), Code::Unavailable);
        let failure = api.until_failed(&id).await;
        assert!(failure.contains("ended unexpectedly"), "{failure}");
        assert_eq!(processes_with(&sleep), Vec::<String>::new());
        api.start(&id).await.unwrap();
        api.until(&id, EnvironmentPhase::Running).await;
        assert_eq!(api.said(&id, "cat done").await, "once\nonce");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_has_nothing_of_an_environment_but_its_mounts_is_found() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root gets into another's mounts");
        return;
    }
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let sandbox = local.sandbox_of(&id).expect("it runs");
    let mut words = tokio::process::Command::new("nsenter");
    let mut stranger = words
        .args(["--target", &sandbox.to_string(), "--mount", "sleep", "31536000"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let is_there = || processes_around(&id).iter().any(|line| line.contains(": sleep") && line.contains("mountinfo"));
    eventually("it is in there", async || is_there().then_some(())).await;
    api.delete_whole(&id).await;
    let found = is_there();
    stranger.kill().await.unwrap();
    assert!(found, "it outlives what it was in");
    local.is_gone(&id).await;
}

/// The first process of a sandbox, or the bubblewrap that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Sandbox,
    Bubblewrap,
}

impl Victim {
    async fn is_killed(self, local: &LocalServer, environment: &str) {
        let process = match self {
            Self::Sandbox => local.sandbox_of(environment).expect("it runs"),
            Self::Bubblewrap => bubblewrap(environment),
        };
        end(process);
        ends(process).await;
    }
}

#[tokio::test]
async fn what_loses_its_bubblewrap_while_it_starts_runs() {
    let local = LocalServer::start().await;
    let barrier = Barrier::before_update(&local, "NEW.phase = 'running'").await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_nothing()).await.unwrap().id;
    barrier.reached(&local).await;
    let sandbox = local.sandbox_of(&id).expect("it starts");
    Victim::Bubblewrap.is_killed(&local, &id).await;
    drop(barrier);
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "echo here").await, "here");
    assert!(is_alive(sandbox), "the same one goes on");
    api.delete_whole(&id).await;
    assert!(!is_alive(sandbox));
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_command_goes_on_when_bubblewrap_is_killed_and_is_done_once() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let mut operations = api.operations_of(&id).await;
    let command = "echo once >> done; until [ -e go ]; do sleep 0.02; done; cat done".to_owned();
    let running =
        tokio::spawn(async move { operations.exec(ExecRequest { command, ..Default::default() }).await.unwrap() });
    eventually("the command runs", async || (api.run(&id, "cat done").await.exit_code == 0).then_some(())).await;
    Victim::Bubblewrap.is_killed(&local, &id).await;
    api.said(&id, "touch go").await;
    assert_eq!(running.await.unwrap().into_inner().stdout, "once\n");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn what_is_killed_while_it_is_stopped_is_stopped_and_nothing_else() {
    // The stop has been asked for, and is held up where it begins: a moment later nothing is left to be killed.
    for victim in [Victim::Sandbox, Victim::Bubblewrap] {
        let local = LocalServer::start().await;
        let api = local.api_of_user("dev@example.com").await;
        let id = api.create_running(from_nothing()).await;
        api.said(&id, "echo mine > kept").await;
        let sandbox = local.sandbox_of(&id).expect("it runs");
        let barrier = Barrier::before_update(&local, "NEW.phase = 'stopping'").await;
        api.stop(&id).await.unwrap();
        barrier.reached(&local).await;
        victim.is_killed(&local, &id).await;
        drop(barrier);
        let stopped = api.until(&id, EnvironmentPhase::Stopped).await;
        assert_eq!(status(&stopped).failure_message, Vec::<String>::new(), "{victim:?}");
        assert!(!is_alive(sandbox), "{victim:?}");
        local.is_at_rest(&id);
        api.start(&id).await.unwrap();
        api.until(&id, EnvironmentPhase::Running).await;
        assert_eq!(api.said(&id, "cat kept").await, "mine");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    }
}
