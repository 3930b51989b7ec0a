//! Pages as answers: with headers that keep other pages out, and copies out of caches.

use askama::Template;
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tonic::Code;

use super::failure::Failure;

/// Nothing comes from elsewhere, nothing is written into the page, and nobody puts it into a frame (CSP, level 3).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    // For browsers that do not know `frame-ancestors`.
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Nobody else is told which page a link was on. (`no-referrer` would take `Origin` from our own forms.)
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// A page.
pub(super) fn page(status: StatusCode, code: Code, template: &impl Template) -> Result<Response<Body>, Failure> {
    let html = template.render().map_err(|error| Failure::defect(&error))?;
    let mut response = respond(status, code, Body::from(html));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

/// A page where all went well.
pub(super) fn ok(template: &impl Template) -> Result<Response<Body>, Failure> {
    page(StatusCode::OK, Code::Ok, template)
}

/// Sends the browser to a page of ours, by its path. After a form it asks there by GET, so that a reload sends nothing again.
pub(super) fn see_other(path: &str) -> Response<Body> {
    let mut response = respond(StatusCode::SEE_OTHER, Code::Ok, Body::empty());
    // What is no header would be a path that nobody here has made.
    let path = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, path);
    response
}

/// Lets the form of a page lead on, in the end, to a program on the browser's machine.
pub(super) fn lead_on(response: &mut Response<Body>, origin: &str) {
    // A policy has no words for addresses of IPv6 (CSP, level 3, section 2.3.1): for the rare machine that has no other.
    let place = if origin.contains('[') { "http:" } else { origin };
    let policy = CONTENT_SECURITY_POLICY.replace("form-action 'self'", &format!("form-action 'self' {place}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// An answer of any kind that belongs to a page.
pub(super) fn respond(status: StatusCode, code: Code, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // As an RPC would have it, for logs, metrics and the audit log.
    response.extensions_mut().insert(code);
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
