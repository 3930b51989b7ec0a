//! How long the body of a request may take: whoever sends a byte now and then holds a place for as long as they like.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tower::{Layer, Service};

use crate::{
    auth::{
        Caller,
        policy::{self, Streams, Who},
    },
    config::Limits,
};

/// Looks once more at a caller who was verified so long ago that their credential may have ended since; none before that.
pub(super) type Again = Arc<dyn Fn(&Caller) -> Option<BoxFuture<'static, Result<(), Status>>> + Send + Sync>;

/// Puts [`BodyDeadlineService`] in front of a service.
#[derive(Clone)]
pub(super) struct BodyDeadlineLayer {
    whole: Duration,
    public_stream: Duration,
    silence: Duration,
    again: Again,
}

impl BodyDeadlineLayer {
    pub(super) fn new(limits: &Limits, again: Again) -> Self {
        Self {
            whole: limits.body_timeout,
            public_stream: limits.public_stream_life,
            silence: limits.body_silence,
            again,
        }
    }
}

impl<Inner> Layer<Inner> for BodyDeadlineLayer {
    type Service = BodyDeadlineService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        BodyDeadlineService { inner, layer: self.clone() }
    }
}

/// Ends a request whose body stands still, or is not there in time, with DEADLINE_EXCEEDED. Where it is a stream of a public
/// RPC (reflection) it may last as long as the answers, if something comes all the while. What comes late is passed on only while the
/// caller's credential is good: whoever begins a request in time and sends the rest of it afterwards has no longer use of it.
#[derive(Clone)]
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
        let BodyDeadlineLayer { whole, public_stream, silence, .. } = self.layer;
        let policy = policy::of_request(request.method(), request.uri().path());
        let may_last = policy.is_some_and(|policy| policy.who == Who::Public && policy.streams == Streams::Both);
        let whole = if may_last { public_stream } else { whole };
        // Most bodies are there at once: no timer for those that are known to be empty.
        if request.body().is_end_stream() {
            return self.inner.call(request);
        }
        let caller = request.extensions().get::<Caller>().map(|caller| (caller.clone(), Arc::clone(&self.layer.again)));
        let request = request.map(|body| {
            let end = Instant::now() + whole;
            let timer = Box::pin(tokio::time::sleep(silence));
            Body::new(DeadlineBody { body, end, silence, timer, caller, late: None })
        });
        self.inner.call(request)
    }
}

struct DeadlineBody {
    body: Body,
    /// When all of it must be there.
    end: Instant,
    /// How long nothing may come.
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    caller: Option<(Caller, Again)>,
    late: Option<Late>,
}

type Read = Option<Result<Frame<Bytes>, axum::BoxError>>;

/// What came late, and whether it is to be passed on.
struct Late {
    read: Read,
    is_good: BoxFuture<'static, Result<(), Status>>,
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(late) = &mut self.late {
            let is_good = ready!(late.is_good.poll_unpin(context));
            let read = self.late.take().and_then(|late| late.read);
            return Poll::Ready(if let Err(status) = is_good { Some(Err(status.into())) } else { read });
        }
        let read = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(read) => read.map(|frame| frame.map_err(Into::into)),
            Poll::Pending => {
                ready!(self.timer.poll_unpin(context));
                return Poll::Ready(Some(Err(Status::deadline_exceeded(
                    "the body of the request did not come in time; send it at once",
                )
                .into())));
            }
        };
        let next = self.end.min(Instant::now() + self.silence);
        self.timer.as_mut().reset(next);
        if let Some(is_good) = self.caller.as_ref().and_then(|(caller, again)| again(caller)) {
            self.late = Some(Late { read, is_good });
            return self.poll_frame(context);
        }
        Poll::Ready(read)
    }

    fn is_end_stream(&self) -> bool {
        self.late.is_none() && self.body.is_end_stream()
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
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
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
        let limits =
            Limits { body_timeout: whole, body_silence: silence, public_stream_life: 10 * whole, ..Limits::default() };
        let request = Request::post(path).body(Body::from_stream(slowly)).unwrap();
        let Ok(response) = BodyDeadlineLayer::new(&limits, Arc::new(|_| None)).layer(reading).call(request).await;
        response.into_body().map_err(|error| Status::from_error(error.into()).code())
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up_when_its_time_is_over() {
        let trickle = Duration::from_millis(2);
        assert_eq!(read(CREATE, usize::MAX, trickle, SHORT, LONG).await, Err(Code::DeadlineExceeded));
        assert_eq!(read(CREATE, 5, trickle, LONG, LONG).await, Ok(5), "slow, and in time");
        // What nobody needs a token for is no exception, but where it is a stream it may last, and not for ever either.
        assert_eq!(read(WATCH, usize::MAX, trickle, SHORT, LONG).await, Err(Code::DeadlineExceeded));
        assert_eq!(read(REFLECTION, 20, trickle, SHORT, LONG).await, Ok(20));
        assert_eq!(read(REFLECTION, usize::MAX, trickle, SHORT, LONG).await, Err(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_given_up() {
        for path in [CREATE, REFLECTION] {
            assert_eq!(read(path, 2, LONG, LONG, SHORT).await, Err(Code::DeadlineExceeded), "{path}");
        }
    }
}
