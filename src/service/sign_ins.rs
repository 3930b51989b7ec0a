//! Signing in with an account that somebody has elsewhere.

use std::{sync::Arc, time::Duration};

use super::ServiceError;
use crate::auth::{Cache, Guesses};
use crate::domain::{
    clock::Clock,
    ids::{OrganizationId, SessionId},
    principal::Origin,
    secret::Secret,
    session::SessionLimits,
    sign_in::{Attempt, AttemptError, ClaimedIdentity, Landing, Provider, ProviderName},
    token::{Generation, SigningKeys},
};
use crate::store::{KeyState, SignIn, Store, Unsettled};

pub use crate::store::SignInOutcome;

/// Why an attempt does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeError {
    /// It is none, or none any more.
    Attempt(AttemptError),
    /// There is no telling right now.
    Service(ServiceError),
}

/// The use cases of signing in.
#[derive(Clone)]
pub struct SignIns {
    store: Store,
    keys: Arc<SigningKeys>,
    cache: Arc<Cache>,
    guesses: Arc<Guesses>,
    organization: OrganizationId,
    limits: SessionLimits,
    clock: Arc<dyn Clock>,
}

impl SignIns {
    /// On a store, for an organization. What somebody loses by signing in, the cache forgets at once.
    #[must_use]
    pub fn new(
        store: Store,
        keys: Arc<SigningKeys>,
        cache: Arc<Cache>,
        guesses: Arc<Guesses>,
        organization: OrganizationId,
        limits: SessionLimits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, keys, cache, guesses, organization, limits, clock }
    }

    /// Counts a code that was none, as what is no token: how long whoever brought it has to wait now, if there were too many.
    #[must_use]
    pub fn count_guess(&self, origin: &Origin) -> Option<Duration> {
        origin.peer.and_then(|peer| self.guesses.count(peer))
    }

    /// Begins an attempt: the text for the browser to keep, and what goes to the provider.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable without the key that is active.
    pub async fn begin(&self, provider: &ProviderName, landing: Landing) -> Result<(Secret, Attempt), ServiceError> {
        let keys = self.store.signing_key_list().await?;
        let active = keys.into_iter().find(|key| key.state == KeyState::Active);
        let active = active.ok_or_else(|| not_now("no signing key is active"))?;
        let begun = Attempt::begin(&self.keys, active.generation, provider.clone(), landing);
        let begun = begun.map_err(|_| not_now("the system's random source failed"))?;
        begun
            .ok_or_else(|| not_now(&format!("this server does not have the active signing key, {}", active.generation)))
    }

    /// Goes on with an attempt that a browser has brought back from a provider.
    ///
    /// # Errors
    /// [`ResumeError`]
    pub async fn resume(&self, text: &str, provider: &ProviderName) -> Result<Attempt, ResumeError> {
        let attempt = Attempt::read(&self.keys, text, self.clock.now()).map_err(|error| match error {
            AttemptError::KeyNotHere(generation) => {
                let detail = format!("this server does not have the signing key of generation {generation}");
                ResumeError::Service(not_now(&detail))
            }
            AttemptError::Malformed | AttemptError::Forged | AttemptError::TooOld => ResumeError::Attempt(error),
        })?;
        if attempt.provider != *provider {
            return Err(ResumeError::Attempt(AttemptError::Forged));
        }
        // Whoever has a key that is revoked may write attempts of their own.
        if self.is_revoked(attempt.generation).await.map_err(ResumeError::Service)? {
            return Err(ResumeError::Attempt(AttemptError::Forged));
        }
        Ok(attempt)
    }

    /// Ends an attempt with whom the provider has recognized: opens a session for them, or says why not.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn finish(
        &self,
        attempt: &Attempt,
        provider: &Provider,
        claimed: &ClaimedIdentity,
        origin: &Origin,
        rpc: &'static str,
    ) -> Result<SignInOutcome, ServiceError> {
        let organization = self.organization;
        let session = SessionId::generate();
        let limits = &self.limits;
        let asked = SignIn { attempt: attempt.id, organization, provider, claimed, origin, rpc, session, limits };
        let outcome = self.store.sign_in(&asked, &self.keys).await;
        let touched = match &outcome {
            Ok(SignInOutcome::SignedIn(user, _)) => Some(user.id),
            Ok(SignInOutcome::Refused { user, .. }) => *user,
            // If it is not known what came of it, it may have come to pass.
            Err(Unsettled { touched, .. }) => *touched,
        };
        if let Some(user) = touched {
            // Before anybody is told of it: a role may be gone.
            self.cache.forget_principal(user);
        }
        let outcome = outcome.map_err(|unsettled| unsettled.error)?;
        if let SignInOutcome::Refused { why, .. } = &outcome {
            tracing::info!(provider = %provider.name, reason = why.reason(), "a sign-in was refused");
        }
        Ok(outcome)
    }

    async fn is_revoked(&self, generation: Generation) -> Result<bool, ServiceError> {
        let keys = self.store.signing_key_list().await?;
        Ok(keys.into_iter().any(|key| key.generation == generation && key.state == KeyState::Revoked))
    }
}

fn not_now(detail: &str) -> ServiceError {
    ServiceError::unavailable("nobody can sign in right now; try again, or ask the operator", detail)
}
