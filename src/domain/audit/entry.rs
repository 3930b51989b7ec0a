//! The log as it is read.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Outcome, Subject, SubjectType};
use crate::domain::{
    ids::{AuditEntryId, PrincipalId, RequestId, SessionId, TokenId},
    principal::PrincipalKind,
};

/// Who did something, as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// A user, or a service account.
    Principal(PrincipalId, PrincipalKind),
    /// Whoever may run `latchkey admin` on the server's machine, or may start the server.
    Operator,
    /// Nobody who is known.
    Stranger,
}

impl Doer {
    /// Who it is of those that are known.
    #[must_use]
    pub const fn principal(self) -> Option<(PrincipalId, PrincipalKind)> {
        match self {
            Self::Principal(id, kind) => Some((id, kind)),
            Self::Operator | Self::Stranger => None,
        }
    }
}

/// An entry of the log, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Names it.
    pub id: AuditEntryId,
    /// Who.
    pub actor: Doer,
    /// With which token.
    pub token_id: Option<TokenId>,
    /// In which session, if it was no token.
    pub session_id: Option<SessionId>,
    /// What, as [`Action::as_str`] has it.
    pub action: String,
    /// The full name of the RPC, or the command.
    pub rpc: String,
    /// To what.
    pub subject: Option<Subject>,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// Why it was refused; empty otherwise.
    pub reason: String,
    /// From where.
    pub peer: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Names the request; none for aggregated entries.
    pub request_id: Option<RequestId>,
    /// How many times; 1 but for aggregated entries.
    pub count: i64,
    /// When; the minute, for aggregated entries.
    pub created_at: OffsetDateTime,
}

/// Which entries are asked for. Empty lists ask for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// By whom.
    pub actor_ids: Vec<PrincipalId>,
    /// By what kind of principal.
    pub actor_kinds: Vec<PrincipalKind>,
    /// To what.
    pub subject_ids: Vec<Uuid>,
    /// To what kind of thing.
    pub subject_types: Vec<SubjectType>,
    /// From this time on.
    pub from: Option<OffsetDateTime>,
    /// Before this time.
    pub to: Option<OffsetDateTime>,
}
