//! Personal access tokens: create, look up, list, revoke.

use std::sync::Arc;

use time::Duration;
use uuid::Uuid;

use super::ServiceError;
use crate::auth::Cache;
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::{PrincipalId, TokenId},
    page::{Page, PageRequest},
    principal::{Actor, PrincipalKind},
    secret::Secret,
    token::{CreateToken, SigningKeys, Token, TokenDescription, TokenState},
};
use crate::store::{MintError, NewToken, Store, StoreError, TokenCreateError, TokenDelete, TokenScope, TokenUpdate};

/// What whoever is no admin is told who asks for others' tokens.
const OTHERS_LIST: &str = "only admins may list the tokens of others";

/// A token that was just made, with its text, which is shown this once.
#[derive(Debug)]
pub struct CreatedToken {
    /// What is known of it from now on.
    pub token: Token,
    /// The text, for its holder.
    pub text: Secret,
}

/// What came of asking for a token that is made once.
#[derive(Debug)]
pub enum CreatedOnce {
    /// It is made.
    Now(CreatedToken),
    /// It was made before, as this one if that is still known; its text was shown then.
    Before(Option<TokenId>),
}

/// The use cases of personal access tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
    keys: Arc<SigningKeys>,
    cache: Arc<Cache>,
    limit: u32,
}

impl Tokens {
    /// `limit` live tokens a principal, at the most. What is revoked here, the cache forgets at once.
    #[must_use]
    pub const fn new(store: Store, keys: Arc<SigningKeys>, cache: Arc<Cache>, limit: u32) -> Self {
        Self { store, keys, cache, limit }
    }

    /// Makes a token for the actor, or as an admin for a service account.
    ///
    /// # Errors
    /// [`ServiceError`]: denied for another user, exhausted at the limit.
    pub async fn create(
        &self,
        actor: &Actor,
        user: Option<PrincipalId>,
        asked: CreateToken,
        rpc: &'static str,
    ) -> Result<CreatedToken, ServiceError> {
        let principal_id = self.holder(actor, user).await?;
        self.make(actor, principal_id, asked, None, rpc).await.map_err(refused)
    }

