//! Whatever happens between a server and PostgreSQL: no token is accepted later than the bound after its revocation was acknowledged.

use std::{fs, time::Duration};

use latchkey::{
    domain::clock::boot_time,
    pb::gitpod::v1::{DeletePersonalAccessTokenRequest, SetSuspendedRequest},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Code;

use crate::support::{Api, ServerOptions, TestDatabase, TestServer, eventually, keys::token_id};

/// A short one, so that tests need not wait for long.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// Two servers with the same keys and bound.
struct Pair {
    database: TestDatabase,
    first: TestServer,
    second: TestServer,
    /// Of an admin, good on both.
    admin: String,
    /// The processes of PostgreSQL's that the second server is connected to.
    backends: Vec<i32>,
}

const BACKENDS: &str =
    "SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE application_name = 'latchkey'";
const LISTENING: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'latchkey' AND pid = ANY($1)
                         AND query = 'LISTEN latchkey_verification'";

impl Pair {
    async fn start() -> Self {
        let database = TestDatabase::create_private().await;
        let args = vec![format!("--revocation-bound={}s", BOUND.as_secs())];
        let options = ServerOptions { args, ..ServerOptions::default() };
        let first = TestServer::start_with(&database, options.clone()).await;
        let sql = database.superuser().await;
        // Once the first one listens: then it has given up the connections with which it began, and has made others.
        let before = eventually("the first server listens", async || {
            let before: Vec<i32> = sql.query_one(BACKENDS, &[]).await.unwrap().get(0);
            sql.query_opt(LISTENING, &[&before]).await.unwrap().map(|_| before)
        })
        .await;
        let keys = Some(first.keys());
        let second = TestServer::start_with(&database, ServerOptions { signing_keys: keys, ..options }).await;
        // Once it listens: then it has given up the connections with which it began.
        let backends = eventually("the second server listens", async || {
            let mut backends: Vec<i32> = sql.query_one(BACKENDS, &[]).await.unwrap().get(0);
            backends.retain(|backend| !before.contains(backend));
            sql.query_opt(LISTENING, &[&backends]).await.unwrap().map(|_| backends)
        })
        .await;
        let admin = first.admin_user(&database, "admin@example.com").await;
        Self { database, first, second, admin, backends }
    }

    /// The process of PostgreSQL's on whose connection the second server listens.
    async fn listening(&self) -> i32 {
        let sql = self.database.superuser().await;
        eventually("the second server listens", async || {
            let found = sql.query_opt(LISTENING, &[&self.backends]).await.unwrap();
            found.map(|row| row.get(0))
        })
        .await
    }

    /// A token that the second server remembers.
    async fn remembered(&self) -> (String, Api) {
        let token = self.first.token(&self.database, "admin@example.com", &[]).await;
        let mut api = self.second.api(&token).await;
        for _ in 0..3 {
            api.whoami().await.unwrap();
        }
        (token, api)
    }

    /// Revokes a token through the first server; when that was acknowledged.
    async fn revoke(&self, token: &str) -> Duration {
        revoke(&mut self.first.api(&self.admin).await, token).await
    }
}

/// Revokes a token; when that was acknowledged.
pub(super) async fn revoke(api: &mut Api, token: &str) -> Duration {
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(token) };
    api.tokens.delete_personal_access_token(request).await.unwrap();
    boot_time()
}

/// Asks without a pause until it is refused, and as long again: every call that began later than the bound was refused.
pub(super) async fn assert_refused_within_bound(api: &mut Api, revoked: Duration) {
    let mut is_refused = false;
    loop {
        let began = boot_time();
        let answer = tokio::time::timeout(Duration::from_secs(30), api.whoami()).await.expect("it is answered");
        match answer {
            Ok(_) => assert!(began < revoked + BOUND, "accepted {:?} after it was revoked", began.checked_sub(revoked)),
            Err(status) => {
                is_refused = true;
                assert!([Code::Unauthenticated, Code::Unavailable].contains(&status.code()), "{status}");
            }
        }
        if began > revoked + 2 * BOUND {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_refused);
}

/// A server's processes: one of root's is two.
fn processes(server: &TestServer) -> Vec<i32> {
    let main = i32::try_from(server.pid()).unwrap();
    let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).chain([main]).collect()
}

