//! Users who may act no more, and may again.

use latchkey::pb::{
    gitpod::v1::{
        EnvironmentPhase, GetUserRequest, SetSuspendedRequest, UserStatus, WatchEventsRequest, WatchEventsResponse,
    },
    supervisor::v1::ExecRequest,
};
use tonic::{Code, Status, Streaming};

use crate::support::{
    Api, LocalServer, SOON, TestDatabase, TestServer, details,
    environments::{from_nothing, operations, stopped},
    eventually, processes_with,
};

async fn set(api: &Api, user_id: &str, suspended: bool) -> Result<(), Status> {
    let request = SetSuspendedRequest { user_id: user_id.to_owned(), suspended };
    api.users.clone().set_suspended(request).await.map(drop)
}

async fn status_of(api: &Api, user_id: &str) -> UserStatus {
    let request = GetUserRequest { user_id: user_id.to_owned() };
    api.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap().status()
}

#[track_caller]
fn assert_suspended<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("suspended"), "{refused}");
}

async fn watch(api: &Api) -> Streaming<WatchEventsResponse> {
    api.events.clone().watch_events(WatchEventsRequest::default()).await.unwrap().into_inner()
}

/// Reads to the end of a watch.
async fn end(mut watch: Streaming<WatchEventsResponse>) -> Result<(), Status> {
    let reading = async {
        while watch.message().await?.is_some() {}
        Ok(())
    };
    tokio::time::timeout(SOON, reading).await.expect("it ends in time")
}

#[tokio::test]
async fn all_that_a_suspended_user_had_under_way_ends() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let mut user = local.api(&token).await;
    let id = user.whoami().await.unwrap();
    let admin = local.api(&local.server().admin_user(&local.database, "admin@example.com").await).await;
    let other = local.api_of_user("other@example.com").await;
    let (running, at_rest) = (user.create_running(from_nothing()).await, user.create(stopped(from_nothing())).await);
    let at_rest = at_rest.unwrap().id;
    let others = other.create_running(from_nothing()).await;
    let environment_token = user.environment_token(&running).await.unwrap();
    let url = format!("{}/environments/{running}/ops", local.server().url());
    let mut commands = operations(&url, &environment_token).await;
    let marker = format!("31536000.{}", u32::from_str_radix(&running[..8], 16).unwrap());
    let request = ExecRequest { command: format!("sleep {marker}"), ..Default::default() };
    let mut sleeping = commands.clone();
    let command = tokio::spawn(async move { sleeping.exec(request).await });
    eventually("the command runs", async || (!processes_with(&marker).is_empty()).then_some(())).await;
    let (watched, mut others_watch) = (watch(&user).await, watch(&other).await);

    set(&admin, &id, true).await.unwrap();
    // From the answer on, with every token, on every connection.
    assert_suspended(user.whoami().await);
    assert_suspended(local.api(&token).await.get(&running).await);
    let request = ExecRequest { command: "true".to_owned(), ..Default::default() };
    assert_suspended(commands.exec(request).await);
    assert_suspended(command.await.unwrap());
    assert_suspended(end(watched).await);
    admin.until(&running, EnvironmentPhase::Stopped).await;
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    assert_eq!(status_of(&admin, &id).await, UserStatus::Suspended);
    // Nobody starts it for them, and nobody else is touched.
    let refused = admin.start(&running).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("suspended"), "{refused}");
    assert_eq!(other.said(&others, "echo here").await, "here");
    other.stop(&others).await.unwrap();
    let told = others_watch.message().await.unwrap().unwrap();
    assert_eq!(told.resource_id, others);
    let acts = "SELECT string_agg(action || ' ' || (subject_id = ANY (ARRAY[$1::text::uuid, $2::text::uuid])), ', ' ORDER BY action)
                FROM audit_logs WHERE rpc = 'gitpod.v1.UserService/SetSuspended'";
    let both: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&id, &running];
    assert_eq!(local.database.text(acts, &both).await, "environment_stop true, user_suspend true");
    set(&admin, &id, true).await.expect("a second time is no error");
    assert_eq!(local.database.text(acts, &both).await, "environment_stop true, user_suspend true");

    set(&admin, &id, false).await.unwrap();
    set(&admin, &id, false).await.expect("a second time is no error");
    assert_eq!(local.database.text(acts, &both).await, "environment_stop true, user_suspend true, user_unsuspend true");
    assert_eq!(user.whoami().await.unwrap(), id);
    for environment in [&running, &at_rest] {
        let environment = user.get(environment).await.unwrap();
        assert_eq!(environment.spec.unwrap().desired_phase(), EnvironmentPhase::Stopped, "nothing starts by itself");
    }
    user.start(&running).await.unwrap();
    user.until(&running, EnvironmentPhase::Running).await;
    for (api, environment) in [(&user, &running), (&user, &at_rest), (&other, &others)] {
        api.delete_whole(environment).await;
    }
}

