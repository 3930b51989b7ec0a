//! The use cases, one file a noun. They know neither protocol nor SQL; who acts is handed in, verified.

mod audit_logs;
mod credential_changes;
mod credentials;
mod environments;
mod error;
mod events;
mod introspection;
mod invitations;
mod login_requests;
mod proxied;
mod recorder;
mod revocation;
mod runners;
mod service_accounts;
mod sessions;
mod sign_in_links;
mod sign_ins;
mod signing_keys;
mod standing;
mod tokens;
mod users;

pub use audit_logs::AuditLogs;
pub use credential_changes::CredentialChanges;
pub use credentials::StoredCredentials;
pub use environments::{CreateEnvironment, Environments, default_classes};
pub use error::{Internal, ServiceError};
pub use events::{Events, Watching};
pub use introspection::{ActiveToken, Introspection, Verdict};
pub use invitations::Invitations;
pub use login_requests::{Login, LoginBegin, LoginRequests};
pub use proxied::{Admitted, ProxiedRequest, ProxiedRequests};
pub use recorder::{Backlog, QueuedRecorder};
pub use revocation::{Revocation, Revocations};
pub use runners::Runners;
pub use service_accounts::ServiceAccounts;
pub use sessions::Sessions;
pub use sign_in_links::SignInLinks;
pub use sign_ins::{Begin, ResumeError, SignInOutcome, SignInParts, SignIns, TakeUp};
pub use signing_keys::{KeyCheckError, check_signing_keys};
pub use standing::Standing;
pub use tokens::{CreatedOnce, CreatedToken, Tokens};
pub use users::{Identity, Users};

use crate::domain::principal::Actor;

/// Lets admins pass alone.
fn only_admins(actor: &Actor, told: &str) -> Result<(), ServiceError> {
    if actor.is_admin() { Ok(()) } else { Err(ServiceError::Denied(told.to_owned())) }
}
