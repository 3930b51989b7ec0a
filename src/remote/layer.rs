//! The tower layer. It reads headers alone, and no request without a good token gets to the service behind it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use super::{
    caller::Caller,
    verifier::{RemoteVerifier, VerifyError},
};
use crate::domain::bearer::bearer;

/// When it may be tried again while Latchkey cannot be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Puts [`AuthService`] in front of a service: everybody needs a token for everything, and one that may write, but for what is said
/// otherwise. Of several rules for one path, the one that lets more pass counts.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    verifier: RemoteVerifier,
    public: Arc<[String]>,
    reads: Arc<[String]>,
}

impl AuthLayer {
    /// Verifies with this.
    #[must_use]
    pub fn new(verifier: RemoteVerifier) -> Self {
        Self { verifier, public: Arc::default(), reads: Arc::default() }
    }

    /// This path is for everybody: `/package.Service/Method`, or all below it if it ends in `/`. Nobody is looked at who calls it, token
    /// or no token.
    #[must_use]
    pub fn public(self, path: &str) -> Self {
        Self { public: with(&self.public, path), ..self }
    }

    /// What this path does changes nothing: a read-only token is good for it. It is written as for [`public`](Self::public).
    #[must_use]
    pub fn read(self, path: &str) -> Self {
        Self { reads: with(&self.reads, path), ..self }
    }

    async fn admit(&self, request: &Parts) -> Result<Option<Caller>, Refusal> {
        let path = request.uri.path();
        if names(&self.public, path) {
            return Ok(None);
        }
        let token = bearer(&request.headers).map_err(|_| Refusal::NoToken)?;
        let caller = match self.verifier.verify(token).await {
            Ok(caller) => caller,
            Err(VerifyError::NotActive) => return Err(Refusal::NotActive),
            Err(VerifyError::Unavailable) => return Err(Refusal::Unavailable),
        };
        if caller.read_only() && !names(&self.reads, path) {
            return Err(Refusal::ReadOnly);
        }
        Ok(Some(caller))
    }
}

fn with(paths: &[String], path: &str) -> Arc<[String]> {
    paths.iter().cloned().chain([path.to_owned()]).collect()
}

fn names(paths: &[String], path: &str) -> bool {
    paths.iter().any(|named| named == path || named.ends_with('/') && path.starts_with(named.as_str()))
}

impl<Inner> Layer<Inner> for AuthLayer {
    type Service = AuthService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        AuthService { layer: self.clone(), inner }
    }
}

/// Lets a request pass with its [`Caller`] in the extensions, with nothing (public paths), or answers it.
#[derive(Debug, Clone)]
pub struct AuthService<Inner> {
    layer: AuthLayer,
    inner: Inner,
}

impl<Inner, Body, Answer> Service<Request<Body>> for AuthService<Inner>
where
    Inner: Service<Request<Body>, Response = Response<Answer>> + Clone + Send + 'static,
    Inner::Future: Send,
    Body: Send + 'static,
    Answer: Default + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Inner::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Inner::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Inner::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let layer = self.layer.clone();
        let waiting = self.inner.clone();
        // What was ready is called, not its copy.
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // Only this layer says who calls.
            parts.extensions.remove::<Caller>();
            match layer.admit(&parts).await {
                Ok(caller) => {
                    if let Some(caller) = caller {
                        parts.extensions.insert(caller);
                    }
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(refusal) => Ok(refusal.answer(&parts)),
            }
        })
    }
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NoToken,
    NotActive,
    ReadOnly,
    Unavailable,
}

impl Refusal {
    /// In gRPC to who speaks that, and else by the status of HTTP alone.
    fn answer<Answer: Default>(self, request: &Parts) -> Response<Answer> {
        let is_grpc = request
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"));
        let mut answer = if is_grpc { self.status().into_http() } else { Response::new(Answer::default()) };
        let (status, challenge) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, Some("Bearer")),
            Self::NotActive => (StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\"")),
            Self::ReadOnly => (StatusCode::FORBIDDEN, Some("Bearer error=\"insufficient_scope\"")),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        if !is_grpc {
            *answer.status_mut() = status;
            // RFC 6750, section 3.
            if let Some(challenge) = challenge {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            } else {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY.as_secs()));
            }
        }
        answer
    }

    fn status(self) -> Status {
        match self {
            // Whatever is wrong with it: nothing helps to guess.
            Self::NoToken | Self::NotActive => Status::unauthenticated(
                "a valid token is needed: send 'authorization: Bearer TOKEN', with a personal access token that is whole, \
                 not revoked and not expired",
            ),
            Self::ReadOnly => Status::permission_denied("this token is read-only; use one that may write"),
            Self::Unavailable => Status::with_error_details(
                Code::Unavailable,
                "tokens cannot be verified right now; try again",
                ErrorDetails::with_retry_info(Some(RETRY)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_named_whole_or_by_what_they_are_below() {
        let named = ["/a.B/C".to_owned(), "/health.H/".to_owned()];
        for (path, is_named) in [
            ("/a.B/C", true),
            ("/health.H/Check", true),
            ("/a.B/CD", false),
            ("/a.B/C/", false),
            ("/a.B", false),
            ("/health.H", false),
            ("/x/health.H/Check", false),
        ] {
            assert_eq!(names(&named, path), is_named, "{path}");
        }
    }
}
