//! The largest pages: of more rows than any page has, whatever size is asked for.

use latchkey::pb::gitpod::v1::{
    ListAuditLogsRequest, ListEnvironmentsRequest, PaginationRequest, PaginationResponse, list_audit_logs_request,
};
use prost_types::Timestamp;

use crate::support::{TestDatabase, TestServer, keys::token_id};

/// What may be asked for and is cut to a hundred, but for the last.
const SIZES: [i32; 5] = [1_000_000_000, i32::MAX, 65_586, 101, 100];

fn page(page_size: i32, token: String) -> Option<PaginationRequest> {
    Some(PaginationRequest { page_size, token })
}

/// The IDs on every page, and how many each page has.
async fn pages(
    mut ask: impl AsyncFnMut(String) -> (Vec<String>, Option<PaginationResponse>),
) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut sizes, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let (ids, next) = ask(token).await;
        sizes.push(ids.len());
        all.extend(ids);
        token = next.unwrap().next_token;
        if token.is_empty() {
            return (all, sizes);
        }
    }
}

#[tokio::test]
async fn a_page_of_environments_has_a_hundred_at_the_most() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    let like = database.environment_of(&token_id(&token)).await;
    let owner = database.owner().await;
    // Ten of each moment.
    let insert = "
        INSERT INTO environments (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name,
            desired_phase, phase, created_at)
        SELECT gen_random_uuid(), organization_id, creator_id, created_by_token_id, runner_id, class_id, 'test',
            'stopped', 'stopped', created_at - make_interval(mins => n / 10)
        FROM environments, generate_series(10, 239) n WHERE id = $1::text::uuid";
    assert_eq!(owner.execute(insert, &[&like]).await.unwrap(), 230);
    let in_order = ids(&owner, "SELECT id::text FROM environments ORDER BY created_at DESC, id DESC").await;

    let list = |size: i32| {
        let api = &api;
        async move |token: String| {
            let request = ListEnvironmentsRequest { pagination: page(size, token), ..Default::default() };
            let answer = api.environments.clone().list_environments(request).await.unwrap().into_inner();
            (answer.environments.into_iter().map(|one| one.id).collect(), answer.pagination)
        }
    };
    for size in SIZES {
        assert_eq!(pages(list(size)).await, (in_order.clone(), vec![100, 100, 31]), "{size}");
    }
}

#[tokio::test]
async fn a_page_of_the_audit_log_has_a_hundred_at_the_most() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let api = server.api(&admin).await;
    let owner = database.owner().await;
    // In 2020, where nobody else acts; ten at each moment.
    let insert = "
        INSERT INTO audit_logs (id, created_at, organization_id, actor_id, actor_kind, action, rpc, outcome)
        SELECT gen_random_uuid(), timestamptz '2020-01-01Z' + make_interval(mins => n / 10), organization_id, id, kind,
            'list', 'test', 'succeeded'
        FROM principals, generate_series(1, 231) n WHERE email = 'admin@example.com'";
    assert_eq!(owner.execute(insert, &[]).await.unwrap(), 231);
    let query = "SELECT id::text FROM audit_logs WHERE created_at < '2021-01-01Z' ORDER BY created_at DESC, id DESC";
    let in_order = ids(&owner, query).await;

    let list = |size: i32| {
        let mut events = api.events.clone();
        async move |token: String| {
            let to = Some(Timestamp { seconds: 1_609_459_200, nanos: 0 });
            let filter = Some(list_audit_logs_request::Filter { to, ..Default::default() });
            let request = ListAuditLogsRequest { pagination: page(size, token), filter, sort: None };
            let answer = events.list_audit_logs(request).await.unwrap().into_inner();
            (answer.entries.into_iter().map(|one| one.id).collect(), answer.pagination)
        }
    };
    for size in SIZES {
        assert_eq!(pages(list(size)).await, (in_order.clone(), vec![100, 100, 31]), "{size}");
    }
}

async fn ids(owner: &tokio_postgres::Client, query: &str) -> Vec<String> {
    owner.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