/// Processes that stand still, and go on with the end of this value.
struct Stopped(Vec<i32>);

impl Stopped {
    fn new(processes: Vec<i32>) -> Self {
        // One that has ended says nothing either.
        for process in &processes {
            let _ = kill(Pid::from_raw(*process), Signal::SIGSTOP);
        }
        Self(processes)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = kill(Pid::from_raw(*process), Signal::SIGCONT);
        }
    }
}

#[tokio::test]
async fn a_server_whose_listening_connection_is_cut_off_again_and_again() {
    let pair = Pair::start().await;
    let (token, mut api) = pair.remembered().await;
    let sql = pair.database.superuser().await;
    let cutting = async {
        loop {
            let cut =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN latchkey_verification'";
            sql.batch_execute(cut).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let asking = async {
        let revoked = pair.revoke(&token).await;
        assert_refused_within_bound(&mut api, revoked).await;
    };
    tokio::select! {
        () = cutting => unreachable!("it goes on for ever"),
        () = asking => {}
    }
}

#[tokio::test]
async fn a_server_to_which_nothing_is_told_any_more() {
    let pair = Pair::start().await;
    let (token, mut api) = pair.remembered().await;
    // The connection stays, and nothing comes.
    let stopped = Stopped::new(vec![pair.listening().await]);
    let revoked = pair.revoke(&token).await;
    assert_refused_within_bound(&mut api, revoked).await;
    drop(stopped);
}

#[tokio::test]
async fn who_is_told_that_a_user_is_suspended_already_finds_it_so() {
    let pair = Pair::start().await;
    pair.first.user(&pair.database, "dev@example.com").await;
    let token = pair.second.token(&pair.database, "dev@example.com", &[]).await;
    let mut api = pair.second.api(&token).await;
    let user_id = api.whoami().await.unwrap();
    for suspended in [true, false] {
        // The second one hears of nothing.
        let stopped = Stopped::new(vec![pair.listening().await]);
        for server in [&pair.first, &pair.second] {
            let request = SetSuspendedRequest { user_id: user_id.clone(), suspended };
            server.api(&pair.admin).await.users.set_suspended(request).await.unwrap();
            if server.address() == pair.first.address() {
                // It is remembered as it was, if anything is.
                let _ = api.whoami().await;
            }
        }
        assert_eq!(api.whoami().await.is_err(), suspended);
        drop(stopped);
    }
}

#[tokio::test]
async fn a_server_all_of_whose_connections_swallow_what_is_sent() {
    let pair = Pair::start().await;
    let (token, mut api) = pair.remembered().await;
    let stopped = Stopped::new(pair.backends.clone());
    let revoked = pair.revoke(&token).await;
    assert_refused_within_bound(&mut api, revoked).await;
    drop(stopped);
    let (_, mut other) = pair.remembered().await;
    other.whoami().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stood_still_for_longer_than_the_bound() {
    let pair = Pair::start().await;
    let (token, mut api) = pair.remembered().await;
    let stopped = Stopped::new(processes(&pair.second));
    let revoked = pair.revoke(&token).await;
    // What is asked meanwhile is answered when it goes on; by then the bound is over.
    let asked = tokio::spawn({
        let mut api = api.clone();
        async move { api.whoami().await }
    });
    tokio::time::sleep(BOUND).await;
    drop(stopped);
    let answer = asked.await.unwrap();
    assert!(answer.is_err(), "what was remembered before counts no more: {answer:?}");
    assert_refused_within_bound(&mut api, revoked).await;
}

#[tokio::test]
async fn while_postgresql_stands_still_remembered_tokens_go_on_for_the_bound_and_no_longer() {
    let pair = Pair::start().await;
    let (_, mut api) = pair.remembered().await;
    let paused_at = {
        pair.database.cluster().pause().await;
        boot_time()
    };
    loop {
        let began = boot_time();
        match api.whoami().await {
            Ok(_) => assert!(began < paused_at + BOUND, "nothing is heard any more"),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "nobody's token has ended: {status}");
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pair.database.cluster().resume().await;
    eventually("the token is good again, without a restart", async || api.clone().whoami().await.ok()).await;
}
