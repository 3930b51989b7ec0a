//! A machine that is restarted, and numbers of processes that it gives away again.

use std::{fs, path::Path, process::Command};

use latchkey::pb::gitpod::v1::EnvironmentPhase;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::support::{LocalServer, environments::from_nothing, eventually};

/// Changes what a server has written down of an environment's sandbox.
fn rewrite(directory: &Path, change: impl FnOnce(&mut Value)) {
    let path = directory.join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state["sandbox"]["identity"]);
    // In place: it belongs to the server's account.
    fs::write(path, serde_json::to_vec(&state).unwrap()).unwrap();
}

/// Ends the server, and then the sandbox, as a machine does that loses its power.
async fn lose_power(local: &mut LocalServer, environment: &str) {
    let sandbox = local.sandbox_of(environment).expect("it runs");
    local.kill().await;
    kill(sandbox, Signal::SIGKILL).unwrap();
    eventually("bubblewrap ends", async || local.sandbox_of(environment).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_restart_of_the_machine_is_recognized() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    api.said(&id, "echo mine > kept").await;
    lose_power(&mut local, &id).await;
    // Nobody restarts the machine of a test: what differs afterwards is what the kernel says of its start.
    rewrite(&local.directory_of(&id), |identity| identity["boot_id"] = json!("another"));
    local.start_again().await;
    let api = local.api(&token).await;
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("the machine was restarted"), "{failure}");
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat kept").await, "mine");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_process_that_has_the_number_of_a_sandbox_now_is_let_alone() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    // Of the same account, as one of another environment would be.
    let mut bystander = Command::new("sleep");
    bystander.arg("31536000");
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::{fs::MetadataExt, process::CommandExt};
        let owner = fs::metadata(local.directory_of(&id).join("ws")).unwrap();
        bystander.uid(owner.uid()).gid(owner.gid());
    }
    let mut bystander = bystander.spawn().unwrap();
    lose_power(&mut local, &id).await;
    let directory = local.directory_of(&id);
    rewrite(&directory, |identity| identity["pid"] = json!(bystander.id()));
    fs::write(directory.join("status"), format!("{{ \"child-pid\": {} }}\n", bystander.id())).unwrap();
    local.start_again().await;
    let api = local.api(&token).await;
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("ended unexpectedly"), "{failure}");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    assert!(bystander.try_wait().unwrap().is_none(), "it was taken for the sandbox");
    kill(Pid::from_raw(bystander.id().cast_signed()), Signal::SIGKILL).unwrap();
    bystander.wait().unwrap();
}
