//! Who reads what of the log, and how.

use latchkey::pb::gitpod::v1::{
    AuditLogEntryKind, AuditLogOutcome, ListAuditLogsRequest, PaginationRequest, Principal, ResourceType, Sort,
    SortOrder, list_audit_logs_request::Filter, list_audit_logs_response::AuditLogEntry,
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::support::{Api, TestDatabase, TestServer, details, eventually, keys::token_id};

async fn list(api: &mut Api, filter: Filter) -> Result<Vec<AuditLogEntry>, Status> {
    let pagination = Some(PaginationRequest { page_size: 100, ..Default::default() });
    let request = ListAuditLogsRequest { filter: Some(filter), pagination, ..Default::default() };
    let answer = api.events.list_audit_logs(request).await?.into_inner();
    assert_eq!(answer.pagination.unwrap().next_token, "", "all on one page");
    Ok(answer.entries)
}

fn of(actor: &str) -> Filter {
    Filter { actor_ids: vec![actor.to_owned()], ..Default::default() }
}

fn actors(entries: &[AuditLogEntry]) -> Vec<&str> {
    let mut actors: Vec<&str> = entries.iter().map(|entry| entry.actor_id.as_str()).collect();
    actors.sort_unstable();
    actors.dedup();
    actors
}

#[tokio::test]
async fn members_see_their_own_and_admins_all_of_their_organization() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut member = server.api(&server.user(&database, "member@example.com").await).await;
    let mut other = server.api(&server.user(&database, "other@example.com").await).await;
    let mut admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let (_, their_id, their_token) = server.stranger(&database, "admin").await;
    let mut stranger = server.api(&their_token).await;
    let mut ids = Vec::new();
    for api in [&mut member, &mut other, &mut admin, &mut stranger] {
        api.create_token("mine").await;
        ids.push(api.whoami().await.unwrap());
    }
    assert_eq!(ids[3], their_id);

    for (api, own) in [(&mut member, &ids[0]), (&mut other, &ids[1]), (&mut stranger, &ids[3])] {
        let entries = list(api, Filter::default()).await.unwrap();
        assert_eq!(actors(&entries).iter().filter(|id| !id.is_empty()).collect::<Vec<_>>(), [own]);
        assert!(entries.iter().any(|entry| entry.action == "token_create"), "{entries:?}");
        assert!(!list(api, of(own)).await.unwrap().is_empty());
    }
    // Of an organization that is not theirs they learn nothing, not even that it is there.
    assert_eq!(list(&mut stranger, of(&ids[0])).await.unwrap(), []);
    for entry in list(&mut stranger, Filter::default()).await.unwrap() {
        assert_eq!(entry.actor_id, their_id, "nor of its operator");
    }
    for actor in &ids[1..] {
        let denied = list(&mut member, of(actor)).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "others' are not shown to members: {denied:?}");
    }
    let both = Filter { actor_ids: vec![ids[0].clone(), ids[1].clone()], ..Default::default() };
    assert_eq!(list(&mut member, both).await.unwrap_err().code(), Code::PermissionDenied);

    let all = list(&mut admin, Filter::default()).await.unwrap();
    let mut expected: Vec<&str> = ids[..3].iter().map(String::as_str).collect();
    // The operator has no ID.
    expected.push("");
    expected.sort_unstable();
    assert_eq!(actors(&all), expected);
    assert_eq!(list(&mut admin, of(&their_id)).await.unwrap(), [], "another organization's");
    assert_eq!(actors(&list(&mut admin, of(&ids[1])).await.unwrap()), [&ids[1]]);
}

