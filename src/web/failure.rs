//! What goes wrong, as a page.

use std::{borrow::Cow, fmt};

use askama::Template;
use axum::{body::Body, response::IntoResponse};
use http::{HeaderValue, Request, Response, StatusCode, header};
use tonic::Code;
use url::form_urlencoded;

use super::{answer, frame::Frame};
use crate::{
    auth::{Refusal, is_looked_at},
    form::NoForm,
    service::ServiceError,
};

/// Why there is another page than the one that was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: Code,
    title: &'static str,
    message: Cow<'static, str>,
    /// In seconds.
    retry_after: Option<u64>,
    /// Whether the way on is to sign in.
    signs_in: bool,
}

impl Failure {
    fn new(status: StatusCode, code: Code, title: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, title, message: message.into(), retry_after: None, signs_in: false }
    }

    /// A defect of ours: what it is, the log says.
    pub(super) fn defect(detail: &(impl fmt::Display + ?Sized)) -> Self {
        tracing::error!(%detail, "a page cannot be made");
        let message = "Something is broken on this server. Its log says more.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "Something went wrong", message)
    }

    /// There is nothing there.
    pub(super) fn not_found() -> Self {
        let message = "There is no such page here. It may have been moved, or the address is incomplete.";
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, "Not found", message)
    }

    /// A form that no page of ours has made for this session.
    pub(super) fn foreign_form() -> Self {
        let message = "This form is not of a page that was opened in this session, so nothing was done. Open the page again, and send it from there.";
        Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, "Form out of date", message)
    }

    /// Somebody was not signed in.
    pub(super) fn not_signed_in(status: StatusCode, code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { signs_in: true, ..Self::new(status, code, "Not signed in", message) }
    }

    fn unavailable(message: String, seconds: u64) -> Self {
        let new = Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "Not now", message);
        Self { retry_after: Some(seconds), ..new }
    }

    pub(super) fn too_many_tries(seconds: u64) -> Self {
        let message =
            "Too much that is no session, link or code has come from your address. Wait a little, and sign in again.";
        let new = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, "Too many tries", message);
        Self { retry_after: Some(seconds), ..new }
    }

    pub(super) fn too_many_sign_ins(seconds: u64) -> Self {
        let message = "Too many people are signing in from your address. Wait a little, and load this page once more.";
        let new = Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, "Too many tries", message);
        Self { retry_after: Some(seconds), ..new }
    }

    pub(super) fn answer(self) -> Response<Body> {
        let is_signed_out = self.signs_in || self.status == StatusCode::UNAUTHORIZED;
        let template = FailurePage { frame: Frame::public(self.title), message: &self.message, is_signed_out };
        match answer::page(self.status, self.code, &template) {
            Ok(mut response) => {
                if let Some(seconds) = self.retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
            // The page of a failure to make a page would fail again.
            Err(_) => answer::respond(self.status, self.code, Body::from(self.title)),
        }
    }
}

#[derive(Template)]
#[template(path = "failure.html", config = "src/web/askama.toml")]
struct FailurePage<'a> {
    frame: Frame,
    message: &'a str,
    is_signed_out: bool,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        self.answer()
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let internal = |message: &'static str| {
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "Something went wrong", message)
        };
        match error {
            ServiceError::Invalid { field, problem } => Self::new(
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                "Not understood",
                format!("{field} {problem}"),
            ),
            ServiceError::NotFound { what, id } => {
                let message = format!("There is no {what} {id}, or it is not yours.");
                Self::new(StatusCode::NOT_FOUND, Code::NotFound, "Not found", message)
            }
            ServiceError::Denied(message) => {
                Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, "Not allowed", sentence(&message))
            }
            ServiceError::Ended(_) => {
                Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "Signed out", "Your session has ended.")
            }
            ServiceError::Exhausted(message) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, "Too many", sentence(&message))
            }
            ServiceError::Precondition(message) => {
                Self::new(StatusCode::CONFLICT, Code::FailedPrecondition, "Not possible now", sentence(&message))
            }
            ServiceError::Unsupported(message) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, Code::Unimplemented, "Not possible", sentence(message))
            }
            ServiceError::TimedOut(message) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "Too slow", sentence(&message))
            }
            ServiceError::Cancelled(message) => {
                Self::new(StatusCode::CONFLICT, Code::Cancelled, "Cancelled", sentence(&message))
            }
            ServiceError::Unavailable { message, detail } => {
                tracing::warn!(?detail, "a page cannot be made right now");
                Self::unavailable(sentence(&message), 1)
            }
            ServiceError::InDoubt(detail) => {
                tracing::error!(?detail, "it is not known whether it was done");
                internal("It may have been done or not, and there is no telling now. Look before you try again.")
            }
            ServiceError::Internal(detail) => Self::defect(&format_args!("{detail:?}")),
        }
    }
}

impl From<NoForm> for Failure {
    fn from(no_form: NoForm) -> Self {
        let message = match no_form {
            NoForm::ContentType | NoForm::ContentEncoding => "What was sent is no form.",
            NoForm::TooLong => "What was sent is too long.",
            NoForm::TooSlow | NoForm::BrokenOff => "What was sent has not come whole. Try again.",
            NoForm::Repeated => {
                "Something was said twice, in the address or in a form: nobody knows which of the two counts."
            }
        };
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, "Not understood", message)
    }
}

/// A message as a sentence of a page.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if message.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

/// The page for what is no page.
#[must_use]
pub fn not_found() -> Response<Body> {
    Failure::not_found().answer()
}

/// The answer to a request for a page that the auth layer has refused: whoever comes to see one is led to where people sign in, and back
/// again afterwards.
#[must_use]
pub fn refuse(request: &Request<Body>, refusal: Refusal) -> Response<Body> {
    let failure = match refusal {
        Refusal::UnknownRpc => Failure::not_found(),
        Refusal::Unauthenticated(_) if request.method().is_safe() && is_looked_at(request.headers()) => {
            let next = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            let mut response = answer::see_other(&format!("/sign-in?{query}"));
            response.extensions_mut().insert(Code::Unauthenticated);
            return response;
        }
        Refusal::Unauthenticated(_) => {
            let message = "Your session has ended, so nothing was done. Sign in, and do it once more.";
            Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "Signed out", message)
        }
        Refusal::PermissionDenied(message) => {
            Failure::new(StatusCode::FORBIDDEN, Code::PermissionDenied, "Not allowed", sentence(&message))
        }
        Refusal::TooManyTries { retry_after } => Failure::too_many_tries(retry_after.as_secs() + 1),
        // It speaks of tokens, which nobody has shown here.
        Refusal::Unavailable { message: _, retry_after } => {
            let message = "Who you are cannot be looked up right now. Try again in a moment.".to_owned();
            Failure::unavailable(message, retry_after.as_secs().max(1))
        }
    };
    failure.answer()
}
