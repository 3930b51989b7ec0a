//! Links that sign somebody in, once: how people get in where there is no OpenID provider.

use std::sync::Arc;

use super::{Internal, ServiceError, sessions};
use crate::auth::Guesses;
use crate::domain::{
    audit::{Action, AuditEvent},
    ids::SessionId,
    principal::{Actor, Credential, Origin, PrincipalKind},
    secret::Secret,
    session::SessionLimits,
    token::{CredentialKind, Presented, SigningKeys},
};
use crate::store::{SignInLink, Store};

/// The use cases of links that sign somebody in.
#[derive(Clone)]
pub struct SignInLinks {
    store: Store,
    keys: Arc<SigningKeys>,
    guesses: Arc<Guesses>,
    limits: SessionLimits,
    is_open: bool,
}

impl SignInLinks {
    /// On a store. What is no link is counted as what is no token; where they are not open, no link signs anybody in.
    #[must_use]
    pub const fn new(
        store: Store,
        keys: Arc<SigningKeys>,
        guesses: Arc<Guesses>,
        limits: SessionLimits,
        is_open: bool,
    ) -> Self {
        Self { store, keys, guesses, limits, is_open }
    }

    /// Whether people sign in by links here.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whom a link signs in that is good now.
    ///
    /// # Errors
    /// [`ServiceError`]: denied for what is no link, or none any more; exhausted for whoever goes on trying.
    pub async fn find(&self, text: &Secret, origin: &Origin) -> Result<SignInLink, ServiceError> {
        if !self.is_open {
            return Err(ServiceError::Denied("people do not sign in by links here".to_owned()));
        }
        let presented = Presented::parse(text.expose()).ok().filter(|it| it.kind() == CredentialKind::SignInLink);
        let Some(presented) = presented.filter(|presented| self.keys.check_tag(presented).is_ok()) else {
            return match origin.peer.and_then(|peer| self.guesses.count(peer)) {
                Some(_) => {
                    Err(ServiceError::Exhausted("too much that is no link has come from your address; wait".to_owned()))
                }
                None => Err(over()),
            };
        };
        self.store.sign_in_link_find(&presented, &self.keys).await?.ok_or_else(over)
    }

    /// Signs somebody in: what the new session's cookie holds, shown this once.
    ///
    /// # Errors
    /// [`ServiceError`]: denied if the link has been used meanwhile, or its person may not act.
    pub async fn sign_in(&self, text: &Secret, origin: &Origin, rpc: &'static str) -> Result<Secret, ServiceError> {
        let link = self.find(text, origin).await?;
        let principal = self.store.principal_get(link.organization_id, link.principal_id).await?;
        let principal =
            principal.ok_or_else(|| ServiceError::Internal(Internal::new("a link's principal has no row")))?;
        let session = SessionId::generate();
        let actor = Actor {
            organization_id: link.organization_id,
            principal_id: link.principal_id,
            kind: PrincipalKind::User,
            role: principal.role,
            credential: Credential::Session { id: session },
            origin: origin.clone(),
        };
        let event = AuditEvent::of(&actor, Action::SessionCreate, rpc, sessions::subject(session));
        let opened = self.store.sign_in_link_use(link.id, &actor, &self.limits, &self.keys, &event).await?;
        opened.ok_or_else(over)
    }
}

fn over() -> ServiceError {
    ServiceError::Denied(
        "this link is used up, or over, or incomplete; make a new one with 'latchkey admin sign-in-link'".to_owned(),
    )
}
