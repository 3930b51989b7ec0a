//! Two at once, on one server and on two; and a server that ends without a word.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use latchkey::pb::gitpod::v1::{CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest};
use tokio::time::Instant;
use tonic::Code;

use crate::support::{
    ServerOptions, TestDatabase, TestServer,
    keys::{key_line, token_id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_at_the_limit_are_exact_across_servers() {
    let database = TestDatabase::create().await;
    let limit = vec!["--tokens-per-user".to_owned(), "5".to_owned()];
    let a = TestServer::start_with(&database, ServerOptions { args: limit.clone(), ..Default::default() }).await;
    let options = ServerOptions { args: limit, signing_keys: Some(a.keys()), ..Default::default() };
    let b = TestServer::start_with(&database, options).await;
    for round in 0..3 {
        let email = format!("dev{round}@example.com");
        let token = a.user(&database, &email).await;
        let apis = [a.api(&token).await, b.api(&token).await];
        let creates = (0..16).map(|number| {
            let mut api = apis[number % 2].clone();
            let request = CreatePersonalAccessTokenRequest { description: "x".to_owned(), ..Default::default() };
            async move { api.tokens.create_personal_access_token(request).await }
        });
        let answers = futures::future::join_all(creates).await;
        let made = answers.iter().filter(|answer| answer.is_ok()).count();
        for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        }
        assert_eq!(made, 4, "with the one that was there, 5");
        let live = "SELECT count(*) FROM personal_access_tokens t JOIN principals p ON p.id = t.principal_id
                    WHERE email = $1 AND revoked_at IS NULL";
        assert_eq!(database.owner().await.query_one(live, &[&email]).await.unwrap().get::<_, i64>(0), 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refused_everywhere_from_the_answer_to_its_deletion_on() {
    let database = TestDatabase::create().await;
    let a = TestServer::start(&database).await;
    // Another that remembers hears of it a moment later; this one asks PostgreSQL about each request.
    let args = vec!["--revocation-bound=0".to_owned()];
    let options = ServerOptions { args, signing_keys: Some(a.keys()), ..ServerOptions::default() };
    let b = TestServer::start_with(&database, options).await;
    let mut deleter = a.api(&a.user(&database, "dev@example.com").await).await;
    for _ in 0..5 {
        let token = deleter.create_token("x").await.token;
        let done = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut users = tokio::task::JoinSet::new();
        for number in 0..6 {
            let mut api = if number % 2 == 0 { a.api(&token).await } else { b.api(&token).await };
            let (done, accepted) = (Arc::clone(&done), Arc::clone(&accepted));
            users.spawn(async move {
                let mut last_accepted = None;
                let mut after = 0;
                // Some requests more when the deletion is answered.
                while after < 5 {
                    after += usize::from(done.load(Ordering::SeqCst));
                    let began = Instant::now();
                    match api.whoami().await {
                        Ok(_) => {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            last_accepted = Some(began);
                        }
                        Err(refused) => {
                            assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
                            assert!(refused.message().starts_with("token revoked on "), "{refused:?}");
                        }
                    }
                }
                last_accepted
            });
        }
        while accepted.load(Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
        deleter.tokens.delete_personal_access_token(request).await.unwrap();
        let answered = Instant::now();
        done.store(true, Ordering::SeqCst);
        for last_accepted in users.join_all().await {
            assert!(last_accepted.is_none_or(|began| began < answered), "accepted although begun after the answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_being_revoked_makes_no_other() {
    let database = TestDatabase::create().await;
    let keys = Some(key_line(1) + &key_line(2));
    let server = TestServer::start_with(&database, ServerOptions { signing_keys: keys, ..Default::default() }).await;
    let token = server.user(&database, "dev@example.com").await;
    server.admin(&database, &["activate-generation", "2"]).await.unwrap();
    let mut user = server.api(&server.token(&database, "dev@example.com", &[]).await).await;

    let stolen = user.create_token("stolen").await.token;
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&stolen) };
    let delete = async { drop(user.tokens.delete_personal_access_token(request).await.unwrap()) };
    assert_makes_no_other(&database, &server, &stolen, delete).await;
    // With a key that is not the active one.
    let revoke = async { drop(server.admin(&database, &["revoke-generation", "1"]).await.unwrap()) };
    assert_makes_no_other(&database, &server, &token, revoke).await;
}

/// Calls of the holder are let in, and wait; then `end` makes an end of the token; then they go on, and are refused.
async fn assert_makes_no_other(
    database: &TestDatabase,
    server: &TestServer,
    token: &str,
    end: impl Future<Output = ()>,
) {
    let owner = database.owner().await;
    let thief = server.api(token).await;
    // Its creates are let in, and then wait for the user's row, which somebody holds.
    owner.batch_execute("BEGIN; SELECT FROM principals FOR UPDATE").await.unwrap();
    let creates = (0..3).map(|_| {
        let mut api = thief.clone();
        let request = CreatePersonalAccessTokenRequest { description: "another".to_owned(), ..Default::default() };
        tokio::spawn(async move { api.tokens.create_personal_access_token(request).await })
    });
    let creates: Vec<_> = creates.collect();
    let watcher = database.superuser().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    crate::support::eventually("the creates wait", async || {
        (watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 3).then_some(())
    })
    .await;
    end.await;
    owner.batch_execute("COMMIT").await.unwrap();
    for create in creates {
        let refused = create.await.unwrap().expect_err("its holder would go on with a token that nobody has seen");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    let made = "SELECT count(*) FROM personal_access_tokens WHERE description = 'another'";
    assert_eq!(owner.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn what_was_answered_outlives_a_kill() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(server.api(&token).await.create_token("x").await.token);
        let keys = server.keys();
        server.kill().await;
        server =
            TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    }
    let client = database.serving().await;
    for token in &made {
        server.api(token).await.whoami().await.expect("it was answered, so it is there");
        let entries = "SELECT count(*) FROM audit_logs WHERE action = 'token_create' AND subject_id::text = $1";
        assert_eq!(client.query_one(entries, &[&token_id(token)]).await.unwrap().get::<_, i64>(0), 1);
    }
    // And so is a revocation.
    let revoked = token_id(&made[0]);
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: revoked };
    server.api(&token).await.tokens.delete_personal_access_token(request).await.unwrap();
    let keys = server.keys();
    server.kill().await;
    let server =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    assert_eq!(server.api(&made[0]).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
}
