//! What environments can be made of.

use latchkey::pb::gitpod::v1::{
    ListEnvironmentClassesRequest, ListEnvironmentClassesResponse, ListPersonalAccessTokensRequest, PaginationRequest,
    RunnerKind, RunnerProvider, list_environment_classes_request::Filter,
};
use tonic::{Code, Status};

use crate::support::{Api, LocalServer, TestDatabase, TestServer, details, keys::token_id};

#[tokio::test]
async fn there_are_three_classes_from_the_start_and_small_is_the_default() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let classes = list(&api, ListEnvironmentClassesRequest::default()).await.unwrap().environment_classes;
    let named: Vec<_> = classes.iter().map(|class| (class.display_name.as_str(), class.enabled)).collect();
    assert_eq!(named, [("Small", true), ("Regular", true), ("Large", true)]);
    let offers = |number: usize, key: &str| {
        let found = classes[number].configuration.iter().find(|field| field.key == key);
        found.unwrap().value.clone()
    };
    assert_eq!([offers(0, "default"), offers(1, "default"), offers(2, "default")], ["true", "false", "false"]);
    for key in ["cpuMillicores", "memoryBytes", "processes", "diskBytes"] {
        let sizes = [0, 1, 2].map(|number| offers(number, key).parse::<u64>().unwrap());
        assert!(sizes[0] > 0 && sizes[0] < sizes[1] && sizes[1] < sizes[2], "{key}: {sizes:?}");
    }
}

/// Classes of a few sizes, so that the ID often decides.
const MANY: &str = "
    INSERT INTO environment_classes (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes)
    SELECT gen_random_uuid(), runners.id, 'class ' || n, '', 1000 * (1 + n % 3), 1 + n % 5, 1
    FROM runners, generate_series(1, 130) n";

#[tokio::test]
async fn classes_come_page_by_page_the_smallest_first() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    // With a runner and a class of its own.
    database.environment_of(&token_id(&token)).await;
    let owner = database.owner().await;
    owner.batch_execute(MANY).await.unwrap();
    let query = "SELECT id::text FROM environment_classes ORDER BY cpu_millicores, memory_bytes, id";
    let in_order: Vec<String> = owner.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(in_order.len(), 131);

    for (asked, size) in [(0, 25), (1, 1), (7, 7), (100, 100), (1_000_000_000, 100)] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&api, page(asked, &token)).await.unwrap();
            let left = in_order.len() - seen.len();
            assert_eq!(page.environment_classes.len(), left.min(size), "{asked} asked for, {left} left");
            seen.extend(ids(&page));
            token = page.pagination.unwrap().next_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, in_order, "{asked}");
    }

    // One that comes to be before the place of the second page moves nothing.
    let first = list(&api, page(3, "")).await.unwrap();
    let token = first.pagination.unwrap().next_token;
    owner
        .batch_execute(
            "INSERT INTO environment_classes
                 (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes)
             SELECT gen_random_uuid(), id, 'the smallest', '', 1, 1, 1 FROM runners",
        )
        .await
        .unwrap();
    assert_eq!(ids(&list(&api, page(3, &token)).await.unwrap()), in_order[3..6]);
    // A page is cut from what matches.
    let filter = Some(Filter { enabled: Some(false), ..Default::default() });
    let none = list(&api, ListEnvironmentClassesRequest { filter, ..page(3, "") }).await.unwrap();
    assert_eq!((ids(&none), none.pagination.unwrap().next_token), (Vec::new(), String::new()));

    api.clone().create_token("second").await;
    let pagination = Some(PaginationRequest { page_size: 1, ..Default::default() });
    let tokens = ListPersonalAccessTokensRequest { pagination, ..Default::default() };
    let tokens = api.tokens.clone().list_personal_access_tokens(tokens).await.unwrap().into_inner();
    let of_another_list = tokens.pagination.unwrap().next_token;
    assert_ne!(of_another_list, "");
    for (request, field) in [
        (page(-1, ""), "pagination.page_size"),
        (page(i32::MIN, &token), "pagination.page_size"),
        (page(3, "x"), "pagination.token"),
        (page(3, &token.replace('0', "g")), "pagination.token"),
        (page(3, &format!("{token}0")), "pagination.token"),
        (page(3, &of_another_list), "pagination.token"),
    ] {
        let error = list(&api, request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        let violations = details(&error).bad_request().unwrap().field_violations.clone();
        assert_eq!(violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [field], "{error}");
    }
}

