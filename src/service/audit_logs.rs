//! Reading the audit log.

use super::ServiceError;
use crate::domain::{
    audit::{AuditEntry, AuditFilter},
    page::{Order, Page, PageRequest},
    principal::Actor,
};
use crate::store::Store;

/// The use cases of the audit log.
#[derive(Debug, Clone)]
pub struct AuditLogs {
    store: Store,
}

impl AuditLogs {
    /// On a store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of the log, in the order of time: the actor's own entries, or as an admin those of the organization.
    ///
    /// # Errors
    /// [`ServiceError`]: denied when a member asks for others'.
    pub async fn list(
        &self,
        actor: &Actor,
        mut filter: AuditFilter,
        order: Order,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>, ServiceError> {
        if !actor.is_admin() {
            if filter.actor_ids.iter().any(|id| *id != actor.principal_id) {
                return Err(ServiceError::Denied("only admins may read the entries of others".to_owned()));
            }
            filter.actor_ids = vec![actor.principal_id];
        }
        Ok(self.store.audit_list(actor.organization_id, &filter, order, page).await?)
    }
}
