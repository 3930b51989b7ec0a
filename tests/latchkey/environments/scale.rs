//! A hundred environments at once.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use futures::future::join_all;
use latchkey::pb::gitpod::v1::{EnvironmentPhase, ListEnvironmentsRequest, PaginationRequest};

use super::limits::flags;
use crate::support::{
    Api, LocalServer,
    environments::{from_url, status},
    eventually, processes_around,
};

const ENVIRONMENTS: usize = 100;
const USERS: usize = 4;
/// How long it may take until all of them run, on two cores: what is promised, and many times what it takes.
const ALL_RUN_WITHIN: Duration = Duration::from_secs(60);

/// How many of a user's environments are in which phase.
async fn phases(api: &Api) -> BTreeMap<EnvironmentPhase, usize> {
    let pagination = Some(PaginationRequest { page_size: 100, ..Default::default() });
    let request = ListEnvironmentsRequest { pagination, ..Default::default() };
    let list = api.environments.clone().list_environments(request).await.unwrap().into_inner().environments;
    let mut phases = BTreeMap::new();
    for environment in &list {
        let status = status(environment);
        assert_eq!(status.failure_message, Vec::<String>::new(), "{}", environment.id);
        *phases.entry(status.phase()).or_default() += 1;
    }
    phases
}

/// Waits until all environments of all users are in a phase; as long as something goes on, it is waited for.
async fn all(apis: &[Api], phase: EnvironmentPhase) {
    let reached = async |apis: &[Api]| {
        let counts = join_all(apis.iter().map(phases)).await;
        counts.iter().filter_map(|count| count.get(&phase)).sum::<usize>()
    };
    let mut before = reached(apis).await;
    while before < ENVIRONMENTS {
        let what = format!("more than {before} are {}", phase.as_str_name());
        before = eventually(&what, async || Some(reached(apis).await).filter(|now| *now > before)).await;
    }
}

#[tokio::test]
async fn a_hundred_environments_at_once_run_stop_and_go_and_nothing_is_left() {
    let local = LocalServer::start_with(flags(&["--running-per-user", "50"])).await;
    local.git.add_repository("owner/small", &[("README.md", "small\n")]);
    let mut apis = Vec::new();
    for number in 0..USERS {
        apis.push(local.api_of_user(&format!("dev{number}@example.com")).await);
    }
    let begun = Instant::now();
    let created = join_all((0..ENVIRONMENTS).map(async |number| {
        let api = &apis[number % USERS];
        (api, api.create(from_url("https://github.com/owner/small")).await.unwrap().id)
    }))
    .await;
    all(&apis, EnvironmentPhase::Running).await;
    let took = begun.elapsed();
    assert!(took < ALL_RUN_WITHIN, "it took {took:?}");
    // Or what is looked for in the end could not be found.
    let directory = local.data_dir().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(processes_around(&directory).len() > ENVIRONMENTS);
    let said = join_all(created.iter().map(async |(api, id)| api.said(id, "cat README.md").await)).await;
    assert!(said.iter().all(|said| said == "small"), "{said:?}");

    join_all(created.iter().map(async |(api, id)| api.stop(id).await.unwrap())).await;
    all(&apis, EnvironmentPhase::Stopped).await;
    for (_, id) in &created {
        local.is_at_rest(id);
    }
    join_all(created.iter().map(async |(api, id)| api.delete(id).await.unwrap())).await;
    for (api, id) in &created {
        api.until_gone(id).await;
        local.is_gone(id).await;
    }
    let left: Vec<_> = fs::read_dir(local.data_dir().join("environments")).unwrap().flatten().collect();
    // What all environments share, and the lock.
    assert!(left.iter().all(|entry| entry.file_name().to_str().unwrap().parse::<uuid::Uuid>().is_err()), "{left:?}");
    let around = processes_around(&directory);
    let is_server = |line: &String| line.contains(" serve");
    assert!(around.iter().all(is_server), "processes or mounts are left: {around:?}");
}
