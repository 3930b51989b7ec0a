//! Who the caller is, and who may act.

use std::{collections::HashMap, sync::Arc};

use super::{Internal, ServiceError, only_admins};
use crate::auth::Cache;
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    credential::Ended,
    ids::{OrganizationId, PrincipalId},
    page::{Page, PageRequest},
    principal::{Actor, PrincipalKind, PrincipalRecord},
};
use crate::store::{Store, Suspension};

/// Whom a caller is verified as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub principal_id: PrincipalId,
    /// User or service account.
    pub kind: PrincipalKind,
    /// Where it belongs.
    pub organization_id: OrganizationId,
}

/// The use cases of users.
#[derive(Debug, Clone)]
pub struct Users {
    store: Store,
    cache: Arc<Cache>,
}

impl Users {
    /// On a store. The tokens of who is suspended here, the cache forgets at once.
    #[must_use]
    pub const fn new(store: Store, cache: Arc<Cache>) -> Self {
        Self { store, cache }
    }

    /// Whom the actor was verified as.
    #[must_use]
    pub const fn identity(actor: &Actor) -> Identity {
        Identity { principal_id: actor.principal_id, kind: actor.kind, organization_id: actor.organization_id }
    }

    /// The actor's own user.
    ///
    /// # Errors
    /// [`ServiceError`]: a precondition for service accounts, which are no users.
    pub async fn own(&self, actor: &Actor) -> Result<PrincipalRecord, ServiceError> {
        match actor.kind {
            PrincipalKind::User => {}
            PrincipalKind::ServiceAccount => {
                return Err(ServiceError::Precondition(
                    "a service account is no user; ask IdentityService.GetAuthenticatedIdentity".to_owned(),
                ));
            }
        }
        self.store
            .principal_get(actor.organization_id, actor.principal_id)
            .await?
            .ok_or_else(|| ServiceError::Internal(Internal::new("a verified principal has no row")))
    }

    /// A user of the actor's organization.
    ///
    /// # Errors
    /// [`ServiceError`]: not found for service accounts, which are no users, and for those of another organization.
    pub async fn get(&self, actor: &Actor, id: PrincipalId) -> Result<PrincipalRecord, ServiceError> {
        let found = self.store.principal_get(actor.organization_id, id).await?;
        found.filter(|found| found.kind == PrincipalKind::User).ok_or_else(|| ServiceError::not_found("user", id))
    }

    /// A page of the users of the admin's organization, newest first.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins.
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<PrincipalRecord>, ServiceError> {
        only_admins(actor, "only admins may list users")?;
        Ok(self.store.principal_list(actor.organization_id, PrincipalKind::User, page).await?)
    }

    /// A user whom the admin looks after.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins; not found as by [`get`](Self::get).
    pub async fn look_after(&self, actor: &Actor, id: PrincipalId) -> Result<PrincipalRecord, ServiceError> {
        only_admins(actor, "only admins look after users")?;
        self.get(actor, id).await
    }

    /// What people call these principals of the actor's organization, service accounts too, as far as they are there.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn names(
        &self,
        actor: &Actor,
        ids: &[PrincipalId],
    ) -> Result<HashMap<PrincipalId, String>, ServiceError> {
        Ok(self.store.principal_names(actor.organization_id, ids).await?)
    }

    /// Suspends a user of the admin's organization and stops what runs of theirs, or lets them act again.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins; not found for service accounts, which are no users; a precondition for
    /// the last admin who can act.
    pub async fn set_suspended(
        &self,
        actor: &Actor,
        id: PrincipalId,
        suspended: bool,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        only_admins(actor, "only admins may suspend users")?;
        let action = if suspended { Action::UserSuspend } else { Action::UserUnsuspend };
        let event = AuditEvent::of(actor, action, rpc, Subject { subject_type: SubjectType::User, id: id.uuid() });
        let organization = actor.organization_id;
        let outcome = self.store.user_suspend(organization, actor.principal_id, id, suspended, &event).await;
        if matches!(outcome, Ok(Suspension::Changed | Suspension::Already) | Err(_)) {
            // Before anybody is told of it, also if it was done elsewhere and has not been heard of here yet; and if it is not known
            // what came of it, it may have come to pass.
            self.cache.forget_principal(id);
        }
        match outcome? {
            Suspension::Changed | Suspension::Already => Ok(()),
            Suspension::LastAdmin => {
                Err(ServiceError::Precondition("this is the last admin who can act; make another one first".to_owned()))
            }
            Suspension::ActorSuspended => Err(ServiceError::Ended(Ended::Suspended.message())),
            Suspension::NotFound => Err(ServiceError::not_found("user", id)),
        }
    }
}
