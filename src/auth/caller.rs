//! The proof that somebody was verified.

use std::sync::Arc;

use crate::domain::{
    credential::StoredCredential,
    ids::EnvironmentId,
    principal::{Actor, Credential, Origin},
};

/// A verified principal together with the credential that it came with. Only the auth layer makes one.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Arc<Actor>,
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
        }
    }

    /// Who acts, for the use cases.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The environment that the credential is good for, if it is good for one alone.
    #[must_use]
    pub fn environment(&self) -> Option<EnvironmentId> {
        match self.actor.credential {
            Credential::EnvironmentToken { environment_id, .. } => Some(environment_id),
            Credential::PersonalAccessToken { .. } => None,
        }
    }
}
