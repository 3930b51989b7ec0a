//! The only place where OAuth's errors and answers are written: a status of HTTP, and JSON (RFC 6749, section 5.2).

use std::{borrow::Cow, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tonic::Code;

use super::form::Problem;
use crate::auth::Refusal;
use crate::form::NoForm;
use crate::service::ServiceError;

/// Who asks for the token.
const REALM: &str = "latchkey";
/// When to try again what could not be done now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a program does not get a token, as its standards name it (RFC 6749, section 5.2; RFC 8628, section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    AuthorizationPending,
    SlowDown,
    AccessDenied,
    ExpiredToken,
    InvalidGrant,
    InvalidClient,
    InvalidRequest,
    UnsupportedGrantType,
}

impl Word {
    /// The word, and the code for logs and metrics.
    const fn told(self) -> (&'static str, Code) {
        match self {
            Self::AuthorizationPending => ("authorization_pending", Code::FailedPrecondition),
            Self::SlowDown => ("slow_down", Code::FailedPrecondition),
            Self::AccessDenied => ("access_denied", Code::PermissionDenied),
            Self::ExpiredToken => ("expired_token", Code::DeadlineExceeded),
            Self::InvalidGrant => ("invalid_grant", Code::InvalidArgument),
            Self::InvalidClient => ("invalid_client", Code::InvalidArgument),
            Self::InvalidRequest => ("invalid_request", Code::InvalidArgument),
            Self::UnsupportedGrantType => ("unsupported_grant_type", Code::Unimplemented),
        }
    }
}

/// An error as it is answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    /// The same for logs, metrics and the audit log, as an RPC would have it.
    code: Code,
    /// A word of the registry "OAuth Extensions Error".
    error: &'static str,
    description: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// The methods that there are, if it was not one of them.
    allow: Option<&'static str>,
    /// How to authenticate, if that is what was wrong.
    challenges: Vec<HeaderValue>,
}

impl Failure {
    fn new(status: StatusCode, code: Code, error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        let description = description.into();
        Self { status, code, error, description, retry_after: None, allow: None, challenges: Vec::new() }
    }

    /// The method is none of these.
    pub(super) fn method(allow: &'static str) -> Self {
        let new = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::Unimplemented,
            "invalid_request",
            "this is asked for by another method, which 'allow' names",
        );
        Self { allow: Some(allow), ..new }
    }

    /// The token is one that does not end by itself.
    pub(super) fn unsupported_token_type() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            "unsupported_token_type",
            "a token for an environment is not revoked by itself; revoke the personal access token that it was made with",
        )
    }

    /// A program does not get a token.
    pub(super) fn login(word: Word, description: impl Into<Cow<'static, str>>) -> Self {
        let (error, code) = word.told();
        Self::new(StatusCode::BAD_REQUEST, code, error, description)
    }

    /// Too much is asked for, or tried.
    pub(super) fn too_many(description: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        let (error, _) = Word::SlowDown.told();
        let new = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, error, description);
        Self { retry_after: Some(retry_after), ..new }
    }

    /// What should not happen.
    pub(super) fn internal() -> Self {
        let description = "internal error; the logs say more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "server_error", description)
    }

    fn unavailable(description: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        let new = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "temporarily_unavailable", description);
        Self { retry_after: Some(retry_after), ..new }
    }

    /// The error as an answer.
    pub(super) fn answer(self) -> Response<Body> {
        let body = json!({ "error": self.error, "error_description": plain(&self.description) });
        let mut response = answer(self.status, self.code, Some(&body));
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(delay) = self.retry_after {
            // Whole seconds, and none too few (RFC 9110, section 10.2.3).
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for challenge in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// An answer that nobody keeps. With none, it has no body.
pub(super) fn answer(status: StatusCode, code: Code, body: Option<&Value>) -> Response<Body> {
    let mut response = Response::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response.extensions_mut().insert(code);
    response
}

/// The answer to a request with these headers that the auth layer has refused.
#[must_use]
pub fn refuse(request: &HeaderMap, refusal: Refusal) -> Response<Body> {
    let failure = match refusal {
        Refusal::UnknownRpc => {
            let description = "there is no such endpoint here";
            Failure::new(StatusCode::NOT_FOUND, Code::Unimplemented, "invalid_request", description)
        }
        Refusal::Unauthenticated(message) => {
            // A token is told from a client that does not know its password (RFC 6750, section 3.1; RFC 6749, section 5.2).
            let (error, of_bearer) = match scheme(request) {
                Scheme::Bearer => ("invalid_token", Some("invalid_token")),
                Scheme::Basic | Scheme::Other => ("invalid_client", None),
            };
            let challenges = vec![bearer(of_bearer, &message), basic()];
            let new = Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, error, message);
            Failure { challenges, ..new }
        }
        Refusal::PermissionDenied(message) => {
            let error = "insufficient_scope";
            let challenges = vec![bearer(Some(error), &message)];
            let new = Failure::new(StatusCode::FORBIDDEN, Code::PermissionDenied, error, message);
            Failure { challenges, ..new }
        }
        Refusal::TooManyTries { retry_after } => {
            let description =
                "too much that is no token has come from your address; come again later, with one that is whole";
            let new = Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::ResourceExhausted,
                "temporarily_unavailable",
                description,
            );
            Failure { retry_after: Some(retry_after), ..new }
        }
        Refusal::Unavailable { message, retry_after } => Failure::unavailable(message, retry_after),
    };
    failure.answer()
}

