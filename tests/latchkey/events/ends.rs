//! How streams of events end.

use std::time::Duration;

use latchkey::{
    domain::clock::boot_time,
    pb::gitpod::v1::{
        DeletePersonalAccessTokenRequest,
        ResourceOperation::{Create, Delete, Update, UpdateStatus},
    },
};
use tonic::{Code, transport::Endpoint};

use super::watch::{everything, of};
use crate::support::{Api, ServerOptions, TestDatabase, TestServer, details, eventually, keys::token_id};

/// How late a stream may end, unless the operator chose otherwise.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test]
async fn whoever_watches_with_a_token_that_ends_is_told_why() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let revoked = api.create_token("to be revoked").await.token;
    let mut watch = server.api(&revoked).await.watch(everything()).await.unwrap();
    let mut goes_on = api.watch(everything()).await.unwrap();
    let id = token_id(&revoked);
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id };
    api.tokens.delete_personal_access_token(request).await.unwrap();
    let end = watch.end_within(BOUND, boot_time()).await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert!(end.message().contains("revoked"), "{end}");

    let environment = database.environment_of(&token_id(&token)).await;
    goes_on.tells(Create, &environment).await;
    database.suspend("dev@example.com", true).await;
    let end = goes_on.end_within(BOUND, boot_time()).await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert!(end.message().contains("suspended"), "{end}");
}

#[tokio::test]
async fn whoever_watches_is_sent_away_within_the_bound_that_the_operator_chose() {
    // With a bound of 0 nothing is remembered, but what is under way is looked up now and then all the same.
    let bound = Duration::from_secs(1);
    for chosen in ["1s", "0"] {
        let database = TestDatabase::create().await;
        let options = ServerOptions { args: vec![format!("--revocation-bound={chosen}")], ..ServerOptions::default() };
        let server = TestServer::start_with(&database, options).await;
        let token = server.user(&database, "dev@example.com").await;
        let mut api = server.api(&token).await;
        // The second time as soon as tokens have been looked up: there is nearly all of the time until they are again.
        for _ in 0..2 {
            let revoked = api.create_token("to be revoked").await.token;
            let mut watch = server.api(&revoked).await.watch(everything()).await.unwrap();
            let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&revoked) };
            api.tokens.delete_personal_access_token(request).await.unwrap();
            let end = watch.end_within(bound, boot_time()).await;
            // On a machine with much to do it may be all that can be said in time that nothing is known.
            assert!([Code::Unauthenticated, Code::Unavailable].contains(&end.code()), "{end}");
        }
    }
}

