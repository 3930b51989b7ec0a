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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http::Response;
    use http_body_util::BodyExt;
    use tonic::Code;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(30);
    const CREATE: &str = "/gitpod.v1.TokenService/CreatePersonalAccessToken";
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

    /// How it goes to read a body that comes a byte at a time, with so much between.
    async fn read(
        path: &str,
        bytes: usize,
        between: Duration,
        whole: Duration,
        silence: Duration,
    ) -> Result<usize, Code> {
        let slowly = stream::unfold(0, move |sent| async move {
            if sent == bytes {
                return None;
            }
            tokio::time::sleep(between).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), sent + 1))
        });
        let reading = tower::service_fn(|request: Request<Body>| async move {
            let read = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(read.map(|body| body.to_bytes().len())))
        });
        let limits = Limits { body_timeout: whole, body_silence: silence, ..Limits::default() };
        let request = Request::post(path).body(Body::from_stream(slowly)).unwrap();
        let Ok(response) = BodyDeadlineLayer::new(&limits).layer(reading).call(request).await;
        response.into_body().map_err(|error| Status::from_error(error.into()).code())
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up_when_its_time_is_over() {
        let trickle = Duration::from_millis(2);
        assert_eq!(read(CREATE, usize::MAX, trickle, SHORT, LONG).await, Err(Code::DeadlineExceeded));
        assert_eq!(read(CREATE, 5, trickle, LONG, LONG).await, Ok(5), "slow, and in time");
        // A stream of a public RPC may last.
        assert_eq!(read(REFLECTION, 20, trickle, SHORT, LONG).await, Ok(20));
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_given_up() {
        for path in [CREATE, REFLECTION] {
            assert_eq!(read(path, 2, LONG, LONG, SHORT).await, Err(Code::DeadlineExceeded), "{path}");
        }
    }
}
