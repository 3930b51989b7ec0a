//! Which pages of other origins may call from a browser: none, unless the operator names them.
//!
//! Never with credentials of the browser's own (cookies): a page must have a token, and say so itself, so that being open in
//! somebody's browser gives it nothing. It may send what clients of Connect, of gRPC-Web and of plain JSON send, and read what
//! they read. Preflights, which carry no token, are answered here, in front of auth; they are no calls, and not counted as such.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower::{layer::util::Identity, util::Either};
use tower_http::cors::CorsLayer;

/// How long a browser may remember the answer: more than this no browser does.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);

/// What clients send, beside what a browser lets every page send.
const SENT: [HeaderName; 19] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    // The TypeScript SDK tells what it runs on.
    HeaderName::from_static("x-stainless-arch"),
    HeaderName::from_static("x-stainless-lang"),
    HeaderName::from_static("x-stainless-os"),
    HeaderName::from_static("x-stainless-package-version"),
    HeaderName::from_static("x-stainless-retry-count"),
    HeaderName::from_static("x-stainless-runtime"),
    HeaderName::from_static("x-stainless-runtime-version"),
    HeaderName::from_static("x-stainless-timeout"),
];

/// What they read.
const READ: [HeaderName; 9] = [
    header::CONTENT_ENCODING,
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-should-retry"),
];

/// A layer that lets pages of these origins call; with none, it is not there at all.
pub(super) fn layer(origins: &[String]) -> Either<CorsLayer, Identity> {
    if origins.is_empty() {
        return Either::Right(Identity::new());
    }
    // The configuration has seen to it that each of them can be a header.
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    Either::Left(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(SENT)
            .expose_headers(READ)
            // All answers differ by origin, also those without one; nothing else that is asked for changes them.
            .vary([header::ORIGIN])
            .max_age(REMEMBERED),
    )
}
