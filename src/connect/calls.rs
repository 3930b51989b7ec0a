//! Calls of tonic's routes, as gRPC would make them.

use std::time::Duration;

use http::{Extensions, HeaderMap, Method as HttpMethod, Request, Version};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;

use super::{framing::Messages, metadata, methods::Method, trailers::Trailers};

/// What tonic has begun to answer.
pub(super) struct Answer {
    /// What the handler says before any message.
    pub(super) headers: HeaderMap,
    pub(super) messages: Messages,
    /// What the handler says after the last message, if it succeeds.
    pub(super) trailers: HeaderMap,
}

/// Calls a method, with headers as the client sent them, and as much time as there is left. What the answer has in extensions is
/// there also when it is an error.
pub(super) async fn call(
    routes: &mut Routes,
    method: &Method,
    headers: HeaderMap,
    remaining: Option<Duration>,
    extensions: Extensions,
    body: Body,
) -> (Extensions, Result<Answer, Status>) {
    let mut request = Request::new(body);
    *request.method_mut() = HttpMethod::POST;
    *request.uri_mut() = method.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = metadata::for_handler(headers, remaining);
    *request.extensions_mut() = extensions;

    // Routes are always ready.
    let Ok(response) = routes.call(request).await;
    let (mut parts, body) = response.into_parts();
    let trailers = parts.extensions.remove::<Trailers>().unwrap_or_default().0;
    parts.extensions.remove::<Status>();
    let answer = match failure(&parts.headers) {
        Some(status) => Err(status),
        None => Ok(Answer { headers: metadata::of_handler(&parts.headers), messages: Messages::new(body), trailers }),
    };
    (parts.extensions, answer)
}

/// The status that headers or trailers tell of, unless it is OK.
pub(super) fn failure(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}