#[tokio::test]
async fn every_condition_of_a_filter_counts_and_what_cannot_match_matches_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    database.environment_of(&token_id(&token)).await;
    let owner = database.owner().await;
    let disabled = "
        INSERT INTO environment_classes
            (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, enabled)
        SELECT gen_random_uuid(), id, 'Disabled', '', 2, 2, 2, false FROM runners RETURNING id::text, runner_id::text";
    let disabled = owner.query_one(disabled, &[]).await.unwrap();
    let (disabled, runner): (String, String) = (disabled.get(0), disabled.get(1));
    let enabled = database.text("SELECT id::text FROM environment_classes WHERE enabled", &[]).await;
    let both = vec![enabled.clone(), disabled.clone()];

    let kinds = |kinds: &[RunnerKind]| Filter { runner_kinds: numbers(kinds), ..none() };
    let providers = |providers: &[RunnerProvider]| Filter { runner_providers: numbers(providers), ..none() };
    let with = |enabled, can_create_environments| Filter { enabled, can_create_environments, ..none() };
    let elsewhere = "01987654-3210-7abc-8def-0123456789ab".to_owned();
    for (filter, expected) in [
        (none(), &both as &[String]),
        (with(Some(true), None), &both[..1]),
        (with(Some(false), None), &both[1..]),
        (with(None, Some(true)), &both[..1]),
        (with(None, Some(false)), &both[1..]),
        (with(Some(true), Some(true)), &both[..1]),
        (with(Some(false), Some(false)), &both[1..]),
        // No class is both.
        (with(Some(true), Some(false)), &[]),
        (with(Some(false), Some(true)), &[]),
        (Filter { runner_ids: vec![runner.to_uppercase()], ..none() }, &both),
        (Filter { runner_ids: vec![elsewhere.clone(), runner.clone()], ..with(Some(true), None) }, &both[..1]),
        (Filter { runner_ids: vec![elsewhere], ..none() }, &[]),
        (kinds(&[RunnerKind::Remote]), &both),
        (kinds(&[RunnerKind::Local, RunnerKind::Remote]), &both),
        (kinds(&[RunnerKind::Local, RunnerKind::LocalConfiguration]), &[]),
        (Filter { runner_kinds: vec![99], ..none() }, &[]),
        (providers(&[RunnerProvider::LinuxHost]), &both),
        (providers(&[RunnerProvider::AwsEc2, RunnerProvider::LinuxHost]), &both),
        (providers(&[RunnerProvider::AwsEc2]), &[]),
        (Filter { runner_kinds: numbers(&[RunnerKind::Local]), ..providers(&[RunnerProvider::LinuxHost]) }, &[]),
        (Filter { runner_kinds: numbers(&[RunnerKind::Remote]), ..providers(&[RunnerProvider::Gcp]) }, &[]),
    ] {
        let what = format!("{filter:?}");
        let request = ListEnvironmentClassesRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(ids(&list(&api, request).await.unwrap()), expected, "{what}");
    }
    let filter = Some(Filter { runner_ids: vec!["mine".to_owned()], ..none() });
    let error = list(&api, ListEnvironmentClassesRequest { filter, ..Default::default() }).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, "filter.runner_ids");
}

fn none() -> Filter {
    Filter::default()
}

fn numbers<T: Copy + Into<i32>>(values: &[T]) -> Vec<i32> {
    values.iter().map(|value| (*value).into()).collect()
}

fn page(page_size: i32, token: &str) -> ListEnvironmentClassesRequest {
    let pagination = PaginationRequest { page_size, token: token.to_owned() };
    ListEnvironmentClassesRequest { pagination: Some(pagination), filter: None }
}

async fn list(api: &Api, request: ListEnvironmentClassesRequest) -> Result<ListEnvironmentClassesResponse, Status> {
    api.environments.clone().list_environment_classes(request).await.map(tonic::Response::into_inner)
}

fn ids(answer: &ListEnvironmentClassesResponse) -> Vec<String> {
    answer.environment_classes.iter().map(|class| class.id.clone()).collect()
}