#[tokio::test]
async fn only_admins_suspend_and_only_users_of_their_organization() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let member = server.api(&server.user(&database, "member@example.com").await).await;
    let (admins, members) = (admin.clone().whoami().await.unwrap(), member.clone().whoami().await.unwrap());
    let service = database.service_account("Bot").await;
    let (_, theirs, token) = server.stranger(&database, "admin").await;
    let stranger = server.api(&token).await;
    let unknown = "01987654-3210-7abc-8def-0123456789ab";

    for suspended in [true, false] {
        // Whether there is somebody of that ID is told to admins alone.
        for id in [&members, &admins, &theirs, &service, unknown] {
            let refused = set(&member, id, suspended).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        }
        for id in [&theirs, &service, unknown] {
            let refused = set(&admin, id, suspended).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused}");
            assert_eq!(refused.message(), format!("no user with ID {id}"));
        }
        for id in [&members, &admins] {
            assert_eq!(set(&stranger, id, suspended).await.unwrap_err().code(), Code::NotFound);
        }
        for id in ["", "x"] {
            let refused = set(&admin, id, suspended).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, "user_id");
        }
    }
    let acts = "SELECT count(*) FROM audit_logs WHERE action LIKE 'user_%suspend'";
    assert_eq!(database.number(acts, &[]).await, 0);
    assert_eq!(status_of(&admin, &members).await, UserStatus::Active);
}

#[tokio::test]
async fn the_last_admin_who_can_act_is_not_suspended() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let one = server.api(&server.admin_user(&database, "one@example.com").await).await;
    let other = server.api(&server.admin_user(&database, "other@example.com").await).await;
    // Admins of other organizations do not count, nor do members.
    server.stranger(&database, "admin").await;
    server.user(&database, "member@example.com").await;
    let (ones, others) = (one.clone().whoami().await.unwrap(), other.clone().whoami().await.unwrap());

    set(&one, &others, true).await.unwrap();
    let refused = set(&one, &ones, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("last admin"), "{refused}");
    one.clone().whoami().await.unwrap();
    // With another one they may even suspend themselves.
    set(&one, &others, false).await.unwrap();
    set(&one, &ones, true).await.unwrap();
    assert_suspended(one.clone().whoami().await);
    set(&other, &ones, false).await.unwrap();
    one.clone().whoami().await.unwrap();
}

#[tokio::test]
async fn of_two_admins_who_suspend_each_other_or_themselves_at_once_one_is_left() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let beside = TestServer::start_beside(&server, &database).await;
    let one = server.api(&server.admin_user(&database, "one@example.com").await).await;
    let other = beside.api(&server.admin_user(&database, "other@example.com").await).await;
    let (ones, others) = (one.clone().whoami().await.unwrap(), other.clone().whoami().await.unwrap());
    let active = "SELECT count(*) FROM principals WHERE role = 'admin' AND status = 'active'";
    for round in 0..30 {
        let (by_one, by_other) = if round % 2 == 0 {
            tokio::join!(set(&one, &others, true), set(&other, &ones, true))
        } else {
            tokio::join!(set(&one, &ones, true), set(&other, &others, true))
        };
        assert_eq!(database.number(active, &[]).await, 1, "{round}: {by_one:?}, {by_other:?}");
        match (&by_one, &by_other) {
            (Ok(()), Err(refused)) | (Err(refused), Ok(())) => {
                assert!(matches!(refused.code(), Code::Unauthenticated | Code::FailedPrecondition), "{refused}");
            }
            (Ok(()), Ok(())) | (Err(_), Err(_)) => panic!("{round}: {by_one:?}, {by_other:?}"),
        }
        database.owner().await.batch_execute("UPDATE principals SET status = 'active'").await.unwrap();
    }
}

#[tokio::test]
async fn nothing_of_a_users_starts_at_the_moment_of_their_suspension() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    database.runner_nowhere().await;
    let user = server.api(&server.user(&database, "dev@example.com").await).await;
    let id = user.clone().whoami().await.unwrap();
    let token = server.admin_user(&database, "admin@example.com").await;
    let (admin, starting) = (server.api(&token).await, server.api(&token).await);
    let environment = user.create(stopped(from_nothing())).await.unwrap().id;
    let running = "SELECT count(*) FROM environments WHERE desired_phase = 'running'";
    for round in 0..20 {
        // By whoever may, in every way that there is.
        let (suspended, started, own, made) = tokio::join!(
            set(&admin, &id, true),
            starting.start(&environment),
            user.start(&environment),
            user.create(from_nothing()),
        );
        suspended.unwrap();
        for code in [started.err(), own.err(), made.err()].into_iter().flatten().map(|refused| refused.code()) {
            assert!(matches!(code, Code::FailedPrecondition | Code::Unauthenticated), "{round}: {code:?}");
        }
        assert_eq!(database.number(running, &[]).await, 0, "{round}");
        set(&admin, &id, false).await.unwrap();
    }
}
