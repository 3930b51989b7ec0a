//! Logs and metrics.

use std::{io::IsTerminal, sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

/// Seconds that requests are sorted by.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Logs to standard error: what `LATCHKEY_LOG` asks for (`info` by default, in the syntax of `RUST_LOG`), as JSON when
/// `LATCHKEY_LOG_FORMAT` is `json`. A second call changes nothing.
pub fn log() {
    let asked = std::env::var("LATCHKEY_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { "info" } else { &asked });
    let mistake = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let json = std::env::var("LATCHKEY_LOG_FORMAT").is_ok_and(|format| format == "json");
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_harmless));
    // Files and journals are no terminals: colours there are noise, and part what is searched for.
    let layer =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    // An error means that somebody else logs already, such as a test.
    let _ = if json { registry.with(layer.json()).try_init() } else { registry.with(layer).try_init() };
    if let Some(mistake) = mistake {
        tracing::warn!("LATCHKEY_LOG is not understood and counts as info: {mistake}");
    }
}

/// Sorts what was measured into its buckets now and then: until then each measurement is kept, asked for or not. Never ready.
pub async fn upkeep(metrics: Option<&'static PrometheusHandle>) {
    let Some(metrics) = metrics else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// How often measurements are sorted.
const UPKEEP: Duration = Duration::from_secs(5);

/// Whether something may be logged, whatever is asked for: below `info` the PostgreSQL driver tells the values of each
/// query, and with them digests, and what people wrote.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("tokio_postgres") || *metadata.level() <= Level::INFO
}

/// Collects metrics from now on, and gives out what was collected. None if somebody else in this process collects.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Full("latchkey_request_seconds".to_owned()), &BUCKETS)
                .ok()?
                .install_recorder()
                .ok()
        })
        .as_ref()
}
