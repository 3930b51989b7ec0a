//! PostgreSQL stopped, paused, and cutting connections off.

use std::time::Duration;

use latchkey::{
    auth::policy::{POLICIES, Who},
    pb::gitpod::v1::{
        CreateEnvironmentAccessTokenRequest, CreateEnvironmentRequest, CreatePersonalAccessTokenRequest,
        ListPersonalAccessTokensRequest,
    },
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Status, transport::Endpoint};

use crate::support::{
    Api, TestDatabase, TestServer, details, eventually, http,
    keys::{forged, token_id},
};

/// Longer than the 5 s that a query may take, and far less than for ever.
const ANSWERED: Duration = Duration::from_secs(9);

/// Calls an RPC with an empty message.
async fn call(server: &TestServer, rpc: &str, token: &str) -> Result<(), Status> {
    let channel = Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let path = format!("/{rpc}").parse().unwrap();
    grpc.unary(request, path, tonic_prost::ProstCodec::<(), ()>::default()).await.map(|_| ())
}

/// A token of a user, and one for an environment of theirs: between them good for every RPC.
async fn tokens(server: &TestServer, database: &TestDatabase) -> (String, String) {
    let token = server.user(database, "dev@example.com").await;
    let runner = "
        INSERT INTO runners (id, organization_id, name) SELECT gen_random_uuid(), id, 'nobody' FROM organizations;
        INSERT INTO environment_classes
            (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            SELECT gen_random_uuid(), id, 'Small', '', 1, 1, 1, true FROM runners";
    database.owner().await.batch_execute(runner).await.unwrap();
    let mut api = server.api(&token).await;
    let made = api.environments.create_environment(CreateEnvironmentRequest::default()).await.unwrap();
    let environment_id = made.into_inner().environment.unwrap().id;
    let request = CreateEnvironmentAccessTokenRequest { environment_id };
    let made = api.environments.create_environment_access_token(request).await.unwrap();
    (token, made.into_inner().access_token)
}

#[track_caller]
fn assert_unavailable(what: &str, answer: Result<(), Status>) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
    assert!(details(&status).retry_info().is_some_and(|info| info.retry_delay.is_some()), "{what}: {status:?}");
}

/// Every RPC that asks who calls says that it cannot tell now, in time.
async fn assert_every_rpc_is_unavailable(server: &TestServer, (token, environment_token): &(String, String)) {
    let calls = POLICIES.iter().filter(|policy| policy.who != Who::Public).map(async |policy| {
        let token = if policy.who == Who::EnvironmentHolder { environment_token } else { token };
        let answer = timeout(ANSWERED, call(server, policy.rpc, token)).await;
        assert_unavailable(policy.rpc, answer.unwrap_or_else(|_| panic!("{} is not answered in time", policy.rpc)));
    });
    futures::future::join_all(calls).await;
    // What needs no database is told as ever.
    let stranger = server.api(&forged()).await.whoami().await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    assert_eq!(http::get(server.address(), "/livez").await.0, 200);
}

async fn becomes_ready(server: &TestServer) {
    eventually("/readyz is well again", async || (http::get(server.address(), "/readyz").await.0 == 200).then_some(()))
        .await;
}

async fn becomes_unready(server: &TestServer) {
    let body = eventually("/readyz says 503", async || {
        let (code, body) = http::get(server.address(), "/readyz").await;
        (code == 503).then_some(body)
    })
    .await;
    assert_eq!(body, "not ready: the database does not answer as it should\n", "and nothing of where it is");
}

#[tokio::test]
async fn a_stopped_postgresql_is_said_and_its_return_is_noticed() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::without_memory(&database).await;
    let both = tokens(&server, &database).await;
    let mut api = server.api(&both.0).await;
    for round in 0..2 {
        api.whoami().await.unwrap();
        database.cluster().stop().await;
        assert_every_rpc_is_unavailable(&server, &both).await;
        becomes_unready(&server).await;
        database.cluster().start_again().await;
        eventually("the token is good again, without a restart", async || match api.clone().whoami().await {
            Ok(_) => Some(()),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "round {round}: {status:?}");
                None
            }
        })
        .await;
        becomes_ready(&server).await;
        api.create_token("after").await;
    }
}