/// How somebody tried to authenticate.
enum Scheme {
    Bearer,
    Basic,
    /// Not at all, or as nobody can here.
    Other,
}

fn scheme(request: &HeaderMap) -> Scheme {
    let mut values = request.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Scheme::Other };
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        Scheme::Basic
    } else {
        Scheme::Other
    }
}

/// RFC 6750, section 3. Who has sent no token is not told what is wrong with it.
fn bearer(error: Option<&str>, description: &str) -> HeaderValue {
    let error = error
        .map_or_else(String::new, |error| format!(", error=\"{error}\", error_description=\"{}\"", plain(description)));
    let text = format!("Bearer realm=\"{REALM}\"{error}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

/// RFC 7617, section 2.
fn basic() -> HeaderValue {
    HeaderValue::from_static("Basic realm=\"latchkey\", charset=\"UTF-8\"")
}

/// A text without what a description must not have (RFC 6749, section 5.2; RFC 6750, section 3).
fn plain(text: &str) -> String {
    text.chars().filter(|character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\')).collect()
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        const TYPE: &str = "send a form in the body: 'content-type: application/x-www-form-urlencoded', not packed";
        let (status, code, description) = match problem {
            Problem::Query => (
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                "parameters are taken from the body alone; if a token stood in the URL, revoke it, since URLs are in logs",
            ),
            Problem::NoForm(NoForm::ContentType | NoForm::ContentEncoding) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, TYPE)
            }
            Problem::NoForm(NoForm::TooLong) => {
                (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, "the form is too long; send one token")
            }
            Problem::NoForm(NoForm::TooSlow) => (
                StatusCode::REQUEST_TIMEOUT,
                Code::DeadlineExceeded,
                "the body of the request did not come in time; send it at once",
            ),
            Problem::NoForm(NoForm::BrokenOff) => {
                (StatusCode::BAD_REQUEST, Code::Cancelled, "the body of the request did not come whole; send it again")
            }
            Problem::NoForm(NoForm::Repeated) => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument, "a parameter comes more than once; send each once")
            }
            Problem::OtherCredential => (
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                "authenticate by the header 'authorization' alone, without client_secret, client_assertion or access_token",
            ),
            Problem::NoToken => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument, "the parameter 'token' is missing, or empty")
            }
        };
        Self::new(status, code, "invalid_request", description)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable { message, detail } => {
                tracing::warn!(?detail, message, "unavailable");
                Self::unavailable(message, RETRY_AFTER)
            }
            // What is revoked twice is revoked once, so that who does not know may try again.
            ServiceError::InDoubt(detail) => {
                tracing::warn!(?detail, "in doubt");
                Self::unavailable("the database did not say whether it was done; try again", RETRY_AFTER)
            }
            ServiceError::Internal(detail) => {
                tracing::error!(?detail, "internal error");
                Self::internal()
            }
            // The use cases behind the endpoints have no other ends.
            error @ (ServiceError::Invalid { .. }
            | ServiceError::NotFound { .. }
            | ServiceError::Denied(_)
            | ServiceError::Ended(_)
            | ServiceError::Exhausted(_)
            | ServiceError::Precondition(_)
            | ServiceError::Unsupported(_)
            | ServiceError::TimedOut(_)
            | ServiceError::Cancelled(_)) => {
                tracing::error!(?error, "an endpoint of OAuth has no answer for this");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::service::Internal;

    async fn said(response: Response<Body>) -> (u16, HeaderMap, String) {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn what_went_wrong_inside_is_told_nobody_and_who_may_try_again_is_told_when() {
        let detail = || Internal::new("detail");
        for (error, status, word) in [
            (ServiceError::InDoubt(detail()), 503, "temporarily_unavailable"),
            (
                ServiceError::Unavailable { message: "away".to_owned(), detail: detail() },
                503,
                "temporarily_unavailable",
            ),
            (ServiceError::Internal(detail()), 500, "server_error"),
            (ServiceError::Denied("detail".to_owned()), 500, "server_error"),
        ] {
            let (code, headers, body) = said(Failure::from(error).answer()).await;
            assert!(code == status && body.contains(word) && !body.contains("detail"), "{code} {body}");
            let retry_after = headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(retry_after, (status == 503).then_some("1"), "{body}");
        }
        let refusal = Refusal::TooManyTries { retry_after: Duration::from_millis(1200) };
        let (code, headers, _) = said(refuse(&HeaderMap::new(), refusal)).await;
        assert_eq!((code, &headers[header::RETRY_AFTER]), (429, &HeaderValue::from_static("2")), "whole seconds");
    }

    #[tokio::test]
    async fn a_text_ends_no_header_and_no_word_of_a_challenge() {
        let request = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
        let refusal = Refusal::Unauthenticated("a \"b\\\r\nc: d\u{e9}".to_owned());
        let (_, headers, body) = said(refuse(&request, refusal)).await;
        let expected = "Bearer realm=\"latchkey\", error=\"invalid_token\", error_description=\"a bc: d\"";
        assert_eq!(headers[header::WWW_AUTHENTICATE], expected);
        assert_eq!(body, r#"{"error":"invalid_token","error_description":"a bc: d"}"#);
    }
}
