//! Many tokens at once: looked up, and remembered.

use std::{path::Path, time::Duration};

use http::HeaderValue;
use latchkey::pb::gitpod::v1::BatchIntrospectTokensRequest;

use super::{
    Options,
    client::{Call, Client},
    ground::{Postgres, Server, figures::Times, server::LATCHKEY, tokens, usage::memory},
    pin,
    remembered::headers,
    table::{Bar, Table},
};

/// Tokens that are remembered, each of a principal of its own.
const REMEMBERED: u32 = 100_000;
/// Of these, those that have to be remembered when memory is looked at: there is room for as many as there are, in parts that do not
/// fill up evenly.
const LEAST: f64 = 99_000.0;
/// Tokens in one question.
const BATCH: usize = 1000;
/// Questions that are timed.
const QUESTIONS: usize = 200;

pub(super) async fn measure(options: &Options, table: &mut Table) {
    if !["batch", "memory"].iter().any(|row| options.wants(row)) {
        return;
    }
    let postgres = Postgres::start().await;
    let (metrics, tells) = Server::place_of_metrics();
    let server = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &[&tells])).await;
    let asks = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &["--revocation-bound=0"])).await;
    let own = HeaderValue::from_str(&format!("Bearer {}", server.service_token().await)).unwrap();
    let tokens = tokens::fill(&postgres, 1, REMEMBERED).await;
    let principals = "
        WITH added AS (
            INSERT INTO principals (id, organization_id, kind, role, name, email)
            SELECT id, organization_id, 'user', 'member', 'User', id || '@bench.example' FROM personal_access_tokens
            WHERE description = 'benchmark' RETURNING id)
        SELECT count(*) FROM added";
    let sql = postgres.superuser().await;
    sql.batch_execute(principals).await.unwrap();
    sql.batch_execute("SET session_replication_role = replica; UPDATE personal_access_tokens SET principal_id = id, creator_id = id WHERE description = 'benchmark'").await.unwrap();
    postgres.settle(&["principals", "personal_access_tokens"]).await;
    pin::postgres(&postgres);
    let texts: Vec<String> =
        headers(&tokens).iter().map(|value| value.to_str().unwrap()["Bearer ".len()..].to_owned()).collect();
    let calls: Vec<Call> = texts
        .chunks(BATCH)
        .map(|tokens| {
            let request = BatchIntrospectTokensRequest { tokens: tokens.to_vec() };
            Call::new("/gitpod.v1.TokenService/BatchIntrospectTokens", &request)
        })
        .collect();
    if options.wants("batch") {
        let client = Client::connect(asks.address(), 1).await;
        let mut times = Times::default();
        for call in calls.iter().cycle().take(QUESTIONS) {
            let (status, took) = client.ask(call, &own).await;
            assert_eq!(status, 0);
            times.push(took);
        }
        let what = "BatchIntrospectTokens of 1,000 uncached, median";
        table.row(what, Bar::Below(10.0), times.quantile(0.5), " ms", &times.summary());
    }
    if options.wants("memory") {
        let client = Client::connect(server.address(), 1).await;
        let before = memory(server.pid());
        // Twice: the heartbeat that makes it count may come after the first.
        for call in calls.iter().chain(&calls) {
            assert_eq!(client.ask(call, &own).await.0, 0);
        }
        drop(client);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (resident, own) = memory(server.pid());
        let entries = Server::metric(&metrics, "latchkey_verification_cache_entries").await;
        assert!(entries >= LEAST, "no more than {entries} credentials are remembered");
        let details = format!(
            "{entries:.0} credentials remembered; {own:.1} MiB its own; before {:.1} MiB, {:.1} its own",
            before.0, before.1
        );
        table.row("RSS with 100,000 cached principals", Bar::Below(64.0), resident, " MiB", &details);
    }
    server.stop().await;
    asks.stop().await;
}
