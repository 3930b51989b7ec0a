//! A server that is killed, at every step of an environment's life, and the next one in its place.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use latchkey::pb::{gitpod::v1::EnvironmentPhase, supervisor::v1::ExecRequest};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Code;

use super::{Barrier, Death};
use crate::support::{
    Api, LATCHKEY, LocalServer, TestServer,
    environments::{from_nothing, from_url, status},
    eventually,
    git_server::Manners,
    is_alive, left_out,
};

#[tokio::test]
async fn what_a_killed_server_was_cloning_the_next_one_clones() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        local.add_stalling_repository("owner/slow");
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let goes_on = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
        local.stalls("owner/slow").await;
        local.add_stalling_repository("owner/other");
        let is_stopped = api.create(from_url("https://github.com/owner/other")).await.unwrap().id;
        local.stalls("owner/other").await;
        local.add_stalling_repository("owner/third");
        let is_deleted = api.create(from_url("https://github.com/owner/third")).await.unwrap().id;
        local.stalls("owner/third").await;
        death.comes_to(&mut local).await;
        // Said while no server was there to act on it, by way of another one perhaps.
        let words = local.database.superuser().await;
        for (id, desired) in [(&is_stopped, "stopped"), (&is_deleted, "deleted")] {
            let said = "UPDATE environments SET desired_phase = $2, epoch = epoch + 1 WHERE id = $1::text::uuid";
            words.execute(said, &[id, &desired]).await.unwrap();
        }
        local.git.set_manners("owner/slow", Manners::Plain);

        local.start_again().await;
        let api = local.api(&token).await;
        api.until(&goes_on, EnvironmentPhase::Running).await;
        assert_eq!(api.said(&goes_on, "git status --short; cat README.md").await, "slow");
        api.until(&is_stopped, EnvironmentPhase::Stopped).await;
        local.is_at_rest(&is_stopped);
        api.until_gone(&is_deleted).await;
        local.is_gone(&is_deleted).await;
        for id in [goes_on, is_stopped] {
            api.delete_whole(&id).await;
            local.is_gone(&id).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_ran_goes_on_with_the_same_processes() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let id = api.create_running(from_nothing()).await;
        let started = api.said(&id, "sleep 1000 >/dev/null 2>&1 & echo $!").await;
        let process = local.sandbox_of(&id).expect("it runs");
        let version = status(&api.get(&id).await.unwrap()).status_version;

        for _ in 0..2 {
            death.comes_to(&mut local).await;
            assert_eq!(local.sandbox_of(&id), Some(process));
            local.start_again().await;
            let api = local.api(&token).await;
            assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Running);
            assert_eq!(api.said(&id, &format!("kill -0 {started} && echo alive")).await, "alive");
            assert_eq!(local.sandbox_of(&id), Some(process));
        }
        let api = local.api(&token).await;
        assert_eq!(status(&api.get(&id).await.unwrap()).status_version, version, "nothing happened to it");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_ended_while_no_server_looked_is_found_stopped() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let id = local.api(&token).await.create_running(from_nothing()).await;
        let process = local.sandbox_of(&id).expect("it runs");
        death.comes_to(&mut local).await;
        kill(process, Signal::SIGKILL).unwrap();
        local.start_again().await;
        let api = local.api(&token).await;
        let failure = api.until_failed(&id).await;
        assert!(failure.contains("ended unexpectedly"), "{failure}");
        api.start(&id).await.unwrap();
        api.until(&id, EnvironmentPhase::Running).await;
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_starting_runs_with_the_processes_that_had_begun() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let barrier = Barrier::before_update(&local, "NEW.phase = 'running'").await;
        let api = local.api(&token).await;
        let id = api.create(from_nothing()).await.unwrap().id;
        barrier.reached(&local).await;
        assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Starting);
        let process = local.sandbox_of(&id).expect("it runs");
        death.comes_to(&mut local).await;
        drop(barrier);
        local.start_again().await;
        let api = local.api(&token).await;
        api.until(&id, EnvironmentPhase::Running).await;
        assert_eq!(local.sandbox_of(&id), Some(process));
        assert_eq!(api.said(&id, "echo here").await, "here");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_stopping_is_stopped() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let id = api.create_running(from_nothing()).await;
        api.said(&id, "echo mine > kept").await;
        let barrier = Barrier::before_update(&local, "NEW.phase = 'stopped'").await;
        api.stop(&id).await.unwrap();
        barrier.reached(&local).await;
        assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Stopping);
        death.comes_to(&mut local).await;
        drop(barrier);
        local.start_again().await;
        let api = local.api(&token).await;
        api.until(&id, EnvironmentPhase::Stopped).await;
        local.is_at_rest(&id);
        api.start(&id).await.unwrap();
        api.until(&id, EnvironmentPhase::Running).await;
        assert_eq!(api.said(&id, "cat kept").await, "mine");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_being_deleted_is_gone() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let id = api.create_running(from_nothing()).await;
        let mut operations = api.operations_of(&id).await;
        let barrier = Barrier::before_delete(&local).await;
        api.delete(&id).await.unwrap();
        barrier.reached(&local).await;
        // Its tokens are dead from the word on, not only when all is removed; and there is no way back.
        let command = ExecRequest { command: "true".to_owned(), ..Default::default() };
        assert_eq!(operations.exec(command).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(api.environment_token(&id).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(api.start(&id).await.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(api.stop(&id).await.unwrap_err().code(), Code::FailedPrecondition);
        api.delete(&id).await.unwrap();
        assert_eq!(status(&api.get(&id).await.unwrap()).phase(), EnvironmentPhase::Deleting);
        death.comes_to(&mut local).await;
        drop(barrier);
        local.start_again().await;
        local.api(&token).await.until_gone(&id).await;
        local.is_gone(&id).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_not_touched_yet_is_stopped_and_deleted_by_the_next_one() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let (stopped, deleted) = (api.create_running(from_nothing()).await, api.create_running(from_nothing()).await);
        let sandboxes = [&stopped, &deleted].map(|id| local.sandbox_of(id).expect("it runs"));
        let barrier = Barrier::before_update(&local, "NEW.phase IN ('stopping', 'deleting')").await;
        api.stop(&stopped).await.unwrap();
        api.delete(&deleted).await.unwrap();
        barrier.reached(&local).await;
        death.comes_to(&mut local).await;
        assert!(sandboxes.iter().all(|sandbox| is_alive(*sandbox)), "it was done before it was written down");
        drop(barrier);
        local.start_again().await;
        let api = local.api(&token).await;
        api.until(&stopped, EnvironmentPhase::Stopped).await;
        local.is_at_rest(&stopped);
        api.until_gone(&deleted).await;
        local.is_gone(&deleted).await;
        assert!(!sandboxes.iter().any(|sandbox| is_alive(*sandbox)));
        api.delete_whole(&stopped).await;
    })
    .await;
}