#[tokio::test]
async fn an_entry_says_it_all() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let actor = api.whoami().await.unwrap();
    let made = api.create_token("ci").await.personal_access_token.unwrap().id;
    let entry = list(&mut api, Filter::default()).await.unwrap().into_iter().find(|entry| entry.subject_id == made);
    let entry = entry.expect("the act is in the log as soon as it is answered");
    assert_eq!(entry.actor_id, actor);
    assert_eq!(entry.actor_principal(), Principal::User);
    assert_eq!(entry.subject_type(), ResourceType::PersonalAccessToken);
    assert_eq!(entry.action, "token_create");
    assert_eq!(entry.kind(), AuditLogEntryKind::ResourceChange);
    assert_eq!(entry.token_id, token_id(&token));
    assert_eq!(entry.outcome(), AuditLogOutcome::Succeeded);
    assert_eq!(entry.rpc, "gitpod.v1.TokenService/CreatePersonalAccessToken");
    assert_eq!(entry.peer_address, "127.0.0.1");
    assert_eq!((entry.reason.as_str(), entry.count), ("", 1));
    assert!(entry.user_agent.starts_with("tonic/") && !entry.request_id.is_empty() && !entry.id.is_empty());
    assert!(entry.created_at.is_some());
    // A refused one is seen by whoever has another token.
    server.admin(&database, &["revoke-token", &token_id(&token)]).await.unwrap();
    assert_eq!(api.becomes_refused().await.code(), Code::Unauthenticated);
    let mut api = server.api(&server.token(&database, "dev@example.com", &[]).await).await;
    let refusal = eventually("the refusal is in the log", async || {
        let entries = list(&mut api.clone(), Filter::default()).await.unwrap();
        entries.into_iter().find(|entry| entry.outcome() == AuditLogOutcome::Denied)
    })
    .await;
    assert_eq!((refusal.reason.as_str(), refusal.kind()), ("revoked", AuditLogEntryKind::CredentialAccess));
    assert_eq!(refusal.token_id, token_id(&token));
    api.whoami().await.unwrap();
}

/// Ten acts, of the first days of 2020, each on a subject of its own; the third and fourth at the same time.
const SOME: &str = "
    INSERT INTO audit_logs (id, created_at, organization_id, actor_id, actor_kind, action, rpc, subject_type, subject_id, outcome)
    SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
        timestamptz '2020-01-01Z' + make_interval(days => CASE n WHEN 4 THEN 3 ELSE n END),
        p.organization_id, p.id, p.kind, 'environment_start', 'test',
        CASE WHEN n % 2 = 0 THEN 'environment' ELSE 'personal_access_token' END,
        ('11111111-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'succeeded'
    FROM generate_series(1, 10) n JOIN principals p ON p.kind = CASE WHEN n <= 6 THEN 'user' ELSE 'service_account' END";

fn numbers(entries: &[AuditLogEntry]) -> Vec<u32> {
    entries.iter().map(|entry| entry.id[24..].parse().unwrap()).collect()
}

fn after(day: i64) -> Option<Timestamp> {
    at(day).map(|time| Timestamp { nanos: 1_000, ..time })
}

fn at(day: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_577_836_800 + day * 86_400, nanos: 0 })
}

