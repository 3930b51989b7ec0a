//! Metrics: what is told, what it is called, and that no caller makes more of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{
    Caller, ServerOptions, TestDatabase, TestServer, WHOAMI, eventually, http,
    keys::{forged, token_id},
    network::own_address,
};

async fn start(database: &TestDatabase, number: u8) -> (TestServer, String) {
    let address = format!("{}:{}", own_address(1), 9470 + u16::from(number));
    let args = vec![format!("--metrics-listen={address}")];
    (TestServer::start_with(database, ServerOptions { args, ..ServerOptions::default() }).await, address)
}

async fn told(address: &str) -> String {
    let (status, text) = http::get(address, "/metrics").await;
    assert_eq!(status, 200);
    text
}

/// What stands in front of the number in each line.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// The metrics there are: those of histograms by the name that they are described with.
fn names(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn verifications_are_told_by_where_they_were_found_and_by_outcome() {
    let database = TestDatabase::create().await;
    let (server, address) = start(&database, 0).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    // Before the first heartbeat nothing that is remembered counts.
    eventually("it is remembered", async || {
        caller.call_with_token(WHOAMI, &token).await.unwrap();
        let cached = value(&told(&address).await, "latchkey_verifications_total{source=\"cache\",outcome=\"good\"}");
        (cached > 0.0).then_some(())
    })
    .await;
    for text in [forged(), forged(), "x".to_owned()] {
        caller.call_with_token(WHOAMI, &text).await.unwrap_err();
    }
    database.expire(&token_id(&token)).await;
    eventually("it is expired", async || caller.call_with_token(WHOAMI, &token).await.err()).await;

    let text = told(&address).await;
    let of = |source: &str, outcome: &str| {
        value(&text, &format!("latchkey_verifications_total{{source=\"{source}\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((of("nowhere", "forged"), of("nowhere", "malformed")), (2.0, 1.0));
    assert!(of("batch", "good") >= 1.0);
    assert_eq!(of("batch", "expired") + of("cache", "expired"), 1.0);
    let took = |source| value(&text, &format!("latchkey_verification_seconds_count{{source=\"{source}\"}}"));
    assert_eq!(took("nowhere"), 3.0);
    assert_eq!(value(&text, "latchkey_verification_listening"), 1.0);
    assert_eq!(value(&text, "latchkey_database_waiting{pool=\"serving\"}"), 0.0);
    assert!(value(&text, "latchkey_verification_heartbeat_age_seconds") < 5.0);
    assert!(value(&text, "latchkey_database_connections{pool=\"verifying\",state=\"idle\"}") >= 1.0);
}

#[tokio::test]
async fn no_caller_makes_more_of_them() {
    let database = TestDatabase::create().await;
    let (server, address) = start(&database, 1).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    let unknown = |number: usize| format!("/gitpod.v1.TokenService/Nothing{number}");
    let of_environment = || format!("/environments/{}/ops{WHOAMI}", latchkey::domain::ids::EnvironmentId::generate());
    caller.call_with_token(WHOAMI, &token).await.unwrap();
    caller.call_with_token(&unknown(0), &token).await.unwrap_err();
    caller.call_with_token(&of_environment(), &token).await.unwrap_err();
    caller.call_with_token(WHOAMI, &forged()).await.unwrap_err();
    caller.call_with_token(WHOAMI, "x").await.unwrap_err();
    let before = series(&told(&address).await);
    for number in 1..20 {
        caller.call_with_token(&unknown(number), &token).await.unwrap_err();
        caller.call_with_token(&of_environment(), &token).await.unwrap_err();
        caller.call_with_token(WHOAMI, &forged()).await.unwrap_err();
        caller.call_with_token(WHOAMI, &format!("x{number}")).await.unwrap_err();
    }
    let more: Vec<String> = series(&told(&address).await).difference(&before).cloned().collect();
    assert_eq!(more, [""; 0]);
}

#[tokio::test]
async fn a_server_to_which_no_heartbeat_comes_back_says_for_how_long() {
    let database = TestDatabase::create().await;
    let superuser = database.superuser().await;
    // What sends heartbeats asks for that, and nothing else does.
    let usage = "EXECUTE ON FUNCTION pg_notification_queue_usage()";
    superuser.batch_execute(&format!("REVOKE {usage} FROM PUBLIC")).await.unwrap();
    let (_server, address) = start(&database, 4).await;
    let age = async || value(&told(&address).await, "latchkey_verification_heartbeat_age_seconds");
    let first = age().await;
    let later = eventually("it grows", async || Some(age().await).filter(|later| *later > first + 1.0)).await;
    superuser.batch_execute(&format!("GRANT {usage} TO PUBLIC")).await.unwrap();
    eventually("one has come back", async || (age().await < later).then_some(())).await;
}

/// What is told once something has happened that happens rarely, or not on a server without environments.
const RARE: [&str; 6] = [
    "latchkey_observations_dropped_total",
    "latchkey_observations_lost_total",
    "latchkey_observations_refused_total",
    "latchkey_reconcile_failures_total",
    "latchkey_reconcile_seconds",
    "latchkey_reconcile_steps",
];

#[tokio::test]
async fn what_is_told_is_described_in_the_readme_and_what_is_shown_is_told() {
    let database = TestDatabase::create().await;
    let (server, address) = start(&database, 2).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    caller.call_with_token(WHOAMI, &token).await.unwrap();
    caller.call_with_token(WHOAMI, "x").await.unwrap_err();
    // Some of it with the first heartbeat.
    let text = eventually("a heartbeat has come back", async || {
        Some(told(&address).await).filter(|text| text.contains("\nlatchkey_notification_queue_usage "))
    })
    .await;
    let told = names(&text);
    let readme = include_str!("../../../README.md");
    let described: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `latchkey_")?.split_once('`'))
        .map(|(name, _)| format!("latchkey_{name}"))
        .collect();
    let undescribed: Vec<&String> = told.difference(&described).collect();
    assert!(undescribed.is_empty(), "README.md does not describe {undescribed:?}");
    for name in &told {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described by itself");
    }

    let dashboard: Value = serde_json::from_str(include_str!("../../../deploy/grafana/latchkey.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut shown = BTreeSet::new();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        shown.extend(words.filter(|word| word.starts_with("latchkey_")).map(|word| {
            let histogram = ["_bucket", "_count", "_sum"].into_iter().find_map(|part| word.strip_suffix(part));
            histogram.filter(|name| name.ends_with("_seconds")).unwrap_or(word).to_owned()
        }));
    }
    assert!(shown.len() > 15, "{shown:?}");
    let rare: BTreeSet<String> = RARE.map(str::to_owned).into();
    assert!(rare.is_disjoint(&told), "what is told is not rare");
    for name in &rare {
        let code = include_str!("../../../src/telemetry/metrics.rs");
        assert!(code.contains(&format!("\"{name}\"")) && described.contains(name), "there is no {name}");
    }
    let unknown: Vec<&String> = shown.iter().filter(|name| !told.contains(*name) && !rare.contains(*name)).collect();
    assert!(unknown.is_empty(), "the dashboard shows what there is not: {unknown:?}");
}

#[tokio::test]
async fn it_is_told_how_full_the_queue_of_notifications_is() {
    let database = TestDatabase::create_private().await;
    let (_server, address) = start(&database, 3).await;
    let usage = async || value(&told(&address).await, "latchkey_notification_queue_usage");
    eventually("it is told", async || {
        told(&address).await.contains("\nlatchkey_notification_queue_usage ").then_some(())
    })
    .await;
    // Whoever listens in a transaction that does not end keeps for all what was told since.
    let keeper = database.superuser().await;
    keeper.batch_execute("LISTEN latchkey_test").await.unwrap();
    keeper.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let teller = database.superuser().await;
    teller
        .batch_execute("SELECT pg_notify('latchkey_test', repeat('x', 7900) || n) FROM generate_series(1, 5000) AS n")
        .await
        .unwrap();
    eventually("it is fuller", async || (usage().await > 0.0).then_some(())).await;
    keeper.batch_execute("COMMIT").await.unwrap();
    eventually("it is empty again", async || (usage().await == 0.0).then_some(())).await;
}
