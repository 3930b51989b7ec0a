//! Where a refusal becomes the error of the protocol that was spoken.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::body::Body;
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, Request, Response, StatusCode, header};
use tonic::Status;
use tower::{Layer, Service};

use crate::{
    auth::{
        Refusal,
        policy::{self, Door},
    },
    connect::Errors,
    oauth, web,
};

/// Puts [`RefusalService`] in front of a service.
#[derive(Debug, Clone)]
pub(super) struct RefusalLayer {
    errors: Errors,
}

impl RefusalLayer {
    /// Answers with these.
    pub(super) const fn new(errors: Errors) -> Self {
        Self { errors }
    }
}

impl<Inner> Layer<Inner> for RefusalLayer {
    type Service = RefusalService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        RefusalService { inner, errors: self.errors.clone() }
    }
}

/// Answers requests that carry a [`Refusal`], and lets nothing of them pass.
#[derive(Debug, Clone)]
pub(super) struct RefusalService<Inner> {
    inner: Inner,
    errors: Errors,
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
            Some(refusal) => Either::Left(ready(Ok(self.refuse(&request, refusal)))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}

impl<Inner> RefusalService<Inner> {
    fn refuse(&self, request: &Request<Body>, refusal: Refusal) -> Response<Body> {
        let policy = policy::of_request(request.method(), request.uri().path());
        // Whoever comes to see a page is shown one, also where there is none.
        let door =
            policy.map_or_else(|| if wants_page(request) { Door::Page } else { Door::Rpc }, |policy| policy.door);
        match door {
            Door::Rpc => self.refuse_rpc(request.headers(), refusal),
            Door::OAuth => oauth::refuse(request.headers(), refusal),
            Door::Page => web::refuse(request, refusal),
        }
    }

    fn refuse_rpc(&self, headers: &HeaderMap, refusal: Refusal) -> Response<Body> {
        let is_unknown = refusal == Refusal::UnknownRpc;
        let mut response = self.errors.answer(headers, Status::from(refusal)).map(Body::new);
        // Where the status is HTTP's: a path that leads nowhere is not found, whatever there may be one day.
        if is_unknown && response.status() == StatusCode::NOT_IMPLEMENTED {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }
}

/// Whether somebody looks at the answer: browsers name HTML when they go somewhere.
fn wants_page(request: &Request<Body>) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    request.method().is_safe() && accept.is_some_and(|accept| accept.contains("text/html"))
}
