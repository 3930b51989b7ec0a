//! Who sees which environments, and in which order.

use latchkey::pb::gitpod::v1::{
    CountRequest, CountResponseRelation, CreateEnvironmentRequest, EnvironmentPhase, ListEnvironmentsRequest,
    ListEnvironmentsResponse, PaginationRequest, RunnerKind, SortOrder,
    list_environments_request::{Filter, Sort, SortField},
};
use tonic::{Code, Status};

use crate::support::{
    Api, LocalServer, details,
    environments::{from_nothing, from_url, status, stopped},
};

#[tokio::test]
async fn a_list_is_newest_first_page_by_page_and_keeps_to_its_filter() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let mut made = Vec::new();
    for number in 0..7 {
        let mut request = stopped(from_nothing());
        request.name = Some(format!("number {number}"));
        made.push(api.create(request).await.unwrap().id);
    }
    made.push(api.create_running(from_nothing()).await);
    let newest_first: Vec<String> = made.iter().rev().cloned().collect();

    assert_eq!(ids(&list(&api, ListEnvironmentsRequest::default()).await.unwrap()), newest_first);
    for size in [1, 3, 8, 100] {
        assert_eq!(all_pages(&api, size).await, newest_first, "{size} a page");
    }
    let whole = list(&api, page(1_000_000_000, "")).await.unwrap();
    assert_eq!((whole.environments.len(), whole.pagination.unwrap().next_token.as_str()), (8, ""));

    let running = filtered(&api, Filter { status_phases: vec![EnvironmentPhase::Running.into()], ..none() }).await;
    assert_eq!(running, [made[7].clone()]);
    let many = Filter { status_phases: vec![EnvironmentPhase::Running.into(); 200_000], ..none() };
    assert_eq!(filtered(&api, many).await, running, "said once or many times");
    let more = Filter { status_phases: vec![EnvironmentPhase::Running.into(); 300_000], ..none() };
    let request = ListEnvironmentsRequest { filter: Some(more), ..Default::default() };
    assert_eq!(list(&api, request).await.unwrap_err().code(), Code::ResourceExhausted, "longer than a request may be");
    let never = Filter { status_phases: vec![EnvironmentPhase::Updating.into()], ..none() };
    assert_eq!(filtered(&api, never).await, Vec::<String>::new(), "a phase that none is ever in");
    let phases = vec![EnvironmentPhase::Stopped.into(), EnvironmentPhase::Creating.into()];
    assert_eq!(filtered(&api, Filter { status_phases: phases, ..none() }).await, newest_first[1..]);
    assert_eq!(filtered(&api, Filter { search: "BER 3".to_owned(), ..none() }).await, [made[3].clone()]);
    assert_eq!(filtered(&api, Filter { search: "%".to_owned(), ..none() }).await, Vec::<String>::new());
    let before = api.get(&made[2]).await.unwrap().metadata.unwrap().created_at;
    assert_eq!(filtered(&api, Filter { created_before: before, ..none() }).await, newest_first[6..]);
    let runner = api.get(&made[0]).await.unwrap().metadata.unwrap().runner_id;
    assert_eq!(filtered(&api, Filter { runner_ids: vec![runner], ..none() }).await, newest_first);
    let elsewhere = "01987654-3210-7abc-8def-0123456789ab".to_owned();
    assert_eq!(filtered(&api, Filter { runner_ids: vec![elsewhere.clone()], ..none() }).await, Vec::<String>::new());
    // What no environment here has, none matches: a script that deletes what it finds must not find everything.
    assert_eq!(filtered(&api, Filter { project_ids: vec![elsewhere], ..none() }).await, Vec::<String>::new());
    let kinds = |kind: RunnerKind| Filter { runner_kinds: vec![kind.into()], ..none() };
    assert_eq!(filtered(&api, kinds(RunnerKind::Remote)).await, newest_first);
    assert_eq!(filtered(&api, kinds(RunnerKind::Local)).await, Vec::<String>::new());
    let archived = latchkey::pb::gitpod::v1::list_environments_request::ArchivalStatus::Archived;
    assert_eq!(filtered(&api, Filter { archival_status: Some(archived.into()), ..none() }).await, Vec::<String>::new());

    let token = list(&api, page(3, "")).await.unwrap().pagination.unwrap().next_token;
    let sorted = |field: i32, order: SortOrder| ListEnvironmentsRequest {
        sort: Some(Sort { field, order: order.into() }),
        ..Default::default()
    };
    let by_id = list(&api, sorted(SortField::Id.into(), SortOrder::Desc)).await.unwrap();
    assert_eq!(ids(&by_id), newest_first);
    let oldest_first = list(&api, sorted(SortField::Unspecified.into(), SortOrder::Asc)).await.unwrap();
    assert_eq!(ids(&oldest_first), made);
    let mut no_order = sorted(SortField::Id.into(), SortOrder::Desc);
    no_order.sort.as_mut().unwrap().order = 7;
    let bad_phases = Filter { status_phases: vec![99], ..none() };
    let bad_status = Filter { archival_status: Some(99), ..none() };
    let bad_creators = Filter { creator_ids: vec!["me".to_owned()], ..none() };
    for (request, field) in [
        (page(-1, ""), "pagination.page_size"),
        (page(3, "x"), "pagination.token"),
        (page(3, &token.replace('0', "g")), "pagination.token"),
        (sorted(SortField::ArchivedAt.into(), SortOrder::Desc), "sort.field"),
        (sorted(99, SortOrder::Desc), "sort.field"),
        (no_order, "sort.order"),
        (ListEnvironmentsRequest { filter: Some(bad_phases), ..Default::default() }, "filter.status_phases"),
        (ListEnvironmentsRequest { filter: Some(bad_status), ..Default::default() }, "filter.archival_status"),
        (ListEnvironmentsRequest { filter: Some(bad_creators), ..Default::default() }, "filter.creator_ids"),
    ] {
        let error = list(&api, request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, field);
    }
    api.delete_whole(&made[7]).await;
}