#[tokio::test]
async fn filters_pages_and_order() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut api = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let admin = api.whoami().await.unwrap();
    let owner = database.owner().await;
    let service = "
        INSERT INTO principals (id, organization_id, kind, role, name)
            SELECT gen_random_uuid(), id, 'service_account', 'member', 'Bot' FROM organizations RETURNING id::text";
    let service: String = owner.query_one(service, &[]).await.unwrap().get(0);
    owner.batch_execute(SOME).await.unwrap();
    let past = || Filter { to: at(100), ..Default::default() };

    let all = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    let subject = |number: u32| format!("11111111-0000-4000-8000-{number:012}");
    let cases: Vec<(&str, Filter, Vec<u32>)> = vec![
        ("all", past(), all.to_vec()),
        ("an actor", Filter { actor_ids: vec![service.clone()], ..past() }, vec![10, 9, 8, 7]),
        ("either actor", Filter { actor_ids: vec![service, admin], ..past() }, all.to_vec()),
        ("no such actor", Filter { actor_ids: vec![subject(1)], ..past() }, vec![]),
        ("users", Filter { actor_principals: vec![Principal::User.into()], ..past() }, vec![6, 5, 4, 3, 2, 1]),
        (
            "service accounts",
            Filter { actor_principals: vec![Principal::ServiceAccount.into()], ..past() },
            vec![10, 9, 8, 7],
        ),
        ("subjects", Filter { subject_ids: vec![subject(2), subject(9)], ..past() }, vec![9, 2]),
        (
            "environments",
            Filter { subject_types: vec![ResourceType::Environment.into()], ..past() },
            vec![10, 8, 6, 4, 2],
        ),
        (
            "a kind that nobody is of",
            Filter { actor_principals: vec![Principal::Environment.into()], ..past() },
            vec![],
        ),
        (
            "that or another",
            Filter { actor_principals: vec![Principal::Runner.into(), Principal::User.into()], ..past() },
            vec![6, 5, 4, 3, 2, 1],
        ),
        ("what nothing is", Filter { subject_types: vec![ResourceType::Project.into()], ..past() }, vec![]),
        (
            "that or environments",
            Filter { subject_types: vec![ResourceType::Secret.into(), ResourceType::Environment.into()], ..past() },
            vec![10, 8, 6, 4, 2],
        ),
        ("from after to", Filter { from: at(6), to: at(5), ..Default::default() }, vec![]),
        ("to a nanosecond after", Filter { to: after(3), ..Default::default() }, vec![4, 3, 2, 1]),
        ("from, included", Filter { from: at(8), ..past() }, vec![10, 9, 8]),
        ("to, excluded", Filter { to: at(3), ..Default::default() }, vec![2, 1]),
        ("between", Filter { from: at(3), to: at(5), ..Default::default() }, vec![4, 3]),
        ("nothing", Filter { from: at(5), to: at(5), ..Default::default() }, vec![]),
        (
            "every condition",
            Filter {
                actor_principals: vec![Principal::User.into()],
                subject_types: vec![ResourceType::Environment.into()],
                from: at(2),
                to: at(4),
                ..Default::default()
            },
            vec![4, 2],
        ),
    ];
    for (what, filter, expected) in cases {
        assert_eq!(numbers(&list(&mut api, filter).await.unwrap()), expected, "{what}");
    }

    let invalid = [
        (
            "sort.order",
            ListAuditLogsRequest { sort: Some(Sort { field: String::new(), order: 7 }), ..Default::default() },
        ),
        (
            "sort.field",
            ListAuditLogsRequest {
                sort: Some(Sort { field: "actor_id".to_owned(), order: SortOrder::Desc.into() }),
                ..Default::default()
            },
        ),
        (
            "sort.field",
            ListAuditLogsRequest {
                sort: Some(Sort { field: "CREATED_AT".to_owned(), order: SortOrder::Asc.into() }),
                ..Default::default()
            },
        ),
        ("filter.actor_ids", filtered(Filter { actor_ids: vec![subject(1); 101], ..Default::default() })),
        ("filter.subject_ids", filtered(Filter { subject_ids: vec![subject(1); 101], ..Default::default() })),
        ("filter.actor_principals", filtered(Filter { actor_principals: vec![0], ..Default::default() })),
        ("filter.subject_types", filtered(Filter { subject_types: vec![0], ..Default::default() })),
        (
            "filter.from",
            filtered(Filter { from: Some(Timestamp { seconds: 0, nanos: 1_000_000_000 }), ..Default::default() }),
        ),
        ("filter.actor_ids", filtered(Filter { actor_ids: vec!["me".to_owned()], ..Default::default() })),
        ("filter.subject_ids", filtered(Filter { subject_ids: vec!["it".to_owned()], ..Default::default() })),
        ("filter.actor_principals", filtered(Filter { actor_principals: vec![99], ..Default::default() })),
        ("filter.subject_types", filtered(Filter { subject_types: vec![9999], ..Default::default() })),
        (
            "filter.from",
            filtered(Filter { from: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..Default::default() }),
        ),
        ("filter.to", filtered(Filter { to: Some(Timestamp { seconds: 0, nanos: -1 }), ..Default::default() })),
        (
            "pagination.page_size",
            ListAuditLogsRequest {
                pagination: Some(PaginationRequest { page_size: -1, ..Default::default() }),
                ..Default::default()
            },
        ),
        (
            "pagination.token",
            ListAuditLogsRequest {
                pagination: Some(PaginationRequest { token: "x".to_owned(), ..Default::default() }),
                ..Default::default()
            },
        ),
    ];
    for (field, request) in invalid {
        let asked = request.sort.as_ref().map(|sort| sort.field.clone());
        let refused = api.events.list_audit_logs(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
        if let Some(asked) = asked {
            assert!(refused.message().contains(&asked), "it is named: {refused}");
        }
        let named: Vec<String> =
            details(&refused).bad_request().unwrap().field_violations.iter().map(|one| one.field.clone()).collect();
        assert_eq!(named, [field], "{refused:?}");
    }
}

