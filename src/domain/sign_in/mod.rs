//! Signing in with an account that somebody has elsewhere: by which providers, what binds the way there and back to one browser, and what
//! is taken from what a provider says of somebody.

mod attempt;
mod claimed;
mod landing;
mod provider;
mod refusal;

pub use attempt::{ATTEMPT_LIFE, Attempt, AttemptError};
pub use claimed::{ClaimedIdentity, InvalidClaims, NAME_LIMIT, SUBJECT_LIMIT, is_address};
pub use landing::{InvalidLanding, Landing};
pub use provider::{InvalidProviderName, Provider, ProviderName, is_loopback};
pub use refusal::SignInRefusal;

use std::time::Duration;

/// How long an invitation is good for.
pub const INVITATION_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
