//! A server that root starts does not stay root.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

use latchkey::pb::gitpod::v1::EnvironmentPhase;
use nix::unistd::{Uid, User};

use crate::support::{
    LocalServer, TestServer,
    environments::{from_nothing, from_url},
    eventually, is_alive, left_out,
};

fn uid(account: &str) -> u32 {
    User::from_name(account).unwrap().expect("the account is there").uid.as_raw()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start_matches(':').trim()
}

/// The process that serves, which is not the one that was started.
fn server_process(server: &TestServer) -> i32 {
    let serving = server.serving().as_raw();
    assert_ne!(serving, server.pid().cast_signed(), "there is a process that serves");
    serving
}

macro_rules! only_root {
    () => {
        if !Uid::effective().is_root() {
            left_out("only root has the rights of root to give up");
            return;
        }
    };
}

#[tokio::test]
async fn the_server_has_no_right_of_roots_and_cannot_have_it_again() {
    only_root!();
    let local = LocalServer::start().await;
    let server = server_process(local.server());
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let latchkey = uid("latchkey");
    assert!(field(&status, "Uid").split_whitespace().all(|id| id == latchkey.to_string()), "{status}");
    assert!(!field(&status, "Gid").split_whitespace().any(|id| id == "0"), "{status}");
    assert_eq!(field(&status, "Groups"), "");
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(&status, name).trim_start_matches('0'), "", "{name}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    // Every thread of it, not the first alone.
    for thread in fs::read_dir(format!("/proc/{server}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(field(&status, "Uid").split_whitespace().all(|id| id == latchkey.to_string()), "{status}");
    }
    // Neither what it was started with nor its surroundings tell of the database's owner or of keys.
    let told =
        [fs::read(format!("/proc/{server}/cmdline")).unwrap(), fs::read(format!("/proc/{server}/environ")).unwrap()];
    let told = String::from_utf8_lossy(&told.concat()).into_owned();
    assert!(!told.contains("postgres") && !told.contains("owner"), "{told}");
}

#[tokio::test]
async fn what_is_roots_stays_roots_and_environments_work_all_the_same() {
    only_root!();
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    assert_eq!(api.said(&id, "cat a").await, "b");
    let data = local.data_dir().to_owned();
    let owner_of = |path: &str| fs::metadata(data.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")).uid();
    let (root, server, sandbox) = (0, uid("latchkey"), uid("latchkey-env"));
    for (path, owner) in [
        ("signing-keys".to_owned(), root),
        ("runner-id".to_owned(), root),
        ("environments".to_owned(), server),
        ("environments/shared".to_owned(), root),
        ("environments/shared/clone.gitconfig".to_owned(), root),
        (format!("environments/{id}"), server),
        (format!("environments/{id}/state.json"), server),
        (format!("environments/{id}/egress"), server),
        (format!("environments/{id}/ws"), sandbox),
        (format!("environments/{id}/home"), sandbox),
        (format!("environments/{id}/run"), sandbox),
    ] {
        assert_eq!(owner_of(&path), owner, "{path}");
    }
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat a").await, "b");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn neither_process_outlives_the_other() {
    only_root!();
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let gone = async |pid: i32| {
        eventually("a process is gone", async || (!is_alive(nix::unistd::Pid::from_raw(pid))).then_some(())).await;
    };
    // Whoever was started is killed: the server ends with it, and the environment does not.
    let server = server_process(local.server());
    local.kill().await;
    gone(server).await;
    local.start_again().await;
    let api = local.api(&token).await;
    assert_eq!(api.said(&id, "echo here").await, "here");
    // The server is killed: whoever was started says so, and ends.
    let (monitor, server) = (local.server().pid().cast_signed(), server_process(local.server()));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server), nix::sys::signal::Signal::SIGKILL).unwrap();
    gone(monitor).await;
    assert!(local.server().log().contains("the server ended"), "{}", local.server().log());
    local.start_again().await;
    let api = local.api(&token).await;
    assert_eq!(api.said(&id, "echo here").await, "here");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn environments_of_a_server_that_was_root_are_taken_over() {
    only_root!();
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    assert_eq!(api.said(&id, "echo kept > file; cat file").await, "kept");
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    local.kill().await;
    // As an earlier version left it.
    let directory = local.directory_of(&id);
    let mut owned = BTreeMap::new();
    let files = ["egress", "state.json", "status", "log", "measuring.status", "measuring.log"];
    for path in files.map(|name| directory.join(name)).into_iter().chain([directory.clone()]) {
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        owned.insert(path.clone(), fs::metadata(&path).unwrap().uid());
    }
    assert!(owned.values().all(|owner| *owner == 0));
    local.start_again().await;
    let api = local.api(&token).await;
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat file").await, "kept");
    for name in files {
        assert_eq!(fs::metadata(directory.join(name)).unwrap().uid(), uid("latchkey"), "{name}");
    }
    api.delete_whole(&id).await;
}
