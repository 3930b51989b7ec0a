//! How many environments there may be, and run: exactly so many, and whoever is refused learns which limit it was.

use std::future::Future;

use futures::future::join_all;
use latchkey::pb::gitpod::v1::{Environment, EnvironmentPhase, ListEnvironmentsRequest};
use tonic::{Code, Status};

use crate::support::{
    Api, LocalServer, ServerOptions, TestDatabase, TestServer,
    environments::{assert_exhausted, from_nothing, status, stopped},
};

async fn count(api: &Api) -> usize {
    let request = ListEnvironmentsRequest::default();
    api.environments.clone().list_environments(request).await.unwrap().into_inner().environments.len()
}

pub(super) fn flags(args: &[&str]) -> ServerOptions {
    ServerOptions { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..ServerOptions::default() }
}

#[tokio::test]
async fn whoever_is_at_a_limit_learns_which_and_how_to_get_below_it() {
    let local = LocalServer::start_with(flags(&["--environments-per-user", "3", "--running-per-user", "2"])).await;
    let api = local.api_of_user("dev@example.com").await;
    let one = api.create_running(from_nothing()).await;
    let two = api.create_running(from_nothing()).await;
    let running = ["2 environments of the same user", "2 may at once", "stop one of them first"];
    assert_exhausted(api.create(from_nothing()).await, &running);
    assert_eq!(count(&api).await, 2, "nothing was made");

    // One that does not run still has a place; then there is none at all.
    let three = api.create(stopped(from_nothing())).await.unwrap().id;
    for request in [stopped(from_nothing()), from_nothing()] {
        assert_exhausted(
            api.create(request).await,
            &["you have 3 environments", "may have 3", "delete one", "until it is gone"],
        );
    }

    assert_exhausted(api.start(&three).await, &running);
    assert_eq!(status(&api.get(&three).await.unwrap()).phase(), EnvironmentPhase::Stopped);
    // What runs already takes no second place.
    api.start(&one).await.unwrap();
    api.stop(&one).await.unwrap();
    api.start(&three).await.unwrap();
    assert_exhausted(api.start(&one).await, &running);
    api.until(&three, EnvironmentPhase::Running).await;

    // An admin's own are others than those that they start.
    let admin = local.server().admin_user(&local.database, "admin@example.com").await;
    let admin = local.api(&admin).await;
    assert_exhausted(admin.start(&one).await, &running);
    let other = admin.create_running(from_nothing()).await;

    api.delete_whole(&two).await;
    api.start(&one).await.unwrap();
    let four = api.create(stopped(from_nothing())).await.unwrap().id;
    for id in [one, three, four] {
        api.delete_whole(&id).await;
    }
    admin.delete_whole(&other).await;
}

#[tokio::test]
async fn what_failed_gives_its_place_back() {
    let local = LocalServer::start_with(flags(&["--running-per-user", "1"])).await;
    let api = local.api_of_user("dev@example.com").await;
    let url = "https://github.com/owner/none";
    let failed = api.create(crate::support::environments::from_url(url)).await.unwrap().id;
    api.until_failed(&failed).await;
    let id = api.create_running(from_nothing()).await;
    assert_exhausted(api.start(&failed).await, &["1 environments of the same user"]);
    api.delete_whole(&id).await;
    api.delete_whole(&failed).await;
}

/// Two servers on one database, with a runner that is nowhere: what is made stays as it was made.
async fn two_servers(args: &[&str]) -> (TestDatabase, TestServer, TestServer) {
    let database = TestDatabase::create().await;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let options = ServerOptions { args: args.clone(), ..ServerOptions::default() };
    let one = TestServer::start_with(&database, options).await;
    let options = ServerOptions { args, signing_keys: Some(one.keys()), ..ServerOptions::default() };
    let two = TestServer::start_with(&database, options).await;
    database.runner_nowhere().await;
    (database, one, two)
}

/// What was done of all that was asked for at once. The rest was refused for a limit of this scope.
async fn done<T>(asked: impl IntoIterator<Item = impl Future<Output = Result<T, Status>>>, scope: &str) -> Vec<T> {
    let (done, refused): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(Result::is_ok);
    for status in refused.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains(scope), "{status}");
    }
    done.into_iter().filter_map(Result::ok).collect()
}