#[tokio::test]
async fn a_list_is_counted_when_that_is_asked_for() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let counted = async |filter: Filter, page_size: i32| {
        let count = Some(CountRequest { include: true });
        let answer = list(&api, ListEnvironmentsRequest { count, filter: Some(filter), ..page(page_size, "") }).await;
        let count = answer.unwrap().count.unwrap();
        assert_eq!(count.relation(), CountResponseRelation::Eq);
        count.value
    };
    assert_eq!(counted(none(), 0).await, 0);
    for _ in 0..3 {
        api.create(stopped(from_nothing())).await.unwrap();
    }
    local.api_of_user("other@example.com").await.create(stopped(from_nothing())).await.unwrap();
    assert_eq!(counted(none(), 1).await, 3, "on all pages, and nobody else's");
    assert_eq!(counted(Filter { search: "no such".to_owned(), ..none() }, 1).await, 0);
    assert_eq!(
        counted(Filter { project_ids: vec!["01987654-3210-7abc-8def-0123456789ab".into()], ..none() }, 1).await,
        0
    );
    let count = Some(CountRequest { include: false });
    let request = ListEnvironmentsRequest { count, ..Default::default() };
    assert_eq!(list(&api, request).await.unwrap().count, None);
    assert_eq!(list(&api, ListEnvironmentsRequest::default()).await.unwrap().count, None);
}

