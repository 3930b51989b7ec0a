//! Removals that are killed in the middle: the process that removes files, bubblewrap, which waits outside for it, the server.

use std::fs;

use latchkey::pb::gitpod::v1::EnvironmentPhase;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Api, LocalServer, environments::from_nothing, eventually, is_alive, processes_with};

/// A removal that stands still.
struct Removal {
    /// Waits outside.
    bubblewrap: Pid,
    /// Removes what there is.
    wiping: Pid,
}

/// How many directories there are to be removed, full of files.
const DIRECTORIES: usize = 200;

impl Removal {
    /// Deletes an environment, and stops the removal in the middle.
    async fn halted(local: &LocalServer, api: &Api) -> (String, Self) {
        let id = api.create_running(from_nothing()).await;
        let fill =
            format!("for i in $(seq {DIRECTORIES}); do mkdir $i && (cd $i && seq 100 | xargs touch) || exit; done");
        api.said(&id, &fill).await;
        api.stop(&id).await.unwrap();
        api.until(&id, EnvironmentPhase::Stopped).await;
        let workspace = local.directory_of(&id).join("ws");
        let left = || fs::read_dir(&workspace).into_iter().flatten().count();
        api.delete(&id).await.unwrap();
        let begun = async || {
            if left() == DIRECTORIES {
                return None;
            }
            let number = |line: &String| Pid::from_raw(line.split(':').next().unwrap().parse().unwrap());
            let bubblewrap = processes_with(&id).iter().find(|line| line.contains("\"wipe\"")).map(number)?;
            Some(Self { bubblewrap, wiping: local.sandbox_of(&id)? })
        };
        let removal = eventually("it is removed", begun).await;
        kill(removal.wiping, Signal::SIGSTOP).unwrap();
        assert!(left() > 0, "the removal was over before it was stopped");
        (id, removal)
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // What a failed test has stopped would stay so for ever.
        if std::thread::panicking() && is_alive(self.wiping) {
            let _ = kill(self.wiping, Signal::SIGKILL);
        }
    }
}

fn end(process: Pid) {
    kill(process, Signal::SIGKILL).unwrap();
}

async fn ends(process: Pid) {
    eventually("a process ends", async || (!is_alive(process)).then_some(())).await;
}

#[tokio::test]
async fn a_removal_whose_bubblewrap_is_killed_is_ended_and_done_again() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let (id, removal) = Removal::halted(&local, &api).await;
    end(removal.bubblewrap);
    api.until_gone(&id).await;
    assert!(!is_alive(removal.wiping), "two remove the same, and one is left");
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_removal_that_is_killed_is_done_again() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let (id, removal) = Removal::halted(&local, &api).await;
    end(removal.wiping);
    api.until_gone(&id).await;
    assert!(!is_alive(removal.bubblewrap));
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_removal_that_nobody_waits_for_any_more_is_ended_by_the_next_server_and_done_again() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let (id, removal) = Removal::halted(&local, &api).await;
    local.kill().await;
    end(removal.bubblewrap);
    ends(removal.bubblewrap).await;
    assert!(is_alive(removal.wiping), "bubblewrap's end is not the removal's");
    local.start_again().await;
    local.api(&token).await.until_gone(&id).await;
    assert!(!is_alive(removal.wiping), "two remove the same, and one is left");
    local.is_gone(&id).await;
}
