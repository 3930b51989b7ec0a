//! What services that are called with a token may know of it.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;

use super::{Identity, ServiceError, StoredCredentials};
use crate::auth::{Verifier, VerifyError};
use crate::domain::{
    clock::boot_time,
    credential::StoredCredential,
    ids::TokenId,
    principal::{Actor, Credential},
};

/// What is said of a token that is good now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveToken {
    /// Names it.
    pub token_id: TokenId,
    /// Who acts with it.
    pub identity: Identity,
    /// Whether it may but read.
    pub read_only: bool,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// How long whoever asked may go on by this: so long that the token is of no use anywhere when the bound is over, nor when it
    /// has expired.
    pub fresh_for: Duration,
}

/// What is said of one token of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is good now.
    Active(ActiveToken),
    /// It is none, whatever is wrong with it.
    NotActive,
    /// This server lacks its signing key, which another one has: whoever makes up such tokens must not keep others from being
    /// answered about.
    Undecided,
}

/// The use case of asking about tokens.
#[derive(Clone)]
pub struct Introspection {
    verifier: Arc<Verifier<StoredCredentials>>,
}

impl Introspection {
    /// By the one verifier there is.
    #[must_use]
    pub const fn new(verifier: Arc<Verifier<StoredCredentials>>) -> Self {
        Self { verifier }
    }

    /// A token of the actor's organization, if it is good now; none whatever is wrong with it. A token for an environment is
    /// good for nothing but the operations of that, so it is none either.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when it cannot be decided now.
    pub async fn introspect(&self, actor: &Actor, text: &str) -> Result<Option<ActiveToken>, ServiceError> {
        match self.decide(actor, text).await? {
            Verdict::Active(token) => Ok(Some(token)),
            Verdict::NotActive => Ok(None),
            Verdict::Undecided => Err(unavailable("signing key not here")),
        }
    }

    async fn decide(&self, actor: &Actor, text: &str) -> Result<Verdict, ServiceError> {
        let stored = match self.verifier.verify(text).await {
            Ok(stored) => stored,
            Err(VerifyError::Malformed(_) | VerifyError::Forged | VerifyError::Unknown | VerifyError::Ended(..)) => {
                return Ok(Verdict::NotActive);
            }
            Err(VerifyError::KeyNotHere(_)) => return Ok(Verdict::Undecided),
            Err(error @ VerifyError::Unavailable) => return Err(unavailable(error.reason())),
        };
        let Credential::PersonalAccessToken { id, read_only } = stored.credential else {
            return Ok(Verdict::NotActive);
        };
        let identity =
            Identity { principal_id: stored.principal_id, kind: stored.kind, organization_id: stored.organization_id };
        let fresh_for = self.fresh_for(&stored);
        let active = ActiveToken { token_id: id, identity, read_only, expires_at: stored.expires_at, fresh_for };
        let is_of_theirs = stored.organization_id == actor.organization_id;
        Ok(if is_of_theirs { Verdict::Active(active) } else { Verdict::NotActive })
    }

    /// The bound is one for all: what was known here for a while already is good elsewhere for the rest of it.
    fn fresh_for(&self, stored: &StoredCredential) -> Duration {
        let left = Duration::try_from(stored.expires_at - stored.read_at).unwrap_or_default();
        self.verifier.bound().saturating_sub(boot_time().saturating_sub(stored.known_at)).min(left)
    }

    /// The same for many, in their order.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when PostgreSQL cannot be asked now.
    pub async fn introspect_all(&self, actor: &Actor, texts: &[String]) -> Result<Vec<Verdict>, ServiceError> {
        futures::future::try_join_all(texts.iter().map(|text| self.decide(actor, text))).await
    }
}

fn unavailable(why: &str) -> ServiceError {
    ServiceError::unavailable("tokens cannot be verified right now; try again", why)
}
