//! How long the body of a request may take: whoever sends a byte now and then holds a place for as long as they like.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tower::{Layer, Service};

use crate::{
    auth::policy::{self, Who},
    config::Limits,
};

/// Puts [`BodyDeadlineService`] in front of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyDeadlineLayer {
    whole: Duration,
    silence: Duration,
}

impl BodyDeadlineLayer {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { whole: limits.body_timeout, silence: limits.body_silence }
    }
}

impl<Inner> Layer<Inner> for BodyDeadlineLayer {
    type Service = BodyDeadlineService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        BodyDeadlineService { inner, layer: *self }
    }
}

/// Ends a request whose body stands still, or is not there in time, with DEADLINE_EXCEEDED. Streams of the public RPCs
/// (reflection) may last, as long as something comes.
#[derive(Debug, Clone)]
pub(super) struct BodyDeadlineService<Inner> {
    inner: Inner,
    layer: BodyDeadlineLayer,
}

impl<Inner: Service<Request<Body>>> Service<Request<Body>> for BodyDeadlineService<Inner> {
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = Inner::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_bounded = policy::of_path(request.uri().path()).is_none_or(|policy| policy.who != Who::Public);
        let BodyDeadlineLayer { whole, silence } = self.layer;
        let request = request.map(|body| {
            // Most bodies are there at once: no timer for those that are known to be empty.
            if body.is_end_stream() {
                return body;
            }
            let end = is_bounded.then(|| Instant::now() + whole);
            Body::new(DeadlineBody { body, end, silence, timer: Box::pin(tokio::time::sleep(silence)) })
        });
        self.inner.call(request)
    }
}

struct DeadlineBody {
    body: Body,
    /// When all of it must be there.
    end: Option<Instant>,
    /// How long nothing may come.
    silence: Duration,
    timer: Pin<Box<Sleep>>,
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.timer.poll_unpin(context));
                return Poll::Ready(Some(Err(Status::deadline_exceeded(
                    "the body of the request did not come in time; send it at once",
                )
                .into())));
            }
        };
        let next = Instant::now() + self.silence;
        let next = self.end.map_or(next, |end| end.min(next));
        self.timer.as_mut().reset(next);
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
