//! Many environments at once.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::future::join_all;
use latchkey::pb::gitpod::v1::EnvironmentPhase;

use crate::{
    api::Api,
    ground::{
        Server,
        usage::{memory, time_of},
    },
    machine,
};

/// Creates so many at once, and waits until all run.
pub(super) async fn create(api: &mut Api, count: usize) -> Vec<String> {
    let began = Instant::now();
    let ask = |mut api: Api| async move { api.ask_for("https://github.com/owner/small").await };
    let environments = join_all((0..count).map(|_| ask(api.clone()))).await;
    let asked = began.elapsed();
    for environment in &environments {
        api.reach(environment, EnvironmentPhase::Running).await;
    }
    println!(
        "{count} environments of a repository with one file, at once: all asked for after {:.2} s, all running after {:.1} s (bar: 60 s for 100)",
        asked.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    environments
}

/// What they cost when nobody uses them.
pub(super) async fn idle(server: &Server, data: &Path, environments: &[String], time: Duration) {
    // What a start leaves to be done: ten seconds later, each is counted for the first time.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let first =
        |id: &String| machine::sandbox(&data.join("environments").join(id)).expect("it runs").as_raw_nonzero().get();
    let supervisors: Vec<i32> = environments.iter().map(first).collect();
    let used = || {
        let processes = server.processes();
        (
            processes.iter().map(|pid| time_of(*pid)).sum::<f64>(),
            supervisors.iter().map(|pid| time_of(*pid)).sum::<f64>(),
        )
    };
    let (before, began) = (used(), Instant::now());
    tokio::time::sleep(time).await;
    let (after, seconds) = (used(), began.elapsed().as_secs_f64());
    let share = |now: f64, then: f64| (now - then) / seconds * 100.0;
    println!(
        "{} idle environments for {seconds:.0} s: the server takes {:.2}% of a processor (bar: 1%), all supervisors together {:.2}%",
        environments.len(),
        share(after.0, before.0),
        share(after.1, before.1)
    );
    let mut sizes: Vec<(f64, f64)> = supervisors.iter().map(|pid| memory(*pid)).collect();
    sizes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (middle, most) = (sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
    println!(
        "an idle supervisor: {:.1} MiB resident, {:.1} MiB of it its own (the most: {:.1} MiB; bar: 8 MiB)",
        middle.0, middle.1, most.0
    );
}

/// Stops and deletes them.
pub(super) async fn delete(api: &mut Api, environments: &[String]) {
    let began = Instant::now();
    let delete = |mut api: Api, id: String| async move { api.delete(&id).await };
    join_all(environments.iter().map(|id| delete(api.clone(), id.clone()))).await;
    println!(
        "{} running environments deleted at once: all gone after {:.1} s",
        environments.len(),
        began.elapsed().as_secs_f64()
    );
}
