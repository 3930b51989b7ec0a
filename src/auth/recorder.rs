//! The port through which the layer says what it saw.

use std::future::Future;

use time::OffsetDateTime;

use crate::domain::{
    audit::Observation,
    principal::{Credential, Origin},
};

/// What was seen could not be taken down, even after a wait: the request is not let through unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// Takes down what is seen, to be written soon.
pub trait Recorder: Send + Sync + 'static {
    /// Whether there is room for what is about to be seen.
    fn has_room(&self) -> bool;

    /// Waits for a while until there is room for what is about to be seen: nothing is let through that could not be taken
    /// down.
    ///
    /// # Errors
    /// [`QueueFull`]
    fn room(&self) -> impl Future<Output = Result<(), QueueFull>> + Send;

    /// Takes a read or a refusal down for the audit log.
    fn observe(&self, seen: Observation);

    /// Takes the use of a token, or of a session, down. May be forgotten when there is too much of it.
    fn used(&self, credential: Credential, at: OffsetDateTime, origin: &Origin);
}
