//! What admins look after: users, and service accounts.

pub(super) mod invitations;
pub(super) mod service_accounts;
pub(super) mod users;

use super::moment::Moment;
use crate::domain::{
    clock::{Clock, SystemClock},
    ids::PrincipalId,
    principal::{PrincipalRecord, PrincipalStatus, Role},
};

/// A principal on a page.
pub(super) struct Row {
    id: PrincipalId,
    name: String,
    email: Option<String>,
    role: &'static str,
    is_suspended: bool,
    created: Moment,
}

impl Row {
    fn new(record: PrincipalRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            email: record.email,
            role: match record.role {
                Role::Member => "member",
                Role::Admin => "admin",
                Role::Service => "may ask about tokens",
            },
            is_suspended: record.status == PrincipalStatus::Suspended,
            created: Moment::new(record.created_at, SystemClock.now()),
        }
    }
}