#[tokio::test]
async fn annotations_and_the_session_are_kept_as_they_came() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let annotated = |entries: &[(&str, &str)], session_id: &str| CreateEnvironmentRequest {
        annotations: entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        session_id: session_id.to_owned(),
        ..stopped(from_nothing())
    };
    let notes = [("ci.example/run", "17"), ("ü", "two\nlines \"and\" {quotes}"), ("empty", "")];
    let made = api.create(annotated(&notes, "night/2")).await.unwrap();
    let other = api.create(annotated(&[], "")).await.unwrap();
    for seen in [&made, &api.get(&made.id).await.unwrap()] {
        let metadata = seen.metadata.as_ref().unwrap();
        let expected = notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!((&metadata.annotations, metadata.session_id.as_str()), (&expected, "night/2"));
    }
    let of_session = |ids: &[&str]| Filter { session_ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..none() };
    assert_eq!(filtered(&api, of_session(&["night/2", "day"])).await, std::slice::from_ref(&made.id));
    assert_eq!(filtered(&api, of_session(&[""])).await, std::slice::from_ref(&other.id));
    assert_eq!(filtered(&api, of_session(&["day"])).await, Vec::<String>::new());

    let many: Vec<(String, &str)> = (0..65).map(|number| (number.to_string(), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    for (request, field) in [
        (annotated(&many, ""), "annotations"),
        (annotated(&[("x", &"x".repeat(8192))], ""), "annotations"),
        (annotated(&[("", "x")], ""), "annotations"),
        (annotated(&[("a\nb", "x")], ""), "annotations"),
        (annotated(&[("x", "a\0b")], ""), "annotations"),
        (annotated(&[], "a\nb"), "session_id"),
        (annotated(&[], &"x".repeat(256)), "session_id"),
    ] {
        let error = api.create(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, field);
    }
    api.create(annotated(&[("x", &"\u{1}".repeat(8191))], ""))
        .await
        .expect("the longest there may be, however it is written");
}

#[tokio::test]
async fn what_is_somebody_elses_does_not_exist() {
    let local = LocalServer::start().await;
    let owner = local.api_of_user("owner@example.com").await;
    let other = local.api_of_user("other@example.com").await;
    let admin = local.api(&local.server().admin_user(&local.database, "admin@example.com").await).await;
    let id = owner.create(stopped(from_nothing())).await.unwrap().id;
    let admins = admin.create(stopped(from_url("https://github.com/owner/name"))).await.unwrap().id;

    // Not to be told from one that does not exist, but for the ID.
    let unknown = "01987654-3210-7abc-8def-0123456789ab";
    for (of_others, of_none) in [
        (other.get(&id).await.map(drop), other.get(unknown).await.map(drop)),
        (other.start(&id).await, other.start(unknown).await),
        (other.stop(&id).await, other.stop(unknown).await),
        (other.delete(&id).await, other.delete(unknown).await),
        (other.rename(&id, "mine").await, other.rename(unknown, "mine").await),
        (other.archive(&id).await, other.archive(unknown).await),
        (other.unarchive(&id).await, other.unarchive(unknown).await),
        (other.environment_token(&id).await.map(drop), other.environment_token(unknown).await.map(drop)),
    ] {
        let (of_others, of_none) = (of_others.unwrap_err(), of_none.unwrap_err());
        assert_eq!((of_others.code(), of_none.code()), (Code::NotFound, Code::NotFound));
        assert_eq!(of_others.message(), of_none.message().replace(unknown, &id));
        assert_eq!(of_others.details().len(), of_none.details().len());
    }
    for error in [
        other.get("x").await.map(drop),
        other.start("").await,
        other.stop("../x").await,
        other.delete("x").await,
        other.rename("x", "mine").await,
        other.archive("").await,
        other.unarchive("x").await,
        other.environment_token("x").await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(details(&error).bad_request().unwrap().field_violations[0].field, "environment_id");
    }
    assert_eq!(status(&owner.get(&id).await.unwrap()).status_version, 1, "nobody has touched it");

    // An admin sees all, one's own by default; a member's list is their own.
    let (owners_id, admins_id) = (owner.clone().whoami().await.unwrap(), admin.clone().whoami().await.unwrap());
    let by = |creators: &[&String]| Filter { creator_ids: creators.iter().copied().cloned().collect(), ..none() };
    assert_eq!(ids(&list(&admin, ListEnvironmentsRequest::default()).await.unwrap()), std::slice::from_ref(&admins));
    assert_eq!(filtered(&admin, by(&[&owners_id])).await, std::slice::from_ref(&id));
    assert_eq!(filtered(&admin, by(&[&admins_id, &owners_id])).await, [admins.clone(), id.clone()]);
    assert_eq!(admin.get(&id).await.unwrap().id, id);
    assert_eq!(ids(&list(&other, ListEnvironmentsRequest::default()).await.unwrap()), Vec::<String>::new());
    assert_eq!(filtered(&owner, by(&[&owners_id])).await, std::slice::from_ref(&id));
    let denied = ListEnvironmentsRequest { filter: Some(by(&[&owners_id])), ..Default::default() };
    assert_eq!(list(&other, denied).await.unwrap_err().code(), Code::PermissionDenied);
    // Commands are run as the creator: nobody else's to run, not an admin's either.
    assert_eq!(admin.environment_token(&id).await.unwrap_err().code(), Code::NotFound);
    admin.delete_whole(&id).await;
    assert_eq!(owner.get(&id).await.unwrap_err().code(), Code::NotFound);
}

fn none() -> Filter {
    Filter::default()
}

fn page(page_size: i32, token: &str) -> ListEnvironmentsRequest {
    let pagination = PaginationRequest { page_size, token: token.to_owned() };
    ListEnvironmentsRequest { pagination: Some(pagination), ..Default::default() }
}

async fn list(api: &Api, request: ListEnvironmentsRequest) -> Result<ListEnvironmentsResponse, Status> {
    api.environments.clone().list_environments(request).await.map(tonic::Response::into_inner)
}

fn ids(answer: &ListEnvironmentsResponse) -> Vec<String> {
    answer.environments.iter().map(|environment| environment.id.clone()).collect()
}

async fn filtered(api: &Api, filter: Filter) -> Vec<String> {
    let request = ListEnvironmentsRequest { filter: Some(filter), ..Default::default() };
    ids(&list(api, request).await.unwrap())
}

async fn all_pages(api: &Api, size: i32) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let answer = list(api, page(size, &token)).await.unwrap();
        assert!(answer.environments.len() <= usize::try_from(size).unwrap());
        all.extend(ids(&answer));
        token = answer.pagination.unwrap().next_token;
        if token.is_empty() {
            return all;
        }
    }
}
