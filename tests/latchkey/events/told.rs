//! Who is told what.

use latchkey::domain::ids::EnvironmentId;
use latchkey::pb::gitpod::v1::{
    EnvironmentPhase,
    ResourceOperation::{Create, Delete, Update, UpdateStatus},
    ResourceType, WatchEventsRequest,
    watch_events_request::{ResourceTypeFilter, Scope},
};
use tonic::Code;

use super::watch::{everything, of, of_one};
use crate::support::{
    LocalServer, TestDatabase, TestServer,
    environments::{from_nothing, status, stopped},
    keys::token_id,
};

#[tokio::test]
async fn the_life_of_an_environment_is_told_as_it_goes() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let mut watch = api.watch(everything()).await.unwrap();
    let id = api.create(from_nothing()).await.unwrap().id;
    watch.tells(Create, &id).await;
    // Whoever looks at each word of a change has seen the phase that it came to.
    loop {
        watch.tells(UpdateStatus, &id).await;
        if status(&api.get(&id).await.unwrap()).phase() == EnvironmentPhase::Running {
            break;
        }
    }
    // What was told before it was read may come after.
    let mut watch = api.watch(of_one(&id)).await.unwrap();
    watch.tells(UpdateStatus, &id).await;
    api.stop(&id).await.unwrap();
    let mut told = vec![];
    while !told.contains(&Update) {
        told.push(watch.next().await.unwrap().0);
    }
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.delete(&id).await.unwrap();
    while !told.contains(&Delete) {
        told.push(watch.next().await.unwrap().0);
    }
    assert!(told[..told.len() - 1].iter().all(|operation| matches!(operation, Update | UpdateStatus)), "{told:?}");
    api.until_gone(&id).await;
}

#[tokio::test]
async fn members_are_told_of_their_own_and_admins_of_all() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let (dev, other) = (server.user(&database, "dev@example.com").await, server.user(&database, "o@example.com").await);
    let admin = server.admin_user(&database, "admin@example.com").await;
    let mut as_dev = server.api(&dev).await.watch(everything()).await.unwrap();
    let mut as_admin = server.api(&admin).await.watch(everything()).await.unwrap();
    let others = database.environment_of(&token_id(&other)).await;
    let own = database.environment_of(&token_id(&dev)).await;
    as_admin.tells(Create, &others).await;
    as_admin.tells(Create, &own).await;
    as_dev.tells(Create, &own).await;
}

#[tokio::test]
async fn filters_let_pass_what_they_name() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let (dev, other) = (server.user(&database, "dev@example.com").await, server.user(&database, "o@example.com").await);
    let creator = server.api(&other).await.whoami().await.unwrap();
    let mut all = admin.watch(everything()).await.unwrap();
    let first = database.environment_of(&token_id(&dev)).await;
    let second = database.environment_of(&token_id(&other)).await;
    // Once the server has told of them, it does not tell it again to who watches from here on.
    all.tells(Create, &first).await;
    all.tells(Create, &second).await;

    // Named ones are told of at once, however long they have been there.
    let mut of_first = admin.watch(of(&[&first], &[])).await.unwrap();
    of_first.tells(UpdateStatus, &first).await;
    let mut alone = admin.watch(of_one(&second)).await.unwrap();
    alone.tells(UpdateStatus, &second).await;
    let mut of_creator = admin.watch(of(&[], &[&creator])).await.unwrap();
    let mut of_neither = admin.watch(of(&[&first], &[&creator])).await.unwrap();

    let rename = "UPDATE environments SET name = 'renamed'";
    assert_eq!(database.owner().await.execute(rename, &[]).await.unwrap(), 2);
    of_first.tells(Update, &first).await;
    alone.tells(Update, &second).await;
    of_creator.tells(Update, &second).await;

    let remove = "DELETE FROM environments";
    assert_eq!(database.owner().await.execute(remove, &[]).await.unwrap(), 2);
    let third = database.environment_of(&token_id(&other)).await;
    of_first.tells(Delete, &first).await;
    alone.tells(Delete, &second).await;
    of_creator.tells(Delete, &second).await;
    of_creator.tells(Create, &third).await;
    // Nothing matched both; its stream says so by what it tells first: the end.
    database.suspend("admin@example.com", true).await;
    assert_eq!(of_neither.next().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn others_environments_and_those_that_are_not_there_are_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let (dev, other) = (server.user(&database, "dev@example.com").await, server.user(&database, "o@example.com").await);
    let others = database.environment_of(&token_id(&other)).await;
    let nowhere = EnvironmentId::generate().to_string();
    let api = server.api(&dev).await;
    for id in [&others, &nowhere] {
        for request in [of(&[id], &[]), of_one(id)] {
            api.watch(request).await.unwrap().tells(Delete, id).await;
        }
    }
}

#[tokio::test]
async fn whoever_reads_first_and_watches_then_misses_nothing() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(stopped(from_nothing())).await.unwrap().id;
    api.until(&id, EnvironmentPhase::Stopped).await;
    // As some clients do: they look, and begin to watch when all is over.
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    api.watch(of(&[&id], &[])).await.unwrap().tells(UpdateStatus, &id).await;
    api.delete_whole(&id).await;
    api.watch(of(&[&id], &[])).await.unwrap().tells(Delete, &id).await;
}

