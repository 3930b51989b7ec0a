//! Environments that are put aside, and put back.

use latchkey::pb::gitpod::v1::{
    CountRequest, EnvironmentPhase, ListEnvironmentsRequest, PaginationRequest, SortOrder,
    list_environments_request::{ArchivalStatus, Filter, Sort, SortField},
};
use tonic::{Code, Status};

use crate::support::{
    Api, LocalServer, TestDatabase, TestServer, details,
    environments::{from_nothing, stopped},
};

#[tokio::test]
async fn an_archived_environment_is_out_of_the_way_and_keeps_its_files() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    api.said(&id, "echo mine > kept").await;
    assert_refused(api.archive(&id).await, "stop it first");
    assert_eq!(archived_at(&api, &id).await, None);

    api.stop(&id).await.unwrap();
    // It is on its way to rest, and nobody can start it any more.
    api.archive(&id).await.unwrap();
    let at = archived_at(&api, &id).await;
    assert!(at.is_some());
    api.until(&id, EnvironmentPhase::Stopped).await;
    assert_refused(api.start(&id).await, "unarchive it first");
    api.stop(&id).await.expect("it is stopped already");
    let version = api.get(&id).await.unwrap().status.unwrap().status_version;
    api.archive(&id).await.expect("a second time is no error");
    assert_eq!(archived_at(&api, &id).await, at, "it has been since the first time");
    assert_eq!(api.get(&id).await.unwrap().status.unwrap().status_version, version);

    let both = api.create(stopped(from_nothing())).await.unwrap().id;
    let listed = async |status: Option<ArchivalStatus>| {
        let filter = Some(Filter { archival_status: status.map(Into::into), ..Default::default() });
        let request =
            ListEnvironmentsRequest { filter, count: Some(CountRequest { include: true }), ..Default::default() };
        let answer = api.environments.clone().list_environments(request).await.unwrap().into_inner();
        let ids: Vec<String> = answer.environments.into_iter().map(|environment| environment.id).collect();
        assert_eq!(usize::try_from(answer.count.unwrap().value).unwrap(), ids.len());
        ids
    };
    for status in [None, Some(ArchivalStatus::Unspecified), Some(ArchivalStatus::Active)] {
        assert_eq!(listed(status).await, std::slice::from_ref(&both), "{status:?}");
    }
    assert_eq!(listed(Some(ArchivalStatus::Archived)).await, std::slice::from_ref(&id));
    assert_eq!(listed(Some(ArchivalStatus::All)).await, [both.clone(), id.clone()]);

    api.unarchive(&id).await.unwrap();
    api.unarchive(&id).await.expect("a second time is no error");
    assert_eq!(archived_at(&api, &id).await, None);
    assert_eq!(listed(None).await, [both.clone(), id.clone()]);
    api.start(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "cat kept").await, "mine");

    // What is archived can be deleted.
    api.archive(&both).await.unwrap();
    api.delete_whole(&both).await;
    api.delete_whole(&id).await;
}

/// A server without environments that run, and somebody who can ask for some.
async fn somewhere() -> (TestDatabase, TestServer, Api) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    database.runner_nowhere().await;
    let api = server.api(&server.user(&database, "dev@example.com").await).await;
    (database, server, api)
}

#[tokio::test]
async fn archived_environments_come_in_the_order_of_their_archival() {
    let (_database, _server, api) = somewhere().await;
    let mut made = Vec::new();
    for _ in 0..8 {
        made.push(api.create(stopped(from_nothing())).await.unwrap().id);
    }
    let oldest_first: Vec<String> = [3, 0, 6, 1, 5, 2].map(|number: usize| made[number].clone()).to_vec();
    for id in &oldest_first {
        api.archive(id).await.unwrap();
    }
    let newest_first: Vec<String> = oldest_first.iter().rev().cloned().collect();
    for (order, expected) in
        [(SortOrder::Asc, &oldest_first), (SortOrder::Desc, &newest_first), (SortOrder::Unspecified, &newest_first)]
    {
        for size in [1, 2, 5, 100] {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (ids, next) = by_archival(&api, ArchivalStatus::Archived, order, size, &token).await.unwrap();
                seen.extend(ids);
                assert!(seen.len() <= expected.len(), "pages without an end");
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(&seen, expected, "{order:?}, {size} a page");
        }
    }
    // Whoever is archived between two pages is before the first of the newest, and after the last of the oldest.
    for (order, in_order) in [(SortOrder::Desc, &newest_first), (SortOrder::Asc, &oldest_first)] {
        let (_, token) = by_archival(&api, ArchivalStatus::Archived, order, 2, "").await.unwrap();
        api.archive(&made[4]).await.unwrap();
        let (ids, _) = by_archival(&api, ArchivalStatus::Archived, order, 2, &token).await.unwrap();
        assert_eq!(ids, in_order[2..4], "{order:?}");
        api.unarchive(&made[4]).await.unwrap();
    }
    for status in [ArchivalStatus::Unspecified, ArchivalStatus::Active, ArchivalStatus::All] {
        let refused = by_archival(&api, status, SortOrder::Desc, 2, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{status:?}: {refused}");
        assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, "sort.field");
    }
}

async fn by_archival(
    api: &Api,
    status: ArchivalStatus,
    order: SortOrder,
    page_size: i32,
    token: &str,
) -> Result<(Vec<String>, String), Status> {
    let request = ListEnvironmentsRequest {
        pagination: Some(PaginationRequest { page_size, token: token.to_owned() }),
        filter: Some(Filter { archival_status: Some(status.into()), ..Default::default() }),
        sort: Some(Sort { field: SortField::ArchivedAt.into(), order: order.into() }),
        ..Default::default()
    };
    let answer = api.environments.clone().list_environments(request).await?.into_inner();
    let ids = answer.environments.into_iter().map(|environment| environment.id).collect();
    Ok((ids, answer.pagination.unwrap().next_token))
}

#[tokio::test]
async fn of_an_archival_and_a_start_at_once_one_is_refused() {
    let (_database, _server, api) = somewhere().await;
    let id = api.create(stopped(from_nothing())).await.unwrap().id;
    for round in 0..30 {
        let (archived, started) = tokio::join!(api.archive(&id), api.start(&id));
        match (&archived, &started) {
            (Ok(()), Err(refused)) | (Err(refused), Ok(())) => {
                assert_eq!(refused.code(), Code::FailedPrecondition, "{round}: {refused}");
            }
            (Ok(()), Ok(())) | (Err(_), Err(_)) => panic!("{round}: {archived:?}, {started:?}"),
        }
        api.stop(&id).await.unwrap();
        api.unarchive(&id).await.unwrap();
    }
}

async fn archived_at(api: &Api, id: &str) -> Option<prost_types::Timestamp> {
    api.get(id).await.unwrap().metadata.unwrap().archived_at
}

#[track_caller]
fn assert_refused(answer: Result<(), Status>, says: &str) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(says), "{refused}");
}
