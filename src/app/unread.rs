//! Bodies that nobody reads. On connections of HTTP/1.1, what comes after them is the next request, so they have to be read all the
//! same, or the connection has to end: whoever is refused before a body has come would else find out with the next request, which
//! is lost. Over HTTP/2 the rest of a request can be declined by itself (RFC 9113, section 8.1), and clients of gRPC know that; others
//! take it for a failure, whatever they were answered (curl below 8 does). They say how long their bodies are, as those of gRPC do not.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tower::{Layer, Service};

/// What is read of a body that nobody wants; a connection with a longer one ends.
const LONGEST: u64 = 64 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Puts [`UnreadService`] in front of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnreadLayer;

impl<Inner> Layer<Inner> for UnreadLayer {
    type Service = UnreadService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        UnreadService { inner }
    }
}

/// Reads what the service leaves of short bodies, behind the answer; says that the connection ends where it does.
#[derive(Debug, Clone)]
pub(super) struct UnreadService<Inner> {
    inner: Inner,
}

impl<Inner> Service<Request<Body>> for UnreadService<Inner>
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_worth_it = is_short(request.headers());
        let may_be_left = request.version() >= Version::HTTP_2 && !is_worth_it;
        if may_be_left || request.body().is_end_stream() {
            return Box::pin(self.inner.call(request));
        }
        let is_read = Arc::new(AtomicBool::new(false));
        let answer = self.inner.call(
            request.map(|body| Body::new(Watched { body: Some(body), is_worth_it, is_read: Arc::clone(&is_read) })),
        );
        Box::pin(async move {
            let mut response = answer.await?;
            if !is_worth_it && !is_read.load(Ordering::Relaxed) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// Whether a body is one that is read to its end, wanted or not. Whoever waits to be told to send it is not told for this.
fn is_short(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    !headers.contains_key(header::EXPECT) && length.is_some_and(|length| length <= LONGEST)
}

/// A body, until it ends or nobody wants more of it.
struct Watched {
    body: Option<Body>,
    is_worth_it: bool,
    is_read: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(context);
        let is_over = match &polled {
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if is_over {
            self.body = None;
            self.is_read.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take().filter(|_| self.is_worth_it)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let reading = async move { while let Some(Ok(_)) = body.frame().await {} };
            runtime.spawn(tokio::time::timeout(PATIENCE, reading));
        }
    }
}
