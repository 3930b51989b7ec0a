//! The runners of an organization, page by page.

use latchkey::pb::gitpod::v1::{
    ListRunnersRequest, ListRunnersResponse, PaginationRequest, RunnerKind, RunnerProvider,
    list_runners_request::Filter,
};
use tonic::{Code, Status};

use super::{UNKNOWN, somewhere};
use crate::support::{Api, details};

/// Runners that became known at a few moments, so that the ID often decides.
const MANY: &str = "
    INSERT INTO runners (id, organization_id, name, created_at)
    SELECT gen_random_uuid(), id, 'runner ' || n, now() - make_interval(secs => 1 + n % 3)
    FROM organizations, generate_series(1, 130) n";

#[tokio::test]
async fn runners_come_page_by_page_the_newest_first() {
    let (database, server, api) = somewhere().await;
    let owner = database.owner().await;
    owner.batch_execute(MANY).await.unwrap();
    let query = "SELECT id::text FROM runners ORDER BY created_at DESC, id DESC";
    let in_order: Vec<String> = owner.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // Another organization's are on no page.
    let (organization, _, _) = server.stranger(&database, "member").await;
    let theirs = "INSERT INTO runners (id, organization_id, name) VALUES (gen_random_uuid(), $1::text::uuid, 'theirs')";
    owner.execute(theirs, &[&organization]).await.unwrap();

    for (asked, size) in [(0, 25), (1, 1), (7, 7), (100, 100), (i32::MAX, 100)] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&api, page(asked, &token)).await.unwrap();
            let left = in_order.len() - seen.len();
            assert_eq!(page.runners.len(), left.min(size), "{asked} asked for, {left} left");
            seen.extend(ids(&page));
            token = page.pagination.unwrap().next_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, in_order, "{asked}");
    }
    // One that comes to be meanwhile moves nothing.
    let token = list(&api, page(3, "")).await.unwrap().pagination.unwrap().next_token;
    database.runner_nowhere().await;
    assert_eq!(ids(&list(&api, page(3, &token)).await.unwrap()), in_order[3..6]);

    for (request, field) in [
        (page(-1, ""), "pagination.page_size"),
        (page(3, "x"), "pagination.token"),
        (page(3, &format!("{token}0")), "pagination.token"),
        (filtered(Filter { creator_ids: vec!["me".to_owned()], ..Default::default() }), "filter.creator_ids"),
        (filtered(Filter { creator_ids: vec![UNKNOWN.to_owned(); 101], ..Default::default() }), "filter.creator_ids"),
    ] {
        let error = list(&api, request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, field, "{error}");
    }
}

#[tokio::test]
async fn what_no_runner_is_matches_none() {
    let (database, _server, api) = somewhere().await;
    let all = vec![database.text("SELECT id::text FROM runners", &[]).await];
    let kinds = |kinds: &[RunnerKind]| Filter { kinds: numbers(kinds), ..Default::default() };
    let providers = |providers: &[RunnerProvider]| Filter { providers: numbers(providers), ..Default::default() };
    let user = api.clone().whoami().await.unwrap();
    for (filter, expected) in [
        (Filter::default(), &all as &[String]),
        (kinds(&[RunnerKind::Remote]), &all),
        (kinds(&[RunnerKind::Local, RunnerKind::Remote]), &all),
        (kinds(&[RunnerKind::Local]), &[]),
        (Filter { kinds: vec![99], ..Default::default() }, &[]),
        (providers(&[RunnerProvider::LinuxHost]), &all),
        (providers(&[RunnerProvider::AwsEc2, RunnerProvider::LinuxHost]), &all),
        (providers(&[RunnerProvider::AwsEc2]), &[]),
        (Filter { kinds: numbers(&[RunnerKind::Remote]), ..providers(&[RunnerProvider::Gcp]) }, &[]),
        // Servers add their own.
        (Filter { creator_ids: vec![user], ..kinds(&[RunnerKind::Remote]) }, &[]),
    ] {
        let what = format!("{filter:?}");
        let answer = list(&api, filtered(filter)).await.unwrap();
        assert_eq!((ids(&answer).as_slice(), answer.pagination.unwrap().next_token.as_str()), (expected, ""), "{what}");
    }
}

fn numbers<T: Copy + Into<i32>>(values: &[T]) -> Vec<i32> {
    values.iter().map(|value| (*value).into()).collect()
}

fn page(page_size: i32, token: &str) -> ListRunnersRequest {
    let pagination = PaginationRequest { page_size, token: token.to_owned() };
    ListRunnersRequest { pagination: Some(pagination), filter: None }
}

fn filtered(filter: Filter) -> ListRunnersRequest {
    ListRunnersRequest { filter: Some(filter), ..Default::default() }
}

async fn list(api: &Api, request: ListRunnersRequest) -> Result<ListRunnersResponse, Status> {
    api.runners.clone().list_runners(request).await.map(tonic::Response::into_inner)
}

fn ids(answer: &ListRunnersResponse) -> Vec<String> {
    answer.runners.iter().map(|runner| runner.runner_id.clone()).collect()
}