    /// The same, once: whoever sends it again, with the same key, makes no second one, and is told of the first.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_once(
        &self,
        actor: &Actor,
        holder: PrincipalId,
        asked: CreateToken,
        idempotency_key: Uuid,
        rpc: &'static str,
    ) -> Result<CreatedOnce, ServiceError> {
        let principal_id = self.holder(actor, Some(holder)).await?;
        match self.make(actor, principal_id, asked, Some(idempotency_key), rpc).await {
            Ok(created) => Ok(CreatedOnce::Now(created)),
            Err(TokenCreateError::Mint(MintError::Store(StoreError::Constraint(name))))
                if name == "token_forms_pkey" =>
            {
                Ok(CreatedOnce::Before(self.store.token_of_form(actor.principal_id, idempotency_key).await?))
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn make(
        &self,
        actor: &Actor,
        principal_id: PrincipalId,
        asked: CreateToken,
        idempotency_key: Option<Uuid>,
        rpc: &'static str,
    ) -> Result<CreatedToken, TokenCreateError> {
        let id = TokenId::generate();
        let new = NewToken {
            id,
            organization_id: actor.organization_id,
            principal_id,
            creator_id: actor.principal_id,
            created_with: Some(actor.credential),
            idempotency_key,
            asked,
            limit: self.limit,
        };
        let event = AuditEvent::of(actor, Action::TokenCreate, rpc, subject(id));
        let (token, text) = self.store.token_create(&new, &self.keys, &event).await?;
        Ok(CreatedToken { token, text })
    }

    /// One live or expired token of the actor's; as an admin, of the organization's.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for others' tokens, and for revoked ones.
    pub async fn get(&self, actor: &Actor, id: TokenId) -> Result<Token, ServiceError> {
        let token = self.get_of_any_state(actor, id).await?;
        if token.revoked_at.is_some() { Err(not_found(id)) } else { Ok(token) }
    }

    /// The same, revoked ones included: for whoever wants to know what became of one.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for others' tokens.
    pub async fn get_of_any_state(&self, actor: &Actor, id: TokenId) -> Result<Token, ServiceError> {
        self.store.token_get(id, scope(actor)).await?.ok_or_else(|| not_found(id))
    }

    /// A page of tokens: the actor's own, or as an admin those of some principals of the organization.
    ///
    /// # Errors
    /// [`ServiceError`]: denied when others' are asked for.
    pub async fn list(
        &self,
        actor: &Actor,
        users: &[PrincipalId],
        page: &PageRequest,
    ) -> Result<Page<Token>, ServiceError> {
        let own = [actor.principal_id];
        let users = if users.is_empty() { &own } else { users };
        if !actor.is_admin() && users.iter().any(|user| *user != actor.principal_id) {
            return Err(ServiceError::Denied(OTHERS_LIST.to_owned()));
        }
        Ok(self.store.token_list(actor.organization_id, users, page).await?)
    }

    /// A page of one's tokens that are in a state (the actor's own, or as an admin those of a principal of the organization): the active
    /// ones newest first, the others by when they ended, the last first. A page key is good for the list of its state.
    ///
    /// # Errors
    /// [`ServiceError`]: denied when others' are asked for.
    pub async fn list_of_state(
        &self,
        actor: &Actor,
        holder: PrincipalId,
        state: TokenState,
        page: &PageRequest,
    ) -> Result<Page<Token>, ServiceError> {
        if !actor.is_admin() && holder != actor.principal_id {
            return Err(ServiceError::Denied(OTHERS_LIST.to_owned()));
        }
        Ok(self.store.token_list_of_state(actor.organization_id, holder, state, page).await?)
    }

    /// The active tokens of the actor's own that end within some time, the first to end first; so many at the most.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn ending(&self, actor: &Actor, within: Duration, most: usize) -> Result<Vec<Token>, ServiceError> {
        Ok(self.store.token_list_ending(actor.organization_id, actor.principal_id, within, most).await?)
    }

    /// Gives a token of the actor's, or as an admin of the organization's, another description. Without one, and with the one that it
    /// has, nothing changes.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for others' tokens, and for revoked ones.
    pub async fn update(
        &self,
        actor: &Actor,
        id: TokenId,
        description: Option<&TokenDescription>,
        rpc: &'static str,
    ) -> Result<Token, ServiceError> {
        let event = AuditEvent::of(actor, Action::TokenUpdate, rpc, subject(id));
        match self.store.token_update(id, scope(actor), description, &event).await? {
            TokenUpdate::Known(token) => Ok(*token),
            TokenUpdate::NotFound => Err(not_found(id)),
        }
    }

    /// Revokes a token of the actor's, or as an admin of the organization's. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for others' tokens.
    pub async fn delete(&self, actor: &Actor, id: TokenId, rpc: &'static str) -> Result<(), ServiceError> {
        match self.revoke(actor, id, scope(actor), rpc).await? {
            TokenDelete::Revoked | TokenDelete::Already => Ok(()),
            TokenDelete::NotFound => Err(not_found(id)),
        }
    }

    /// The same within a scope, which the caller answers for.
    pub(super) async fn revoke(
        &self,
        actor: &Actor,
        id: TokenId,
        scope: TokenScope,
        rpc: &'static str,
    ) -> Result<TokenDelete, ServiceError> {
        let event = AuditEvent::of(actor, Action::TokenRevoke, rpc, subject(id));
        let outcome = self.store.token_delete(id, scope, &event).await;
        if !matches!(outcome, Ok(TokenDelete::NotFound)) {
            // Before anybody is told of it; and if it is not known what came of it, it may have come to pass.
            self.cache.forget_token(id.uuid());
        }
        Ok(outcome?)
    }

    async fn holder(&self, actor: &Actor, user: Option<PrincipalId>) -> Result<PrincipalId, ServiceError> {
        let user = match user {
            None => return Ok(actor.principal_id),
            Some(user) if user == actor.principal_id => return Ok(user),
            Some(user) => user,
        };
        if !actor.is_admin() {
            return Err(not_for_others());
        }
        match self.store.principal_get(actor.organization_id, user).await? {
            Some(principal) if principal.kind == PrincipalKind::ServiceAccount => Ok(user),
            Some(_) | None => Err(not_for_others()),
        }
    }
}

fn refused(error: TokenCreateError) -> ServiceError {
    match error {
        TokenCreateError::Limit(limit) => ServiceError::Exhausted(format!(
            "there are {limit} tokens already that are neither revoked nor expired, the most that one account may have; \
             revoke one first"
        )),
        TokenCreateError::NoSuchPrincipal => ServiceError::Denied("the account is gone".to_owned()),
        TokenCreateError::NotForOthers => not_for_others(),
        TokenCreateError::Mint(error) => error.into(),
    }
}

fn not_for_others() -> ServiceError {
    ServiceError::Denied(
        "user_id must be empty or your own ID; an admin may also name a service account of the organization".to_owned(),
    )
}

fn scope(actor: &Actor) -> TokenScope {
    if actor.is_admin() {
        TokenScope::Organization(actor.organization_id)
    } else {
        TokenScope::Principal(actor.principal_id)
    }
}

fn not_found(id: TokenId) -> ServiceError {
    ServiceError::not_found("personal access token", id)
}

const fn subject(id: TokenId) -> Subject {
    Subject { subject_type: SubjectType::PersonalAccessToken, id: id.uuid() }
}

impl From<MintError> for ServiceError {
    fn from(error: MintError) -> Self {
        let message = "no token can be made right now; try again, or ask the operator";
        match error {
            MintError::NoActiveKey | MintError::KeyNotHere(_) | MintError::Random => Self::unavailable(message, error),
            MintError::ParentEnded(ended) => Self::Ended(ended.message()),
            MintError::Store(error) => error.into(),
        }
    }
}
