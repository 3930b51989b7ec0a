//! What a use case answers when it does not do what was asked: without a protocol, and with the public text apart from the
//! internal one.

use std::fmt;

use crate::store::StoreError;

/// An internal text: for logs alone, so it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Internal(String);

impl Internal {
    /// Takes a detail that no caller must see.
    pub fn new(detail: impl fmt::Display) -> Self {
        Self(detail.to_string())
    }
}

impl fmt::Debug for Internal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a use case did not do what was asked. Its texts are for the caller, but for the [`Internal`] ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// A field of the request makes no sense.
    Invalid {
        /// Its path in the request.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such thing, or not for this caller: the two are one answer.
    NotFound {
        /// What it would be.
        what: &'static str,
        /// The ID asked for.
        id: String,
    },
    /// The caller may not.
    Denied(String),
    /// The caller's credential has ended meanwhile.
    Ended(String),
    /// A limit is reached: which, and how to get below it.
    Exhausted(String),
    /// It cannot be done in the present state: what to do first.
    Precondition(String),
    /// It is part of the contract and not there: what to use instead.
    Unsupported(&'static str),
    /// It took longer than it may.
    TimedOut(String),
    /// Somebody cancelled it.
    Cancelled(String),
    /// It cannot be done now, and may be later.
    Unavailable {
        /// What the caller is told.
        message: String,
        /// What happened.
        detail: Internal,
    },
    /// It may have been done or not, and there is no telling now.
    InDoubt(Internal),
    /// A defect.
    Internal(Internal),
}

impl ServiceError {
    /// A field of the request is not what it must be.
    #[must_use]
    pub fn invalid(field: &'static str, problem: impl fmt::Display) -> Self {
        Self::Invalid { field, problem: problem.to_string() }
    }

    pub(super) fn not_found(what: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    pub(super) fn unavailable(message: &str, detail: impl fmt::Display) -> Self {
        Self::Unavailable { message: message.to_owned(), detail: Internal::new(detail) }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(detail) => {
                Self::unavailable("the database does not answer right now; try again", detail)
            }
            StoreError::InDoubt(detail) => Self::InDoubt(Internal::new(detail)),
            error @ (StoreError::NoRow | StoreError::Constraint(_) | StoreError::Corrupt(_) | StoreError::Query(_)) => {
                Self::Internal(Internal::new(error))
            }
        }
    }
}
