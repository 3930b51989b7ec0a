//! Invitations to sign in, for the first time, as a user who is there.

use super::{ServiceError, only_admins};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    page::{Page, PageRequest},
    principal::Actor,
    sign_in::ProviderName,
};
use crate::store::{Invitation, Invited, NewInvitation, Store, Withdrawal};

/// What whoever is no admin is told.
const ADMINS: &str = "only admins may invite users";

/// The use cases of invitations: for admins alone.
#[derive(Debug, Clone)]
pub struct Invitations {
    store: Store,
}

impl Invitations {
    /// On a store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Invites somebody by an address that is one, to be a member, or what the user with that address is already.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins.
    pub async fn create(
        &self,
        actor: &Actor,
        provider: ProviderName,
        email: &str,
        rpc: &'static str,
    ) -> Result<Invited, ServiceError> {
        only_admins(actor, ADMINS)?;
        if !crate::domain::sign_in::is_address(email) {
            return Err(ServiceError::invalid("email", "must be an e-mail address"));
        }
        let new = NewInvitation {
            organization_id: actor.organization_id,
            provider,
            email: email.to_owned(),
            name: email.to_owned(),
            admin: false,
        };
        let invited = self.store.invitation_create(&new, &event(actor, Action::InvitationCreate, rpc)).await?;
        invited.ok_or_else(no_admin)
    }

    /// Takes an open invitation back.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins; not found if none is open.
    pub async fn withdraw(
        &self,
        actor: &Actor,
        provider: &ProviderName,
        email: &str,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        only_admins(actor, ADMINS)?;
        let event = event(actor, Action::InvitationWithdraw, rpc);
        match self.store.invitation_withdraw(actor.organization_id, provider, email, &event).await? {
            Withdrawal::Withdrawn => Ok(()),
            Withdrawal::NotFound => Err(ServiceError::not_found("open invitation", email)),
            Withdrawal::ActorNoAdmin => Err(no_admin()),
        }
    }

    /// A page of those that are open, newest first.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins.
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<Invitation>, ServiceError> {
        only_admins(actor, ADMINS)?;
        Ok(self.store.invitation_list(actor.organization_id, page).await?)
    }
}

/// The call was let in just before.
fn no_admin() -> ServiceError {
    ServiceError::Denied("you are no admin any more".to_owned())
}

/// Its subject is replaced by whom each thing is done to.
fn event(actor: &Actor, action: Action, rpc: &'static str) -> AuditEvent {
    let subject = Subject { subject_type: SubjectType::Organization, id: actor.organization_id.uuid() };
    AuditEvent::of(actor, action, rpc, subject)
}
