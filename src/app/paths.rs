//! One spelling for each path, before anybody reads it: clients are told `https://HOST/api` as well as `https://HOST`, and some put
//! another slash between that and the path.

use std::task::{Context, Poll};

use http::{Request, Uri};
use tower::{Layer, Service};

/// Puts [`PathService`] in front of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathLayer;

impl<Inner> Layer<Inner> for PathLayer {
    type Service = PathService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        PathService { inner }
    }
}

/// Takes `/api` off the path, and slashes that follow another.
#[derive(Debug, Clone)]
pub(super) struct PathService<Inner> {
    inner: Inner,
}

impl<Inner: Service<Request<B>>, B> Service<Request<B>> for PathService<Inner> {
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = Inner::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(uri) = plain(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.inner.call(request)
    }
}

/// The URI with the plain path, if it has another.
fn plain(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") && !path.starts_with("/api/") {
        return None;
    }
    let mut single = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !single.ends_with('/') {
            single.push(character);
        }
    }
    let path = single.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(&single);
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expected) in [
            ("/api/p.S/M", "/p.S/M"),
            ("/api//p.S/M", "/p.S/M"),
            ("//api/p.S/M?a=//b", "/p.S/M?a=//b"),
            ("//p.S///M", "/p.S/M"),
            ("/api/environments/1/ops/p.S/M", "/environments/1/ops/p.S/M"),
            ("http://host//p.S/M", "http://host/p.S/M"),
        ] {
            assert_eq!(plain(&path.parse().unwrap()).unwrap(), expected, "{path}");
        }
        // Once, and in its place; what is encoded is not a slash.
        assert_eq!(plain(&Uri::from_static("/api/api/p.S/M")).unwrap(), "/api/p.S/M");
        for path in ["/", "/p.S/M", "/api", "/apis/p.S/M", "/p.S/api/M", "/p.S%2F%2FM", "*"] {
            assert_eq!(plain(&path.parse().unwrap()), None, "{path}");
        }
    }
}
