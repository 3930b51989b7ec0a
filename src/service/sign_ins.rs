//! Signing in with an account that somebody has elsewhere.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{QueuedRecorder, ServiceError};
use crate::auth::{Begun, Cache, Guesses, Recorder};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    clock::Clock,
    ids::{OrganizationId, SessionId},
    principal::Origin,
    secret::Secret,
    session::SessionLimits,
    sign_in::{Attempt, AttemptError, ClaimedIdentity, Landing, Provider, ProviderName, SignInRefusal},
    token::{Generation, SigningKeys},
};
use crate::store::{KeyState, SignIn, Store, StoreError, Unsettled};

pub use crate::store::SignInOutcome;

/// A wider network begins as much as so many peers: it may be an organization's, or that of many who have nothing to do with each other.
const PEERS_OF_NETWORK: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");

/// Why an attempt does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeError {
    /// It is none, or none any more.
    Attempt(AttemptError),
    /// Something else was brought than was begun.
    OfAnother,
    /// Too much was brought back by this peer. The attempt goes on.
    TooMany {
        /// When to come again.
        retry_after: Duration,
    },
    /// There is no telling right now.
    Service(ServiceError),
}

/// What came of beginning.
#[derive(Debug)]
pub enum Begin {
    /// An attempt: the text for the browser to keep, and what goes to the provider.
    Begun(Secret, Attempt),
    /// Too much was begun by this peer.
    TooMany {
        /// When to come again.
        retry_after: Duration,
    },
}

/// What came of taking up what a browser has brought back to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeUp {
    /// It is the first: the attempt is over with it, whatever comes of it.
    First,
    /// Something was brought back before: the attempt is over, and whoever comes now may have got hold of it.
    Again,
}

/// What signing in is made of.
pub struct SignInParts {
    /// Who is known, and how.
    pub store: Store,
    /// What attempts and sessions are written with.
    pub keys: Arc<SigningKeys>,
    /// What forgets at once what somebody loses by signing in.
    pub cache: Arc<Cache>,
    /// Where made-up codes count like made-up tokens.
    pub guesses: Arc<Guesses>,
    /// Who counts those who are refused and not known.
    pub recorder: QueuedRecorder,
    /// Where people want in.
    pub organization: OrganizationId,
    /// How long they stay.
    pub limits: SessionLimits,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// The use cases of signing in.
#[derive(Clone)]
pub struct SignIns {
    parts: Arc<SignInParts>,
    /// What was begun, by peer: which key is active is asked of PostgreSQL, over connections that everybody needs.
    begun: Arc<Begun>,
    /// What was brought back, by peer: the same, and each adds a row.
    brought_back: Arc<Begun>,
}

impl SignIns {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: SignInParts) -> Self {
        let counted = || Arc::new(Begun::new(PEERS_OF_NETWORK));
        Self { parts: Arc::new(parts), begun: counted(), brought_back: counted() }
    }

