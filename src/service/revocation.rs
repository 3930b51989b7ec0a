//! Revoking a token by presenting it, as OAuth has it (RFC 7009): by its holder, or for whoever has found one.

use std::sync::Arc;

use super::{ServiceError, StoredCredentials, Tokens};
use crate::auth::{Verifier, VerifyError};
use crate::domain::{
    principal::{Actor, Credential, Role},
    secret::Secret,
    token::{CredentialKind, Presented},
};
use crate::store::{TokenDelete, TokenScope};

/// What came of it. Whoever presented the token need not be told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is revoked, now or since before.
    Revoked,
    /// It is no token of ours.
    NoToken,
    /// It is a token, and not the caller's to revoke. Nothing changed.
    NotTheirs,
    /// It is written as a token for an environment: those end with the token that they were made with, and not by themselves.
    OfEnvironment,
}

/// The use case of revoking what is presented.
#[derive(Clone)]
pub struct Revocations {
    tokens: Tokens,
    verifier: Arc<Verifier<StoredCredentials>>,
}

impl Revocations {
    /// By the one verifier there is.
    #[must_use]
    pub const fn new(tokens: Tokens, verifier: Arc<Verifier<StoredCredentials>>) -> Self {
        Self { tokens, verifier }
    }

    /// Revokes a token of the actor's; as an admin, or as a service that may ask about others' tokens, of the organization's. A token
    /// that is refused for now is revoked all the same: its holder may be let in again.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when it cannot be decided or done now.
    pub async fn revoke(&self, actor: &Actor, token: &Secret, rpc: &'static str) -> Result<Revocation, ServiceError> {
        let Ok(presented) = Presented::parse(token.expose()) else { return Ok(Revocation::NoToken) };
        if presented.kind() == CredentialKind::EnvironmentToken {
            return Ok(Revocation::OfEnvironment);
        }
        let stored = match self.verifier.verify(token.expose()).await {
            Ok(stored) => stored,
            Err(VerifyError::Ended(stored, _)) => *stored,
            Err(VerifyError::Malformed(_) | VerifyError::Forged | VerifyError::Unknown) => {
                return Ok(Revocation::NoToken);
            }
            Err(error @ (VerifyError::KeyNotHere(_) | VerifyError::Unavailable)) => {
                let message = "tokens cannot be verified right now; try again";
                return Err(ServiceError::unavailable(message, error.reason()));
            }
        };
        let Credential::PersonalAccessToken { id, .. } = stored.credential else {
            return Ok(Revocation::OfEnvironment);
        };
        let is_over_others = match actor.role {
            Role::Admin | Role::Service => true,
            Role::Member => false,
        };
        let scope = if stored.principal_id == actor.principal_id {
            TokenScope::Principal(actor.principal_id)
        } else if is_over_others && stored.organization_id == actor.organization_id {
            TokenScope::Organization(actor.organization_id)
        } else {
            return Ok(Revocation::NotTheirs);
        };
        match self.tokens.revoke(actor, id, scope, rpc).await? {
            TokenDelete::Revoked | TokenDelete::Already => Ok(Revocation::Revoked),
            TokenDelete::NotFound => Ok(Revocation::NoToken),
        }
    }
}
