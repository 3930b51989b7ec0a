//! Service accounts: programs of the organization, which admins look after.

use super::{ServiceError, only_admins};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::PrincipalId,
    page::{Page, PageRequest},
    principal::{Actor, PrincipalKind, PrincipalRecord, Role},
    text,
};
use crate::store::{NewServiceAccount, Store};

/// What whoever is no admin is told.
const ADMINS: &str = "service accounts are for admins";

/// The use cases of service accounts.
#[derive(Debug, Clone)]
pub struct ServiceAccounts {
    store: Store,
}

impl ServiceAccounts {
    /// On a store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of those of the admin's organization, newest first.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins.
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<PrincipalRecord>, ServiceError> {
        only_admins(actor, ADMINS)?;
        Ok(self.store.principal_list(actor.organization_id, PrincipalKind::ServiceAccount, page).await?)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins; not found for users, and for those of another organization.
    pub async fn get(&self, actor: &Actor, id: PrincipalId) -> Result<PrincipalRecord, ServiceError> {
        only_admins(actor, ADMINS)?;
        let found = self.store.principal_get(actor.organization_id, id).await?;
        let found = found.filter(|found| found.kind == PrincipalKind::ServiceAccount);
        found.ok_or_else(|| ServiceError::not_found("service account", id))
    }

    /// Adds one; with `asks`, one that may ask about others' tokens.
    ///
    /// # Errors
    /// [`ServiceError`]: denied to all but admins; invalid for a name that is no line of 1 to 255 characters.
    pub async fn create(
        &self,
        actor: &Actor,
        name: &str,
        asks: bool,
        rpc: &'static str,
    ) -> Result<PrincipalId, ServiceError> {
        only_admins(actor, ADMINS)?;
        text::line(name, 255).map_err(|problem| ServiceError::invalid("name", problem))?;
        let id = PrincipalId::generate();
        let role = if asks { Role::Service } else { Role::Member };
        let new = NewServiceAccount { id, organization_id: actor.organization_id, name: name.to_owned(), role };
        let subject = Subject { subject_type: SubjectType::ServiceAccount, id: id.uuid() };
        let event = AuditEvent::of(actor, Action::ServiceAccountCreate, rpc, subject);
        if self.store.service_account_create(&new, &event).await? {
            Ok(id)
        } else {
            Err(ServiceError::Denied("you are no admin any more".to_owned()))
        }
    }
}
