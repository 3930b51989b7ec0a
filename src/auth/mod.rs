//! Who is calling, and may they: decided from the headers alone, in front of every protocol.
//!
//! [`AuthLayer`] finds the policy of the RPC, verifies the credential through the [`Verifier`], and lets the request pass
//! with a [`Caller`] or with a [`Refusal`] and no body. Nothing else can make a `Caller`: whoever holds one need not ask.

mod browser;
mod cache;
mod caller;
mod entering;
mod entries;
mod guesses;
mod headers;
mod layer;
mod outcomes;
pub mod policy;
mod recorder;
mod refusal;
#[cfg(test)]
mod revoking;
mod verifier;

/// What `entries` is made of; its proof has others in their place.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

pub use browser::{cookie, is_looked_at, session_cookie};
pub use cache::Cache;
pub use caller::Caller;
pub use entering::{Peer, origin};
pub use guesses::{Begun, Guesses};
pub use headers::user_agent;
pub use layer::{AuthLayer, AuthService};
pub use recorder::{QueueFull, Recorder};
pub use refusal::Refusal;
pub use verifier::{CredentialSource, Verifier, VerifyError};

pub use crate::lookups::SourceUnavailable;