/// Puts another file in the place of the program, as the next version's package does, longer than the one before: what is behind
/// the end of a program does nothing.
fn install(program: &Path) -> u64 {
    let length = fs::metadata(program).map_or(0, |before| before.len());
    let new = program.with_extension("new");
    fs::copy(LATCHKEY, &new).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&new).unwrap();
    file.set_len(length.max(file.metadata().unwrap().len()) + 1).unwrap();
    fs::rename(new, program).unwrap();
    file.metadata().unwrap().len()
}

#[tokio::test]
async fn what_runs_goes_on_when_the_server_is_another_version() {
    let directory = tempfile::Builder::new().prefix("latchkey-versions-").tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let program = directory.path().join("latchkey");
    let before = install(&program);
    // `$1` is the program that tests run otherwise.
    let words = ["sh", "-c", r#"shift; exec "$0" "$@""#, program.to_str().unwrap()].map(str::to_owned).to_vec();
    let mut local = LocalServer::start_in(words).await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let started = api.said(&id, "sleep 1000 >/dev/null 2>&1 & echo $!").await;
    // Both read by who is inside: outside, whoever is not root may not.
    let version = async |api: &Api| api.said(&id, "stat -c %s /opt/latchkey/latchkey").await.parse::<u64>().unwrap();
    assert_eq!(version(&api).await, before);
    let process = local.sandbox_of(&id).expect("it runs");

    let after = install(&program);
    local.kill().await;
    local.start_again().await;
    let api = local.api(&token).await;
    assert_eq!(local.sandbox_of(&id), Some(process));
    assert_eq!(api.said(&id, &format!("kill -0 {started} && echo alive")).await, "alive");
    assert_eq!(version(&api).await, before);
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert!(after > before);
    assert_eq!(version(&api).await, after);
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn what_was_asked_for_a_moment_before_comes_about() {
    Death::each(async |death| {
        let mut local = death.awaits().await;
        let token = local.user("dev@example.com").await;
        let mut asked = Vec::new();
        for _ in 0..3 {
            let api = local.api(&token).await;
            asked.push(api.create(from_nothing()).await.unwrap().id);
            death.comes_to(&mut local).await;
            local.start_again().await;
        }
        let api = local.api(&token).await;
        for id in &asked {
            api.until(id, EnvironmentPhase::Running).await;
            assert_eq!(api.said(id, "pwd").await, "/workspace");
        }
        for id in &asked {
            api.delete_whole(id).await;
            local.is_gone(id).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_start_was_trying_out_is_removed_by_the_next_one() {
    // Under bubblewrap's name: tells which groups it is in, and is there as long as the server is. The next time it is bubblewrap.
    let directory = tempfile::Builder::new().prefix("latchkey-trial-").tempdir().unwrap();
    let (told, program) = (directory.path().join("told"), directory.path().join("bwrap"));
    let path = std::env::var("PATH").unwrap();
    let real = path.split(':').map(|place| Path::new(place).join("bwrap")).find(|place| place.exists()).unwrap();
    let script = format!(
        "#!/bin/sh\n[ -s {told} ] && exec {real} \"$@\"\n(cat /proc/self/cgroup; echo $PPID; echo end) > {told}\n\
         while [ -d /proc/$PPID ]; do sleep 0.01; done\n",
        told = told.display(),
        real = real.display()
    );
    fs::write(&program, script).unwrap();
    fs::write(&told, "").unwrap();
    // It runs as the sandboxes' account.
    for (path, mode) in [(directory.path(), 0o755), (&program, 0o755), (&told, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut local = LocalServer::start().await;
    local.stop().await;
    local.set_variables(&[("PATH", &format!("{}:{path}", directory.path().display()))]);
    let killed = async {
        let text = eventually("it is tried out", async || {
            fs::read_to_string(&told).ok().filter(|text| text.ends_with("end\n"))
        })
        .await;
        let server = text.lines().rev().nth(1).unwrap().parse().unwrap();
        kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
        text
    };
    let (started, text) = tokio::join!(TestServer::try_start_with(&local.database, local.options()), killed);
    assert!(started.is_err());
    let name = |line: &str| line.split_once("/latchkey/").map(|(_, name)| name.to_owned());
    let Some(group) = text.lines().find_map(name) else {
        left_out("there is no control group");
        return;
    };
    assert!(local.control_group(&group, "cgroup.procs").is_some(), "it is left of the one that was killed");
    local.start_again().await;
    local.is_at_rest(&group);
}
