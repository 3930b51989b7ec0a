//! The proof that somebody was verified.

use std::{sync::Arc, time::Duration};

use crate::domain::{
    credential::StoredCredential,
    ids::EnvironmentId,
    principal::{Actor, Credential, Origin},
};

/// A verified principal together with the credential that it came with. Only the auth layer makes one.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Arc<Actor>,
    known_at: Duration,
}

impl Caller {
    pub(super) fn new(stored: &StoredCredential, origin: Origin) -> Self {
        Self {
            actor: Arc::new(Actor {
                organization_id: stored.organization_id,
                principal_id: stored.principal_id,
                kind: stored.kind,
                role: stored.role,
                credential: stored.credential,
                origin,
            }),
            known_at: stored.known_at,
        }
    }

    /// Who acts, for the use cases.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// When what is known of it was certainly so, [since the machine was started](boot_time).
    ///
    /// [boot_time]: crate::domain::clock::boot_time
    #[must_use]
    pub const fn known_at(&self) -> Duration {
        self.known_at
    }

    /// The environment that the credential is good for, if it is good for one alone.
    #[must_use]
    pub fn environment(&self) -> Option<EnvironmentId> {
        match self.actor.credential {
            Credential::EnvironmentToken { environment_id, .. } => Some(environment_id),
            Credential::PersonalAccessToken { .. } | Credential::Session { .. } => None,
        }
    }
}
