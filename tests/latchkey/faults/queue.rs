//! A server that cannot write down what it sees: once its queue is full, nobody is let through unseen.

use std::net::Ipv4Addr;

use futures::future::join_all;
use latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest;
use tonic::{Code, Status};

use crate::support::{
    Caller, ServerOptions, TestDatabase, TestServer, WHOAMI, details, eventually, http,
    keys::{forged, token_id},
};

/// Reads that cost the server little, and succeed without being asked for anything.
const READS: [&str; 4] = [
    WHOAMI,
    "/gitpod.v1.EnvironmentService/ListEnvironments",
    "/gitpod.v1.EnvironmentService/ListEnvironmentClasses",
    "/gitpod.v1.UserService/GetAuthenticatedUser",
];

/// Whether a call was let through, or found no room.
#[track_caller]
fn was_let_through(answer: &Result<impl Sized, Status>) -> bool {
    match answer.as_ref().map_err(Status::code) {
        Ok(_) => true,
        Err(Code::Unavailable) => false,
        Err(other) => panic!("neither let through nor told to try again: {other}"),
    }
}

#[track_caller]
fn assert_no_room(answer: Result<impl Sized, Status>) {
    let status = answer.err().expect("it is not let through");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(details(&status).retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_queue_is_full_lets_nobody_through_until_there_is_room() {
    let database = TestDatabase::create().await;
    // Without a line in the log for each of very many calls.
    let env = vec![("LATCHKEY_LOG".to_owned(), "info".to_owned())];
    let server = TestServer::start_with(&database, ServerOptions { env, ..ServerOptions::default() }).await;
    let mut tokens = vec![server.user(&database, "dev@example.com").await];
    let mut api = server.api(&tokens[0]).await;
    tokens.extend(join_all((1..100).map(async |_| api.clone().create_token("x").await.token)).await);

    let writer = database.superuser().await;
    writer.batch_execute("BEGIN; LOCK audit_tallies IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // What is alike is counted and takes no more room: so each call is of another token, of another RPC, or from elsewhere.
    let mut let_through = 0;
    for number in 1.. {
        let caller = Caller::connect_from(Ipv4Addr::new(127, 0, 1, number).into(), &server.url()).await;
        let calls = tokens.iter().flat_map(|token| READS.map(|read| caller.call_with_token(read, token)));
        let answers = join_all(calls).await;
        let through = answers.iter().filter(|answer| was_let_through(answer)).count();
        let_through += through;
        if through < answers.len() {
            answers.into_iter().filter(|answer| !was_let_through(answer)).for_each(assert_no_room);
            break;
        }
        assert!(number < 60, "there is no bound");
    }
    // 20,000, and those that were past the question when the last place was taken.
    assert!((20_000..=20_400).contains(&let_through), "{let_through} were let through");

    assert_no_room(api.whoami().await);
    let request = CreatePersonalAccessTokenRequest { description: "unseen".to_owned(), ..Default::default() };
    assert_no_room(api.tokens.create_personal_access_token(request.clone()).await);
    let unseen = "SELECT count(*) FROM personal_access_tokens WHERE description = 'unseen'";
    assert_eq!(database.number(unseen, &[]).await, 0);
    // Who is refused is told so: nothing is let through that would have to be seen. And the operator can act.
    assert_eq!(server.api(&forged()).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    server.admin(&database, &["revoke-token", &token_id(&tokens[99])]).await.unwrap();
    let revoked = server.api(&tokens[99]).await.becomes_refused().await;
    assert!(revoked.message().starts_with("token revoked on "), "{revoked:?}");
    assert_eq!(http::get(server.address(), "/livez").await.0, 200);

    writer.batch_execute("COMMIT").await.unwrap();
    eventually("there is room again", async || {
        let answer = api.clone().whoami().await;
        was_let_through(&answer).then_some(answer)
    })
    .await
    .unwrap();
    let_through += 1;
    api.tokens.create_personal_access_token(request).await.unwrap();
    assert_eq!(database.number(unseen, &[]).await, 1);
    let seen = "SELECT coalesce(sum(count), 0)::bigint FROM (
                    SELECT action, count FROM audit_tallies UNION ALL SELECT action, count FROM audit_logs) AS seen
                WHERE action = 'read'";
    let expected = i64::try_from(let_through).unwrap();
    eventually("whatever was let through is written down, once", async || {
        let seen = database.number(seen, &[]).await;
        assert!(seen <= expected, "{seen} of {expected}");
        (seen == expected).then_some(())
    })
    .await;
}