#[tokio::test]
async fn whoever_is_no_admin_any_more_is_told_of_nothing_more() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let mut watch = server.api(&admin).await.watch(everything()).await.unwrap();
    let demote = "UPDATE principals SET role = 'member' WHERE email = 'admin@example.com'";
    assert_eq!(database.owner().await.execute(demote, &[]).await.unwrap(), 1);
    let end = watch.end().await;
    assert_eq!(end.code(), Code::PermissionDenied, "{end}");
    assert!(end.message().contains("role"), "{end}");
    let denied = "SELECT count(*) FROM audit_logs
                  WHERE rpc = 'gitpod.v1.EventService/WatchEvents' AND action = 'permission_deny' AND outcome = 'denied'";
    eventually("it is written down", async || (database.number(denied, &[]).await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_ends_lets_go_and_the_next_one_tells_on() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let keys = server.keys();
    let token = server.user(&database, "dev@example.com").await;
    let mut watch = server.api(&token).await.watch(everything()).await.unwrap();
    let end = {
        let stopping = server.stop();
        let (end, clean) = tokio::join!(watch.end(), stopping);
        assert!(clean, "it did not wait for who watches");
        end
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(end.message().contains("ending"), "{end}");
    assert!(details(&end).retry_info().is_some());

    let next =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    let mut watch = next.api(&token).await.watch(everything()).await.unwrap();
    let environment = database.environment_of(&token_id(&token)).await;
    watch.tells(Create, &environment).await;
}

#[tokio::test]
async fn whoever_watched_a_server_that_is_killed_misses_nothing_of_what_they_name() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let keys = server.keys();
    let token = server.user(&database, "dev@example.com").await;
    let id = token_id(&token);
    let environment = async || database.environment_of(&id).await;
    let (stays, goes, changes) = (environment().await, environment().await, environment().await);
    let named = || of(&[&stays, &goes, &changes], &[]);
    let mut watch = server.api(&token).await.watch(named()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(watch.next().await.unwrap().0, UpdateStatus);
    }
    server.kill().await;
    // Nobody is left to say why; that it is no end in good order, whoever watches is told all the same.
    let end = watch.end().await;
    assert!(matches!(end.code(), Code::Unknown | Code::Unavailable), "{end}");
    // What happens now is announced to nobody.
    let owner = database.owner().await;
    let happens = format!(
        "DELETE FROM environments WHERE id = '{goes}';
         UPDATE environments SET status_version = status_version + 1 WHERE id = '{changes}'"
    );
    owner.batch_execute(&happens).await.unwrap();

    let next =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    let mut watch = next.api(&token).await.watch(named()).await.unwrap();
    let mut told = vec![];
    for _ in 0..3 {
        told.push(watch.next().await.unwrap());
    }
    told.sort_by(|(_, one), (_, other)| one.cmp(other));
    let mut expected = vec![(UpdateStatus, stays.clone()), (Delete, goes), (UpdateStatus, changes)];
    expected.sort_by(|(_, one), (_, other)| one.cmp(other));
    assert_eq!(told, expected);
    // From here on it goes on as ever.
    owner.batch_execute(&format!("UPDATE environments SET name = 'renamed' WHERE id = '{stays}'")).await.unwrap();
    watch.tells(Update, &stays).await;
}

#[tokio::test]
async fn whoever_may_have_missed_something_is_told_so() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    let mut watch = api.watch(everything()).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query = 'LISTEN latchkey_events'";
    let superuser = database.superuser().await;
    assert_eq!(superuser.execute(cut, &[]).await.unwrap(), 1, "one connection listens");
    let end = watch.end().await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(details(&end).retry_info().is_some());
    // It listens again by itself; who asks meanwhile waits for it.
    let mut watch = api.watch(everything()).await.unwrap();
    let environment = database.environment_of(&token_id(&token)).await;
    watch.tells(Create, &environment).await;
}

#[tokio::test]
async fn nobody_is_told_anything_when_tokens_cannot_be_verified() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut watch = server.api(&token).await.watch(everything()).await.unwrap();
    database.cluster().pause().await;
    let end = watch.end_within(BOUND, boot_time()).await;
    database.cluster().resume().await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    eventually("it is verified again", async || server.api(&token).await.watch(everything()).await.ok()).await;
}

#[tokio::test]
async fn whoever_takes_slowly_is_not_told_what_has_waited_after_the_token_has_ended() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let channel = Endpoint::from_shared(server.url()).unwrap().initial_stream_window_size(65_535);
    let slow = Api::over(channel.connect().await.unwrap(), Some(&format!("Bearer {token}")));
    let mut slow = slow.watch(everything()).await.unwrap();
    let mut quick = server.api(&token).await.watch(everything()).await.unwrap();
    // So much that it does not fit into what is sent before anybody takes it; and not so much that it is lost.
    let (environments, times) = (20, 190);
    for _ in 0..environments {
        database.environment_of(&token_id(&token)).await;
    }
    let owner = database.owner().await;
    for _ in 0..times {
        owner.batch_execute("UPDATE environments SET status_version = status_version + 1").await.unwrap();
    }
    for _ in 0..environments * (times + 1) {
        quick.next().await.unwrap();
    }
    server.admin(&database, &["revoke-token", &token_id(&token)]).await.unwrap();
    assert_eq!(quick.end().await.code(), Code::Unauthenticated);

    let mut told = 0;
    let end = loop {
        match slow.next().await {
            Ok(_) => told += 1,
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert!(told < environments * times, "{told} were told");
}