    /// Counts a code that was none, as what is no token: how long whoever brought it has to wait now, if there were too many.
    #[must_use]
    pub fn count_guess(&self, origin: &Origin) -> Option<Duration> {
        origin.peer.and_then(|peer| self.parts.guesses.count(peer))
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable without the key that is active.
    pub async fn begin(
        &self,
        provider: &ProviderName,
        landing: Landing,
        origin: &Origin,
    ) -> Result<Begin, ServiceError> {
        if let Some(retry_after) = origin.peer.and_then(|peer| self.begun.count(peer)) {
            return Ok(Begin::TooMany { retry_after });
        }
        let keys = self.parts.store.signing_key_list().await?;
        let active = keys.into_iter().find(|key| key.state == KeyState::Active);
        let active = active.ok_or_else(|| not_now("no signing key is active"))?;
        let begun = Attempt::begin(&self.parts.keys, active.generation, provider.clone(), landing);
        let begun = begun.map_err(|_| not_now("the system's random source failed"))?;
        let (text, attempt) = begun.ok_or_else(|| {
            not_now(&format!("this server does not have the active signing key, {}", active.generation))
        })?;
        Ok(Begin::Begun(text, attempt))
    }

    /// Goes on with an attempt that a browser has brought back from a provider, with this state.
    ///
    /// # Errors
    /// [`ResumeError`]
    pub async fn resume(
        &self,
        text: &str,
        provider: &ProviderName,
        state: &str,
        origin: &Origin,
    ) -> Result<Attempt, ResumeError> {
        let attempt = Attempt::read(&self.parts.keys, text, self.parts.clock.now()).map_err(|error| match error {
            AttemptError::KeyNotHere(generation) => {
                let detail = format!("this server does not have the signing key of generation {generation}");
                ResumeError::Service(not_now(&detail))
            }
            AttemptError::Malformed | AttemptError::Forged | AttemptError::TooOld => ResumeError::Attempt(error),
        })?;
        if attempt.provider != *provider {
            return Err(ResumeError::Attempt(AttemptError::Forged));
        }
        // Before anything is believed, asked or ended: any page can send a browser here, with whatever it likes.
        if !attempt.is_answered_by(state) {
            return Err(ResumeError::OfAnother);
        }
        if let Some(retry_after) = origin.peer.and_then(|peer| self.brought_back.count(peer)) {
            return Err(ResumeError::TooMany { retry_after });
        }
        // Whoever has a key that is revoked may write attempts of their own.
        if self.is_revoked(attempt.generation).await.map_err(ResumeError::Service)? {
            return Err(ResumeError::Attempt(AttemptError::Forged));
        }
        Ok(attempt)
    }

    /// Takes up what a browser has brought back to an attempt, which is over with that: what is brought is good for one try, whatever the
    /// provider thinks of it.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when it cannot be told now whether it is the first.
    pub async fn take_up(&self, attempt: &Attempt, origin: &Origin, rpc: &'static str) -> Result<TakeUp, ServiceError> {
        let is_first = self.parts.store.sign_in_attempt_end(attempt.id).await.map_err(|error| match error {
            // Nothing else was done: another try finds out.
            StoreError::InDoubt(detail) => not_now(&detail),
            error @ (StoreError::Unavailable(_)
            | StoreError::NoRow
            | StoreError::Constraint(_)
            | StoreError::Corrupt(_)
            | StoreError::Query(_)) => error.into(),
        })?;
        if is_first {
            return Ok(TakeUp::First);
        }
        self.count_refusal(SignInRefusal::AttemptEnded, origin, rpc);
        Ok(TakeUp::Again)
    }

    /// Lets in whom the provider has recognized: opens a session for them, or says why not.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn finish(
        &self,
        provider: &Provider,
        claimed: &ClaimedIdentity,
        origin: &Origin,
        rpc: &'static str,
    ) -> Result<SignInOutcome, ServiceError> {
        let organization = self.parts.organization;
        let session = SessionId::generate();
        let limits = &self.parts.limits;
        let asked = SignIn { organization, provider, claimed, origin, rpc, session, limits };
        let outcome = self.parts.store.sign_in(&asked, &self.parts.keys).await;
        let touched = match &outcome {
            Ok(SignInOutcome::SignedIn(user, _)) => Some(user.id),
            Ok(SignInOutcome::Refused { user, .. }) => *user,
            // If it is not known what came of it, it may have come to pass.
            Err(Unsettled { touched, .. }) => *touched,
        };
        if let Some(user) = touched {
            // Before anybody is told of it: a role may be gone.
            self.parts.cache.forget_principal(user);
        }
        let outcome = outcome.map_err(|unsettled| unsettled.error)?;
        if let SignInOutcome::Refused { why, user } = &outcome {
            tracing::info!(provider = %provider.name, reason = why.reason(), "a sign-in was refused");
            if user.is_none() {
                self.count_refusal(*why, origin, rpc);
            }
        }
        Ok(outcome)
    }

    /// Whom nobody knows is counted, as all strangers are: one entry a reason, peer and minute, however many come.
    fn count_refusal(&self, why: SignInRefusal, origin: &Origin, rpc: &'static str) {
        self.parts.recorder.observe(Observation {
            organization_id: Some(self.parts.organization),
            principal: None,
            token_id: None,
            session_id: None,
            action: Action::SignIn,
            rpc,
            outcome: Outcome::Denied,
            reason: why.reason(),
            peer: origin.peer,
            user_agent: origin.user_agent.clone(),
            request_id: origin.request_id,
        });
    }

    async fn is_revoked(&self, generation: Generation) -> Result<bool, ServiceError> {
        let keys = self.parts.store.signing_key_list().await?;
        Ok(keys.into_iter().any(|key| key.generation == generation && key.state == KeyState::Revoked))
    }
}

fn not_now(detail: &str) -> ServiceError {
    ServiceError::unavailable("nobody can sign in right now; try again, or ask the operator", detail)
}