async fn create_stopped(api: Api) -> Result<Environment, Status> {
    api.create(stopped(from_nothing())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_limits_are_exact_on_two_servers_at_once() {
    let (database, one, two) = two_servers(&["--environments-per-user", "5", "--running-per-user", "3"]).await;
    let token = one.user(&database, "dev@example.com").await;
    let apis = [one.api(&token).await, two.api(&token).await];
    let made = done((0..16).map(|number| create_stopped(apis[number % 2].clone())), "you have 5").await;
    assert_eq!(made.len(), 5);
    // Each started by both: whoever comes second finds it as it should be, and takes no place.
    let apis = &apis;
    let starts = made.iter().flat_map(|environment| apis.iter().map(move |api| api.start(&environment.id)));
    let started = done(starts, "of the same user").await;
    assert!((3..=6).contains(&started.len()), "{}", started.len());
    let running = "SELECT count(*) FROM environments WHERE desired_phase = 'running'";
    assert_eq!(database.number(running, &[]).await, 3);

    let other = one.user(&database, "other@example.com").await;
    assert_eq!(create_stopped(two.api(&other).await).await.unwrap().spec.unwrap().spec_version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organizations_limits_are_exact_whoever_asks_and_where() {
    let limits = ["--environments-per-organization", "7", "--running-per-organization", "4"];
    let (database, one, two) = two_servers(&limits).await;
    let mut apis = Vec::new();
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        let token = one.user(&database, email).await;
        apis.extend([one.api(&token).await, two.api(&token).await]);
    }
    let creates = (0..18).map(|number| {
        let api = apis[number % 6].clone();
        async move { api.create(from_nothing()).await }
    });
    assert_eq!(done(creates, "4 environments of your organization are running").await.len(), 4);
    let creates = (0..18).map(|number| create_stopped(apis[number % 6].clone()));
    assert_eq!(done(creates, "your organization has 7 environments").await.len(), 3);
    assert_exhausted(create_stopped(apis[0].clone()).await, &["that nobody needs", "ask your operator"]);

    // Places are given back and taken at once, and nobody waits for somebody who waits for them.
    let all: Vec<String> = database
        .owner()
        .await
        .query("SELECT id::text FROM environments", &[])
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.get(0))
        .collect();
    let admin = one.admin_user(&database, "admin@example.com").await;
    let admin = [one.api(&admin).await, two.api(&admin).await];
    let (all, admin) = (&all, &admin);
    for _ in 0..3 {
        let stops = all.iter().map(|id| async move { admin[0].stop(id).await });
        let starts = all.iter().map(|id| async move { admin[1].start(id).await });
        let (_, _) = tokio::join!(done(stops, "nothing"), done(starts, "of your organization are"));
        let running = "SELECT count(*) FROM environments WHERE desired_phase = 'running'";
        assert!(database.number(running, &[]).await <= 4);
    }
}

#[tokio::test]
async fn what_an_organizations_environments_fill_adds_up_however_much_it_is() {
    let (database, one, two) = two_servers(&["--disk-per-organization", "1TiB"]).await;
    let a = one.api(&one.user(&database, "a@example.com").await).await;
    let b = two.api(&one.user(&database, "b@example.com").await).await;
    let (of_a, of_b) = (create_stopped(a.clone()).await.unwrap().id, create_stopped(b.clone()).await.unwrap().id);
    let owner = database.owner().await;
    let fills = async |id: &String, bytes: i64| {
        let update = "UPDATE environments SET disk_bytes = $2 WHERE id = $1::text::uuid";
        assert_eq!(owner.execute(update, &[id, &bytes]).await.unwrap(), 1);
    };
    let words = ["the environments of your organization fill", "may fill 1 TiB", "that nobody needs", "your operator"];
    for (bytes, filled) in [(1 << 39, "1 TiB"), (i64::MAX, "8388607.9 TiB")] {
        fills(&of_a, bytes).await;
        fills(&of_b, bytes).await;
        // A user may fill less, and hears of that first.
        for api in [&a, &b] {
            assert_exhausted(api.create(from_nothing()).await, &["of the same user", "may fill 100 GiB"]);
        }
        let c = one.api(&one.user(&database, &format!("c{bytes}@example.com")).await).await;
        assert_exhausted(c.create(from_nothing()).await, &words);
        assert_exhausted(c.create(stopped(from_nothing())).await, &[filled]);
    }
    fills(&of_a, 1 << 30).await;
    fills(&of_b, 1 << 30).await;
    create_stopped(a).await.unwrap();
}