#[tokio::test]
async fn every_server_tells_whatever_another_brings_about() {
    let database = TestDatabase::create().await;
    let a = TestServer::start(&database).await;
    let b = TestServer::start_beside(&a, &database).await;
    let token = a.user(&database, "dev@example.com").await;
    database.runner_nowhere().await;
    let mut watch = b.api(&token).await.watch(everything()).await.unwrap();
    let id = a.api(&token).await.create(from_nothing()).await.unwrap().id;
    watch.tells(Create, &id).await;
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_by_field() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    let typed = |resource_type: i32| WatchEventsRequest {
        resource_type_filters: vec![ResourceTypeFilter { resource_type, ..Default::default() }],
        ..everything()
    };
    let naming = |filters: &[(usize, usize)]| {
        let ids = |number| (0..number).map(|_| EnvironmentId::generate().to_string()).collect();
        let filters = filters.iter().map(|(environments, creators)| ResourceTypeFilter {
            resource_ids: ids(*environments),
            creator_ids: ids(*creators),
            ..Default::default()
        });
        WatchEventsRequest { resource_type_filters: filters.collect(), ..everything() }
    };
    let many = vec!["x".to_owned(); 101];
    let ids = ResourceTypeFilter { resource_ids: many, ..Default::default() };
    for (request, field) in [
        (WatchEventsRequest { scope: Some(Scope::Organization(false)), ..Default::default() }, "organization"),
        (of_one("x"), "environment_id"),
        (of(&["x"], &[]), "resource_type_filters.resource_ids"),
        (of(&[], &["x"]), "resource_type_filters.creator_ids"),
        (typed(ResourceType::Runner.into()), "resource_type_filters.resource_type"),
        (typed(4711), "resource_type_filters.resource_type"),
        // However it is divided.
        (WatchEventsRequest { resource_type_filters: vec![ids], ..everything() }, "resource_type_filters"),
        (naming(&[(60, 0), (41, 0)]), "resource_type_filters"),
        (naming(&[(0, 50), (51, 0)]), "resource_type_filters"),
        (naming(&[(30, 30); 100]), "resource_type_filters"),
        (
            WatchEventsRequest { resource_type_filters: vec![ResourceTypeFilter::default(); 101], ..everything() },
            "resource_type_filters",
        ),
    ] {
        let Err(refused) = api.watch(request).await else { panic!("{field} is taken") };
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
    }
    api.watch(naming(&[(50, 25), (25, 0)])).await.unwrap().next().await.unwrap();
    // Without a type is of every type that there is, without a scope of the whole organization.
    api.watch(typed(0)).await.unwrap();
    let mut watch = api.watch(WatchEventsRequest::default()).await.unwrap();
    let environment = database.environment_of(&token_id(&token)).await;
    watch.tells(Create, &environment).await;
}

#[tokio::test]
async fn one_principal_watches_a_hundred_times_at_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let api = server.api(&server.user(&database, "dev@example.com").await).await;
    let nowhere = EnvironmentId::generate().to_string();
    let mut watches = vec![];
    for _ in 0..100 {
        watches.push(api.watch(of_one(&nowhere)).await.unwrap());
    }
    let Err(refused) = api.watch(everything()).await else { panic!("more are taken") };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let another = server.api(&server.user(&database, "o@example.com").await).await;
    another.watch(everything()).await.unwrap();
    // Whoever leaves makes room.
    watches.truncate(99);
    crate::support::eventually("there is room again", async || api.watch(everything()).await.ok()).await;
}

#[tokio::test]
async fn nobody_is_told_of_another_organizations_environments() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let (_, stranger, theirs) = server.stranger(&database, "admin").await;
    let api = server.api(&admin).await;
    let environment = database.environment_of(&token_id(&theirs)).await;
    // Not even by name: neither the environment nor who made it.
    api.watch(of_one(&environment)).await.unwrap().tells(Delete, &environment).await;
    let mut all = api.watch(everything()).await.unwrap();
    let mut of_stranger = api.watch(of(&[], &[&stranger])).await.unwrap();
    let mut as_stranger = server.api(&theirs).await.watch(everything()).await.unwrap();

    let rename = "UPDATE environments SET name = 'renamed'";
    assert_eq!(database.owner().await.execute(rename, &[]).await.unwrap(), 1);
    as_stranger.tells(Update, &environment).await;
    let own = database.environment_of(&token_id(&admin)).await;
    all.tells(Create, &own).await;
    database.suspend("admin@example.com", true).await;
    assert_eq!(of_stranger.next().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn whatever_is_asked_of_an_environment_and_becomes_of_it_is_told() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let environment = database.environment_of(&token_id(&token)).await;
    let mut watch = server.api(&token).await.watch(of_one(&environment)).await.unwrap();
    watch.tells(UpdateStatus, &environment).await;
    let owner = database.owner().await;
    for (change, operation) in [
        ("name = 'another'", Update),
        ("desired_phase = 'running'", Update),
        ("desired_phase = 'stopped'", Update),
        ("annotations = '{\"a\": \"b\"}'", Update),
        ("session_id = 'another'", Update),
        ("archived_at = now()", Update),
        ("archived_at = NULL", Update),
        ("status_version = status_version + 1", UpdateStatus),
    ] {
        owner.batch_execute(&format!("UPDATE environments SET {change}")).await.unwrap();
        watch.tells(operation, &environment).await;
        // What changes nothing, and what is only counted, is no news: the next change is what is told next.
        owner.batch_execute("UPDATE environments SET name = name, disk_bytes = disk_bytes + 1").await.unwrap();
    }
}
