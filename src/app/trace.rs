//! The outermost layer: names each request, and says how it went.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty};

use crate::{auth::policy, domain::ids::RequestId, telemetry};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// See [`TraceService`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TraceLayer;

impl<Inner> Layer<Inner> for TraceLayer {
    type Service = TraceService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        TraceService { inner }
    }
}

/// Gives each request an ID of ours (a client's own would let it write into our logs), puts it into the answer, and counts
/// the answer. Headers and bodies are in no log.
#[derive(Debug, Clone)]
pub(super) struct TraceService<Inner> {
    inner: Inner,
}

impl<Inner> Service<Request<Body>> for TraceService<Inner>
where
    Inner: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    Inner::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = RequestId::generate();
        request.extensions_mut().insert(id);
        // Only names that we know: a path is the client's text.
        let path = request.uri().path();
        let path = policy::split_environment(path).map_or(path, |(_, path)| path);
        let rpc = policy::of_request(request.method(), path).map_or("other", |policy| policy.rpc);
        let span = tracing::debug_span!(
            "request",
            request_id = %id,
            rpc,
            principal = Empty,
            token_id = Empty,
            session_id = Empty,
            otel.name = Empty,
            otel.kind = Empty,
            otel.status_code = Empty,
            rpc.grpc.status_code = Empty,
        );
        telemetry::trace(&span, rpc, request.headers());
        let began = Instant::now();
        // Much is decided at once, and belongs to the request as well.
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let mut response = answer.await?;
                if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
                    response.headers_mut().insert(REQUEST_ID.clone(), value);
                }
                let took = began.elapsed();
                // gRPC's code, whatever the protocol; or HTTP's own status, where it was no RPC.
                let status = response.status();
                let code = match response.extensions().get::<Code>() {
                    Some(code) => i32::from(*code).to_string(),
                    None if status.is_success() => "0".to_owned(),
                    None => status.as_str().to_owned(),
                };
                telemetry::trace_outcome(&Span::current(), response.extensions().get::<Code>().copied(), status);
                tracing::debug!(status = status.as_u16(), code, ?took, "answered");
                metrics::histogram!("latchkey_request_seconds", "rpc" => rpc, "code" => code)
                    .record(took.as_secs_f64());
                Ok(response)
            }
            .instrument(span),
        )
    }
}
