//! Metrics, in the format of Prometheus. What each means is said here, and what `/metrics` says of it.

use std::{sync::OnceLock, time::Duration};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds that requests, and what takes as long, are sorted by.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Seconds that verifications are sorted by: by what is remembered they take about a millionth.
const SHORT: [f64; 12] = [0.000_001, 0.000_005, 0.000_025, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.5, 5.0];
/// Seconds that steps of environments are sorted by.
const LONG: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// How often measurements are sorted: so often that nobody waits for it.
const UPKEEP: Duration = Duration::from_millis(200);

/// Sorts what was measured into its buckets now and then: until then each measurement is kept, asked for or not. Never ready.
pub async fn upkeep(metrics: Option<&'static PrometheusHandle>) {
    let Some(metrics) = metrics else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Collects metrics from now on, and gives out what was collected. None if somebody else in this process collects.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let named = |name: &str| Matcher::Full(name.to_owned());
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(named("latchkey_request_seconds"), &BUCKETS)
                .and_then(|builder| builder.set_buckets_for_metric(named("latchkey_verification_seconds"), &SHORT))
                .and_then(|builder| builder.set_buckets_for_metric(named("latchkey_reconcile_seconds"), &LONG))
                .and_then(PrometheusBuilder::install_recorder)
                .ok()?;
            describe();
            Some(handle)
        })
        .as_ref()
}

fn describe() {
    let seconds = Unit::Seconds;
    describe_histogram!("latchkey_request_seconds", seconds, "How long requests took, by RPC and gRPC code");
    describe_histogram!(
        "latchkey_verification_seconds",
        seconds,
        "How long verifications took, by where the credential was found (cache, batch, nowhere)"
    );
    describe_counter!(
        "latchkey_verifications_total",
        "Verifications, by where the credential was found and by outcome"
    );
    describe_counter!("latchkey_proxied_requests_total", "Requests that Envoy asked about, by outcome");
    describe_counter!("latchkey_refusals_total", "Requests refused for want of a good credential, by reason");
    describe_counter!("latchkey_sign_in_failures_total", "Sign-ins at which nobody was recognized, by reason");
    describe_gauge!("latchkey_verification_cache_entries", "Credentials that are remembered");
    describe_gauge!("latchkey_verification_listening", "1 while changes of credentials are listened for, else 0");
    describe_gauge!(
        "latchkey_verification_heartbeat_age_seconds",
        seconds,
        "How long ago the last heartbeat was sent that came back, or else since when the server runs; beyond the bound nothing remembered counts"
    );
    describe_gauge!(
        "latchkey_notification_queue_usage",
        "The share of PostgreSQL's queue of notifications that is taken, from 0 to 1; no token can be revoked while it is full"
    );
    describe_gauge!("latchkey_clock_skew_seconds", seconds, "How much PostgreSQL's clock is ahead of this machine's");
    describe_gauge!("latchkey_database_connections", "Connections to PostgreSQL, by pool and state");
    describe_gauge!("latchkey_database_waiting", "Who waits for a connection to PostgreSQL, by pool");
    describe_gauge!("latchkey_audit_queue_entries", "Observations that wait to be written to the audit log, by kind");
    describe_gauge!(
        "latchkey_last_used_lag_seconds",
        seconds,
        "How long the oldest use of a token has waited to be written"
    );
    describe_counter!("latchkey_last_used_dropped_total", "Uses of tokens that were too many to be noted");
    describe_counter!("latchkey_observations_lost_total", "Observations that could not be written, and never will be");
    describe_counter!(
        "latchkey_observations_dropped_total",
        "Observations whose address was left out, since there were too many"
    );
    describe_counter!("latchkey_observations_refused_total", "Requests refused since the audit log's queue was full");
    describe_gauge!("latchkey_reconcile_steps", "Steps of environments under way");
    describe_histogram!(
        "latchkey_reconcile_seconds",
        seconds,
        "How long steps of environments took, by what was wanted"
    );
    describe_counter!(
        "latchkey_reconcile_failures_total",
        "Environments that could not be brought up, by kind of failure"
    );
}
