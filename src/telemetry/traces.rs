//! Traces, over OTLP, for whoever has a collector.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider, Tracer},
};
use tonic::Code;
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Traces;

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends spans in groups, and leaves out what a collector that is slow or away has no room for.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    pub(super) fn new(config: &Traces) -> Result<Self, ExporterBuildError> {
        let mut exporter =
            SpanExporter::builder().with_tonic().with_endpoint(config.endpoint.clone()).with_timeout(PATIENCE);
        if config.endpoint.starts_with("https:") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
        let resource = Resource::builder()
            .with_service_name("latchkey")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.share))))
            .with_resource(resource)
            .build();
        IS_TOLD.store(true, Ordering::Relaxed);
        Ok(Self(provider))
    }

    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, Tracer>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("latchkey"))
            // Where in the code, and on which thread, is nobody's business who reads traces.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
    }

    pub(super) fn end(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Our spans, and nobody else's: what libraries tell may hold anything.
pub(super) fn is_told(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("latchkey") && *metadata.level() <= Level::DEBUG
}

/// Whether anybody is told of spans.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Names the span of a request for whoever reads traces, and makes it go on with the trace that the request came with, if it did (W3C
/// Trace Context).
pub fn trace(span: &Span, rpc: &'static str, headers: &HeaderMap) {
    if !IS_TOLD.load(Ordering::Relaxed) {
        return;
    }
    span.record("otel.name", rpc).record("otel.kind", "server");
    if headers.contains_key("traceparent") {
        // An error means that this span goes nowhere.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
}

/// How the request of a span ended: with a code of gRPC's, or where it was no RPC, with a status of HTTP's.
pub fn trace_outcome(span: &Span, code: Option<Code>, status: StatusCode) {
    if !IS_TOLD.load(Ordering::Relaxed) {
        return;
    }
    if let Some(code) = code {
        span.record("rpc.grpc.status_code", code as i32);
    }
    // What is the caller's mistake is not the server's error (OpenTelemetry's conventions for gRPC).
    let is_failure = match code {
        Some(code) => matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ),
        None => status.is_server_error(),
    };
    if is_failure {
        span.record("otel.status_code", "ERROR");
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
