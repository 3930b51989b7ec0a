//! Where a refusal becomes gRPC's own error.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::body::Body;
use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::Status;
use tower::{Layer, Service};

use crate::auth::Refusal;

/// Answers requests that carry a [`Refusal`], with a trailers-only response. Must be the outermost layer of the gRPC
/// services.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefusalLayer;

impl<Inner> Layer<Inner> for RefusalLayer {
    type Service = RefusalService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        RefusalService { inner }
    }
}

/// See [`RefusalLayer`].
#[derive(Debug, Clone)]
pub struct RefusalService<Inner> {
    inner: Inner,
}

impl<Inner> Service<Request<Body>> for RefusalService<Inner>
where
    Inner: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, Inner::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match request.extensions_mut().remove::<Refusal>() {
            Some(refusal) => Either::Left(ready(Ok(Status::from(refusal).into_http()))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}
