//! Sessions of people in browsers: listed, and ended.

use std::sync::Arc;

use super::{ServiceError, StoredCredentials};
use crate::auth::{Cache, Verifier, VerifyError};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::SessionId,
    page::{Page, PageRequest},
    principal::{Actor, Credential, Origin},
    secret::Secret,
    session::Session,
};
use crate::store::Store;

/// What a session's acts are done to.
pub(super) const fn subject(id: SessionId) -> Subject {
    Subject { subject_type: SubjectType::Session, id: id.uuid() }
}

/// The use cases of sessions.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    cache: Arc<Cache>,
    verifier: Arc<Verifier<StoredCredentials>>,
}

impl Sessions {
    /// On a store. What is ended here, the cache forgets at once.
    #[must_use]
    pub const fn new(store: Store, cache: Arc<Cache>, verifier: Arc<Verifier<StoredCredentials>>) -> Self {
        Self { store, cache, verifier }
    }

    /// A page of the actor's own sessions that are good now, the newest first.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<Session>, ServiceError> {
        Ok(self.store.session_list(actor.principal_id, page).await?)
    }

    /// Ends a session of the actor's own. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for others' sessions.
    pub async fn revoke(&self, actor: &Actor, id: SessionId, rpc: &'static str) -> Result<(), ServiceError> {
        let event = AuditEvent::of(actor, Action::SessionRevoke, rpc, subject(id));
        let outcome = self.store.session_revoke(id, actor.principal_id, &event).await;
        if !matches!(outcome, Ok(false)) {
            // Before anybody is told of it; and if it is not known what came of it, it may have come to pass.
            self.cache.forget_session(id);
        }
        if outcome? { Ok(()) } else { Err(ServiceError::not_found("session", id)) }
    }

    /// Ends the session that a browser came with, if it is one that is good: whoever signs in with it leaves it.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn leave(&self, cookie: &Secret, origin: &Origin, rpc: &'static str) -> Result<(), ServiceError> {
        let stored = match self.verifier.verify(cookie.expose()).await {
            Ok(stored) => stored,
            Err(VerifyError::Unavailable | VerifyError::KeyNotHere(_)) => {
                let message = "sessions cannot be looked up right now; try again";
                return Err(ServiceError::unavailable(message, "the verifier"));
            }
            Err(VerifyError::Malformed(_) | VerifyError::Forged | VerifyError::Unknown | VerifyError::Ended(..)) => {
                return Ok(());
            }
        };
        let Credential::Session { id } = stored.credential else { return Ok(()) };
        let actor = Actor {
            organization_id: stored.organization_id,
            principal_id: stored.principal_id,
            kind: stored.kind,
            role: stored.role,
            credential: stored.credential,
            origin: origin.clone(),
        };
        self.revoke(&actor, id, rpc).await
    }
}
