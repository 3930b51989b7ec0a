//! Where a refusal becomes the error of the protocol that was spoken.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::body::Body;
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tonic::Status;
use tower::{Layer, Service};

use crate::auth::Refusal;

/// Answers requests that carry a [`Refusal`]: gRPC with a trailers-only response, anything else with an HTTP status and a
/// line of text. Must be the outermost layer of the services.
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
            Some(refusal) if is_grpc(request.headers()) => Either::Left(ready(Ok(Status::from(refusal).into_http()))),
            Some(refusal) => Either::Left(ready(Ok(plain(refusal)))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}

/// By the exact content types of gRPC with Protobuf; `application/grpc-web` is another protocol.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type == "application/grpc" || content_type == "application/grpc+proto")
}

fn plain(refusal: Refusal) -> Response<Body> {
    let (status, message, extra) = match refusal {
        Refusal::UnknownRpc => (StatusCode::NOT_FOUND, "there is no such page or RPC here".to_owned(), None),
        Refusal::Unauthenticated(message) => {
            // RFC 9110, section 15.5.2: a 401 says how to authenticate.
            (StatusCode::UNAUTHORIZED, message, Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))))
        }
        Refusal::PermissionDenied(message) => (StatusCode::FORBIDDEN, message, None),
        Refusal::Unavailable { message, retry_after } => {
            let seconds = HeaderValue::from(retry_after.as_secs().max(1));
            (StatusCode::SERVICE_UNAVAILABLE, message, Some((header::RETRY_AFTER, seconds)))
        }
    };
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some((name, value)) = extra {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_is_answered_as_grpc() {
        let headers = |content_type: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
        };
        assert!(is_grpc(&headers("application/grpc")));
        assert!(is_grpc(&headers("application/grpc+proto")));
        assert!(!is_grpc(&headers("application/grpc-web")));
        assert!(!is_grpc(&headers("application/json")));
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
