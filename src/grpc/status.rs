//! The only place where an error becomes a status code.

use std::time::Duration;

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use crate::auth::Refusal;
use crate::domain::proxied::Denial;
use crate::service::ServiceError;

/// Who says the reasons in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "latchkey";
/// When to try again what could not be done now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid { field, problem } => {
                let mut details = info("INVALID_FIELD");
                details.add_bad_request_violation(field, &problem);
                Self::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
            }
            ServiceError::NotFound { what, id } => {
                Self::with_error_details(Code::NotFound, format!("no {what} with ID {id}"), info("NOT_FOUND"))
            }
            ServiceError::Denied(message) => Self::with_error_details(Code::PermissionDenied, message, info("DENIED")),
            ServiceError::Ended(message) => unauthenticated(message),
            ServiceError::Exhausted(message) => {
                Self::with_error_details(Code::ResourceExhausted, message, info("LIMIT_REACHED"))
            }
            ServiceError::Precondition(message) => {
                Self::with_error_details(Code::FailedPrecondition, message, info("PRECONDITION"))
            }
            ServiceError::Unsupported(message) => {
                Self::with_error_details(Code::Unimplemented, message, info("NOT_SUPPORTED"))
            }
            ServiceError::TimedOut(message) => {
                Self::with_error_details(Code::DeadlineExceeded, message, info("TIMED_OUT"))
            }
            ServiceError::Cancelled(message) => Self::with_error_details(Code::Cancelled, message, info("CANCELLED")),
            ServiceError::Unavailable { message, detail } => {
                tracing::warn!(?detail, message, "unavailable");
                unavailable(message, RETRY_AFTER)
            }
            // Nothing says when to try again: whoever does so by themselves may do it twice.
            ServiceError::InDoubt(detail) => {
                tracing::warn!(?detail, "in doubt");
                let message = "the database did not say whether it was done; look before you try again";
                Self::with_error_details(Code::Unavailable, message, info("IN_DOUBT"))
            }
            ServiceError::Internal(detail) => {
                tracing::error!(?detail, "internal error");
                Self::with_error_details(Code::Internal, "internal error; the logs say more", info("INTERNAL"))
            }
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownRpc => {
                Self::with_error_details(Code::Unimplemented, "there is no such RPC here", info("UNKNOWN_RPC"))
            }
            Refusal::Unauthenticated(message) => unauthenticated(message),
            Refusal::PermissionDenied(message) => {
                Self::with_error_details(Code::PermissionDenied, message, info("DENIED"))
            }
            Refusal::TooManyTries { retry_after } => too_many_tries(retry_after),
            Refusal::Unavailable { message, retry_after } => unavailable(message, retry_after),
        }
    }
}

impl From<&Denial> for Status {
    fn from(denial: &Denial) -> Self {
        match denial {
            Denial::NoToken(message) | Denial::Repeated(message) | Denial::InvalidToken(message) => {
                unauthenticated(message.clone())
            }
            Denial::ReadOnly(message) => Self::with_error_details(Code::PermissionDenied, message, info("DENIED")),
            Denial::TooManyTries { retry_after } => too_many_tries(*retry_after),
            Denial::Unavailable { message, retry_after } => unavailable(message.clone(), *retry_after),
            Denial::Misconfigured { key, problem } => {
                let message = format!("the proxy's operator has to mend its configuration: {key} {problem}");
                Self::with_error_details(Code::Internal, message, info("MISCONFIGURED"))
            }
        }
    }
}

fn too_many_tries(retry_after: Duration) -> Status {
    let mut details = info("TOO_MANY_TRIES");
    details.set_retry_info(Some(retry_after));
    let message = "too much that is no token has come from your address; come again later, with one that is whole";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RFC 9110, section 15.5.2: a 401, which this is where the status is HTTP's, says how to authenticate.
fn unauthenticated(message: String) -> Status {
    let mut status = Status::with_error_details(Code::Unauthenticated, message, info("UNAUTHENTICATED"));
    status.metadata_mut().insert("www-authenticate", MetadataValue::from_static("Bearer"));
    status
}

fn unavailable(message: String, retry_after: Duration) -> Status {
    let mut details = info("UNAVAILABLE");
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, std::collections::HashMap::new())
}