fn filtered(filter: Filter) -> ListAuditLogsRequest {
    ListAuditLogsRequest { filter: Some(filter), ..Default::default() }
}

#[tokio::test]
async fn pages_go_both_ways_and_stand_still_while_entries_are_added() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut api = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let owner = database.owner().await;
    database.service_account("Bot").await;
    owner.batch_execute(SOME).await.unwrap();
    // An act before all of them, one among them, and one after.
    let more = "
        INSERT INTO audit_logs (id, created_at, organization_id, actor_kind, action, rpc, outcome)
        SELECT ('00000000-0000-4000-8000-' || lpad((10 + n)::text, 12, '0'))::uuid,
            timestamptz '2020-01-01Z' + make_interval(days => CASE n WHEN 1 THEN 0 WHEN 2 THEN 3 ELSE 50 END),
            id, 'operator', 'user_create', 'test', 'succeeded'
        FROM generate_series(1, 3) n, organizations";
    let newest_first: Vec<u32> = (1..=10).rev().collect();
    let oldest_first: Vec<u32> = (1..=10).collect();
    for (field, order, in_order) in [
        ("created_at", SortOrder::Desc, &newest_first),
        ("createdAt", SortOrder::Unspecified, &newest_first),
        ("", SortOrder::Asc, &oldest_first),
        ("created_at", SortOrder::Asc, &oldest_first),
    ] {
        for size in [1, 3, 5, 10] {
            let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let pagination = Some(PaginationRequest { page_size: size, token });
                let sort = Some(Sort { field: field.to_owned(), order: order.into() });
                let filter = Some(Filter { to: at(100), ..Default::default() });
                let request = ListAuditLogsRequest { filter, pagination, sort };
                let page = api.events.list_audit_logs(request).await.unwrap().into_inner();
                assert!(page.entries.len() <= size as usize);
                seen.extend(numbers(&page.entries));
                pages += 1;
                assert!(pages < 20, "pages without an end");
                if pages == 1 && size == 5 {
                    owner.batch_execute(more).await.unwrap();
                }
                token = page.pagination.unwrap().next_token;
                if token.is_empty() {
                    break;
                }
            }
            if size == 5 {
                // Each that was there before once, in its place; of the new ones those that come later.
                let old: Vec<u32> = seen.iter().copied().filter(|number| *number <= 10).collect();
                assert_eq!(&old, in_order, "{order:?}");
                let late = if order == SortOrder::Asc { 13 } else { 11 };
                assert!(seen.contains(&late) && seen.len() > 10, "{order:?}: {seen:?}");
                let mut once = seen.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(once.len(), seen.len(), "{order:?}: {seen:?}");
                let superuser = database.superuser().await;
                superuser
                    .batch_execute(
                        "DELETE FROM audit_logs WHERE created_at < '2021-01-01Z' AND actor_kind = 'operator'",
                    )
                    .await
                    .unwrap();
            } else {
                let expected = 10_usize.div_ceil(size as usize);
                assert_eq!((&seen, pages), (in_order, expected), "{order:?}, pages of {size}");
            }
        }
    }
}