#[tokio::test]
async fn a_postgresql_that_answers_nothing_holds_nobody_up() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::without_memory(&database).await;
    let both = tokens(&server, &database).await;
    // Connections of all sorts are open before it stands still.
    futures::future::join_all((0..8).map(async |_| server.api(&both.0).await.whoami().await.unwrap())).await;
    database.cluster().pause().await;
    let began = Instant::now();
    assert_every_rpc_is_unavailable(&server, &both).await;
    assert!(began.elapsed() > Duration::from_secs(2), "PostgreSQL did stand still");
    // Whoever comes when others wait already, waits no longer.
    assert_every_rpc_is_unavailable(&server, &both).await;
    let unknown_key = crate::support::keys::mint(&crate::support::keys::key_line(9), 9).1.text;
    let crowd = (0..20).map(async |_| {
        let answer = timeout(ANSWERED, async { server.api(unknown_key.expose()).await.whoami().await }).await;
        assert_unavailable("an unknown key", answer.expect("it is answered in time").map(|_| ()));
    });
    futures::future::join_all(crowd).await;
    becomes_unready(&server).await;
    database.cluster().resume().await;
    becomes_ready(&server).await;
    let mut api = server.api(&both.0).await;
    eventually("the token is good again", async || api.clone().whoami().await.ok()).await;
    api.create_token("after").await;
}

#[tokio::test]
async fn what_was_seen_when_postgresql_went_away_is_written_when_it_is_back() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::without_memory(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let revoked = server.token(&database, "dev@example.com", &[]).await;
    server.admin(&database, &["revoke-token", &token_id(&revoked)]).await.unwrap();
    // Verification goes on; what is seen cannot be written.
    let lock = database.superuser().await;
    let sql = "BEGIN; LOCK audit_tallies, audit_logs, token_last_used IN ACCESS EXCLUSIVE MODE";
    lock.batch_execute(sql).await.unwrap();
    let mut api = server.api(&token).await;
    let mut refused = server.api(&revoked).await;
    for _ in 0..30 {
        api.whoami().await.unwrap();
        assert_eq!(refused.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    }
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'latchkey'";
    // Who looks while in a transaction sees the same again and again.
    let watcher = database.superuser().await;
    eventually("the server waits for the tables", async || {
        (watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    database.cluster().stop().await;
    assert_unavailable("whoami", api.whoami().await.map(|_| ()));
    database.cluster().start_again().await;
    let client = database.superuser().await;
    let seen = format!(
        "SELECT coalesce(sum(count), 0)::bigint FROM (
            SELECT token_id, action, count FROM audit_tallies UNION ALL SELECT token_id, action, count FROM audit_logs) AS seen
         WHERE action = 'read' AND token_id = '{}'",
        token_id(&token)
    );
    let number = async |query: &str| client.query_one(query, &[]).await.unwrap().get::<_, i64>(0);
    eventually("each read is counted", async || (number(&seen).await == 30).then_some(())).await;
    let refusals =
        format!("SELECT count(*) FROM audit_logs WHERE reason = 'revoked' AND token_id = '{}'", token_id(&revoked));
    eventually("each refusal is there", async || (number(&refusals).await == 30).then_some(())).await;
    let used = format!("SELECT count(*) FROM token_last_used WHERE token_id = '{}'", token_id(&token));
    eventually("the last use is known", async || (number(&used).await == 1).then_some(())).await;
    // Not once more, when the next second is written.
    let mut server = server;
    assert!(server.stop().await);
    assert_eq!((number(&seen).await, number(&refusals).await), (30, 30));
}

#[tokio::test]
async fn a_read_goes_through_although_every_connection_was_cut_off() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let superuser = database.superuser().await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let read = async |mut api: Api| {
        let request = ListPersonalAccessTokensRequest::default();
        api.tokens.list_personal_access_tokens(request).await.map(|_| ())
    };
    let mut api = server.api(&token).await;
    for round in 0..10 {
        // As many connections as the pool makes; who finds one cut off lets go of all, new ones too.
        eventually("there were connections", async || {
            let many = (0..24).map(|_| read(api.clone()));
            futures::future::join_all(many).await.into_iter().collect::<Result<(), _>>().unwrap();
            let ended: i64 = superuser.query_one(cut, &[]).await.unwrap().get(0);
            (ended > 1).then_some(())
        })
        .await;
        let answers = futures::future::join_all((0..4).map(|_| read(api.clone()))).await;
        answers.into_iter().collect::<Result<(), _>>().unwrap_or_else(|status| panic!("round {round}: {status:?}"));
        // A write is not repeated: whoever asked is told that it may not have been done.
        let request = CreatePersonalAccessTokenRequest { description: "x".to_owned(), ..Default::default() };
        superuser.query_one(cut, &[]).await.unwrap();
        match api.tokens.create_personal_access_token(request).await {
            Ok(_) => {}
            Err(status) => assert_unavailable("create", Err(status)),
        }
    }
}
