//! The real PgBouncer between servers and PostgreSQL, in transaction mode.

use std::collections::BTreeSet;

use latchkey::{
    embedded::Role,
    pb::gitpod::v1::{DeletePersonalAccessTokenRequest, ListPersonalAccessTokensRequest},
};
use nix::sys::signal::{Signal, kill};

use super::bound::{BOUND, assert_refused_within_bound, revoke};
use crate::support::{PgBouncer, ServerOptions, TestDatabase, TestServer, eventually, keys::token_id};

fn options(urls: &[(&str, String)]) -> ServerOptions {
    let args = urls.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
    ServerOptions { args: args.collect(), ..ServerOptions::default() }
}

/// A server that asks through the pooler and listens beside it.
async fn start(database: &TestDatabase, pooler: &PgBouncer, keys: Option<String>) -> TestServer {
    let urls = [
        ("--database-url", pooler.serving_url()),
        ("--database-direct-url", database.serving_url()),
        ("--owner-database-url", database.owner_url()),
        ("--revocation-bound", format!("{}s", BOUND.as_secs())),
    ];
    TestServer::launch(ServerOptions { signing_keys: keys, ..options(&urls) }).await.unwrap()
}

#[tokio::test]
async fn everything_is_served_through_the_pooler_many_at_once() {
    let database = TestDatabase::create().await;
    let pooler = PgBouncer::start(&database, "").await;
    let first = start(&database, &pooler, None).await;
    let second = start(&database, &pooler, Some(first.keys())).await;
    let admin = first.admin_user(&database, "admin@example.com").await;
    let apis = [first.api(&admin).await, second.api(&admin).await];
    // Far more at once than it has connections, on two servers that prepare statements of the same names.
    let made = futures::future::join_all((0..60).map(async |n: usize| {
        let mut api = apis[n % 2].clone();
        api.whoami().await.unwrap();
        let made = api.create_token(&format!("token {n}")).await;
        let mut other = [&first, &second][(n + 1) % 2].api(&made.token).await;
        other.whoami().await.unwrap();
        made
    }))
    .await;
    let mut api = apis[0].clone();
    let list = ListPersonalAccessTokensRequest::default();
    api.tokens.list_personal_access_tokens(list.clone()).await.unwrap();
    let gone = futures::future::join_all(made.iter().enumerate().map(async |(n, made)| {
        let (mut api, id) = (apis[n % 2].clone(), token_id(&made.token));
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id.clone() };
        api.tokens.delete_personal_access_token(request).await.unwrap();
        // At once where it was revoked.
        [&first, &second][n % 2].api(&made.token).await.whoami().await.unwrap_err();
        id
    }))
    .await;
    assert_eq!(BTreeSet::from_iter(gone).len(), 60);
    let left = api.tokens.list_personal_access_tokens(list).await.unwrap().into_inner();
    assert_eq!(left.personal_access_tokens.len(), 1, "the admin's own: {left:?}");
    // Whoever connects through it as somebody else, or leaves settings behind, changes nothing: every transaction says for itself
    // whose rights it has.
    let sql = database.superuser().await;
    let acts = "SELECT count(*) FROM audit_logs WHERE action IN ('token_create', 'token_revoke')";
    let acts: i64 = sql.query_one(acts, &[]).await.unwrap().get(0);
    assert!(acts >= 120, "{acts}");
}

#[tokio::test]
async fn what_is_remembered_through_the_pooler_counts_and_ends_within_the_bound() {
    let database = TestDatabase::create().await;
    let pooler = PgBouncer::start(&database, "").await;
    let first = TestServer::start(&database).await;
    let second = start(&database, &pooler, Some(first.keys())).await;
    let admin = first.admin_user(&database, "admin@example.com").await;
    let token = first.token(&database, "admin@example.com", &[]).await;
    let mut api = second.api(&token).await;
    // It goes on without a word from PostgreSQL: heartbeats went through the pooler and came back beside it.
    eventually("it is remembered", async || {
        let mut api = api.clone();
        api.whoami().await.unwrap();
        kill(pooler.pid(), Signal::SIGSTOP).unwrap();
        let asked = tokio::time::timeout(BOUND / 2, api.whoami()).await;
        kill(pooler.pid(), Signal::SIGCONT).unwrap();
        asked.ok()?.ok()
    })
    .await;
    let revoked = revoke(&mut first.api(&admin).await, &token).await;
    assert_refused_within_bound(&mut api, revoked).await;
}

#[tokio::test]
async fn a_server_says_at_start_that_it_needs_postgresql_itself() {
    let database = TestDatabase::create_private().await;
    let sql = database.superuser().await;
    // Somebody has migrated it; PgBouncer is let in as the owner too.
    TestServer::start(&database).await;
    database.cluster().let_server_in_as(Role::Owner, &sql).await;
    let strict = PgBouncer::start(&database, "").await;
    let lax = PgBouncer::start(&database, "ignore_startup_parameters = options").await;
    for pooler in [&strict, &lax] {
        // Through it alone, with the owner beside it, and twice through it.
        let (url, direct) = (("--database-url", pooler.serving_url()), "--database-direct-url");
        let owner = ("--owner-database-url", database.owner_url());
        let through = ("--owner-database-url", pooler.owner_url());
        for urls in [vec![url.clone(), through], vec![url.clone(), owner.clone()]] {
            let said = TestServer::launch(options(&urls)).await.err().expect("it does not start");
            assert!(said.contains("most likely a pooler, such as PgBouncer"), "{said}");
            assert!(said.contains("LISTEN") && said.contains("migrate") && said.contains(direct), "{said}");
        }
        let twice = [url, (direct, pooler.serving_url()), owner];
        let said = TestServer::launch(options(&twice)).await.err().expect("it does not start");
        assert!(said.contains(direct), "{said}");
    }
}
