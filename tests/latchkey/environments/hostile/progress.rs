//! What a person sees while a clone takes its time.

use latchkey::pb::gitpod::v1::{
    Environment, EnvironmentPhase, ListEnvironmentsRequest,
    environment_status::content::{Progress, progress::Step},
};

use super::noise;
use crate::support::{
    Api, LocalServer,
    environments::{from_url, status},
    eventually,
    git_server::Manners,
};

fn progress(environment: &Environment) -> Option<Progress> {
    status(environment).content.as_ref().unwrap().progress
}

/// Waits until an environment runs that takes its time: however long, it is seen to go on. Gives what was seen.
pub(super) async fn until_it_runs(api: &Api, id: &str) -> Vec<Progress> {
    let mut seen = Vec::new();
    loop {
        let environment = eventually("the clone goes on", async || {
            let environment = api.get(id).await.unwrap();
            let on_its_way = [EnvironmentPhase::Creating, EnvironmentPhase::Starting];
            let is_over = !on_its_way.contains(&status(&environment).phase());
            (is_over || progress(&environment).is_some_and(|now| seen.last() != Some(&now))).then_some(environment)
        })
        .await;
        match progress(&environment) {
            Some(progress) => seen.push(progress),
            None => {
                assert_eq!(status(&environment).phase(), EnvironmentPhase::Running, "{environment:?}");
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn how_far_a_clone_has_come_is_told_while_it_lasts() {
    let local = LocalServer::start().await;
    local.git.import("owner/slow", |script| {
        writeln!(script, "commit refs/heads/main\ncommitter A <a@localhost> 0 +0000\ndata 1\nx").unwrap();
        for (number, noise) in noise(100 * 4096).chunks(4096).enumerate() {
            write!(script, "M 644 inline file-{number}\ndata {}\n", noise.len()).unwrap();
            script.write_all(noise).unwrap();
            writeln!(script).unwrap();
        }
    });
    local.git.set_manners("owner/slow", Manners::Halting);
    let api = local.api_of_user("dev@example.com").await;
    let created = api.create(from_url("https://github.com/owner/slow")).await.unwrap();
    let id = created.id;

    let half_way = eventually("it is told how far it is", async || {
        let environment = api.get(&id).await.unwrap();
        progress(&environment).is_some_and(|progress| progress.step() == Step::Receiving).then_some(environment)
    })
    .await;
    let Progress { done, total, .. } = progress(&half_way).unwrap();
    // A hundred files, their directory and their commit.
    assert!(total == 102 && done > 10 && done < 90, "{done} of {total}");
    assert_eq!(status(&half_way).phase(), EnvironmentPhase::Creating);
    let list =
        api.environments.clone().list_environments(ListEnvironmentsRequest::default()).await.unwrap().into_inner();
    assert_eq!(progress(&list.environments[0]).map(|progress| progress.total), Some(102));

    local.git.go_on();
    let running = api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(progress(&running), None, "it is over");
    // Nothing of it was a change of the status: it came to be, was started and ran.
    let changes = status(&running).status_version - status(&half_way).status_version;
    assert_eq!(changes, 2);
    api.delete_whole(&id).await;
}
