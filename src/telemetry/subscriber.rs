//! Logs to standard error, and who else hears of what happens.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::traces::{self, Exporter};
use crate::config::Traces;

/// What was started; ends with this value.
#[must_use]
pub struct Telemetry(Option<Exporter>);

impl Telemetry {
    /// Sends what is not yet sent, for a little while.
    pub fn end(self) {
        if let Some(exporter) = self.0 {
            exporter.end();
        }
    }
}

/// Logs to standard error: what `LATCHKEY_LOG` asks for (`info` by default, in the syntax of `RUST_LOG`), as JSON when
/// `LATCHKEY_LOG_FORMAT` is `json`; in JSON each line that belongs to a request says to which, and by whose token. Traces go where they
/// are to go, if anywhere. To be called in a Tokio runtime; a second call changes nothing.
pub fn start(traces: Option<&Traces>) -> Telemetry {
    let asked = std::env::var("LATCHKEY_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { "info" } else { &asked });
    let mut mistakes: Vec<String> =
        filter.as_ref().err().map(|error| format!("LATCHKEY_LOG: {error}")).into_iter().collect();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let exporter = traces.and_then(|config| match Exporter::new(config) {
        Ok(exporter) => Some(exporter),
        Err(error) => {
            mistakes.push(format!("--otlp-endpoint: {error}"));
            None
        }
    });
    let json = std::env::var("LATCHKEY_LOG_FORMAT").is_ok_and(|format| format == "json");
    // An error means that somebody else logs already, such as a test.
    let _ = tracing_subscriber::registry().with(layers(filter, json, exporter.as_ref())).try_init();
    for mistake in mistakes {
        tracing::warn!("{mistake}: not understood, and not counted");
    }
    Telemetry(exporter)
}

/// Each with what it is told, and nothing else: a layer that is left out as `None` would be told of everything, and libraries would make
/// a span of every frame for it.
fn layers(filter: EnvFilter, json: bool, exporter: Option<&Exporter>) -> Vec<Box<dyn Layer<Registry> + Send + Sync>> {
    // A filter that names spans tells their own levels to nobody.
    let names_spans = filter.to_string().contains('[');
    let is_harmless = filter_fn(is_harmless);
    let filter = filter.and(if names_spans { is_harmless } else { is_harmless.with_max_level_hint(Level::TRACE) });
    // Files and journals are no terminals: colours there are noise, and part what is searched for.
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = if json {
        // What a request's span takes is paid by who asked for it.
        lines.json().with_filter(filter.or(filter_fn(is_request).with_max_level_hint(Level::DEBUG))).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    let told = filter_fn(traces::is_told).with_max_level_hint(Level::DEBUG);
    let spans = exporter.map(|exporter| exporter.layer().with_filter(told).boxed());
    [lines].into_iter().chain(spans).collect()
}

/// Whether something may be logged, whatever is asked for: below `info` the PostgreSQL driver tells the values of each
/// query, and with them digests, and what people wrote.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("tokio_postgres") || *metadata.level() <= Level::INFO
}

/// The span around each request.
fn is_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == "request" && metadata.target().starts_with("latchkey")
}

#[cfg(test)]
mod tests {
    use tracing::{Subscriber, level_filters::LevelFilter, subscriber::with_default};

    use super::*;

    #[test]
    fn of_what_nobody_is_told_nothing_is_made() {
        for (asked, json, most, is_request_told) in [
            ("info", false, Some(LevelFilter::INFO), false),
            ("info", true, Some(LevelFilter::DEBUG), true),
            ("warn,latchkey=debug", false, Some(LevelFilter::DEBUG), true),
            ("warn,[request]=info", false, None, true),
        ] {
            let subscriber = tracing_subscriber::registry().with(layers(EnvFilter::new(asked), json, None));
            assert_eq!(subscriber.max_level_hint(), most, "{asked}, JSON: {json}");
            with_default(subscriber, || {
                // Who names spans pays for all that might be meant.
                let is_made = !tracing::trace_span!(target: "h2", "send_data").is_disabled();
                assert_eq!(is_made, most.is_none(), "{asked}, JSON: {json}");
                let request = tracing::debug_span!(target: "latchkey::app::trace", "request");
                assert_eq!(!request.is_disabled(), is_request_told, "{asked}, JSON: {json}");
            });
        }
    }
}
