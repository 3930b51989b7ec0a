//! Why a request goes no further.

use std::time::Duration;

use crate::domain::credential::TOKEN_NEEDED;

/// Travels with the emptied request to where the protocol is known, which makes the error of it. The texts are for the
/// caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No RPC of that name.
    UnknownRpc,
    /// No credential that is good now.
    Unauthenticated(String),
    /// A good credential, but not for this.
    PermissionDenied(String),
    /// No credential, and not for the first time.
    TooManyTries {
        /// When to try again.
        retry_after: Duration,
    },
    /// It cannot be decided now.
    Unavailable {
        /// Why.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
}

impl Refusal {
    /// What every stranger is told.
    pub(super) fn stranger() -> Self {
        Self::Unauthenticated(TOKEN_NEEDED.to_owned())
    }

    pub(crate) fn unavailable() -> Self {
        Self::Unavailable {
            message: "tokens cannot be verified right now; try again".to_owned(),
            retry_after: Duration::from_secs(1),
        }
    }
}
