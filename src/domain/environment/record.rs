//! What is known of an environment and of a class of them.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Content, DesiredPhase, Phase, Progress};
use crate::domain::{
    ids::{ClassId, EnvironmentId, OrganizationId, PrincipalId, RunnerId, TokenId},
    principal::PrincipalKind,
};

/// The most characters of an environment's name.
pub const NAME_LIMIT: usize = 80;
/// The most characters of a session ID.
pub const SESSION_ID_LIMIT: usize = 255;
/// The most characters of a failure message.
pub const FAILURE_MESSAGE_LIMIT: usize = 1000;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Names it.
    pub id: EnvironmentId,
    /// Whose members may see it.
    pub organization_id: OrganizationId,
    /// Who made it.
    pub creator_id: PrincipalId,
    /// User or service account.
    pub creator_kind: PrincipalKind,
    /// What it runs on.
    pub runner_id: RunnerId,
    /// How much it may use.
    pub class_id: ClassId,
    /// What people call it.
    pub name: String,
    /// What it was made from.
    pub content: Content,
    /// Where it should be.
    pub desired_phase: DesiredPhase,
    /// Where it is.
    pub phase: Phase,
    /// Counts the changes of mind: every write of a phase names the epoch it was decided on.
    pub epoch: i64,
    /// Counts the changes of what is seen.
    pub status_version: i64,
    /// Whether its files have come.
    pub content_ready: bool,
    /// The branch checked out.
    pub branch: Option<String>,
    /// The commit checked out, in hexadecimal digits.
    pub commit: Option<String>,
    /// What went wrong, last.
    pub failure_message: Option<String>,
    /// What does not hold as it should.
    pub warning_message: Option<String>,
    /// The client's own notes, as they came.
    pub annotations: BTreeMap<String, String>,
    /// The session that the client says it belongs to; empty for none.
    pub session_id: String,
    /// What it fills of the disk, as it was last counted.
    pub disk_bytes: i64,
    /// How far its files have come, while this server fetches them; nowhere stored.
    pub progress: Option<Progress>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it last came to run.
    pub last_started_at: Option<OffsetDateTime>,
    /// When it was put aside; none while it is not.
    pub archived_at: Option<OffsetDateTime>,
}

/// What is asked for in a new environment; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnvironment {
    /// Names it.
    pub id: EnvironmentId,
    /// Whose members may see it.
    pub organization_id: OrganizationId,
    /// Who makes it.
    pub creator_id: PrincipalId,
    /// With which token.
    pub created_by_token_id: TokenId,
    /// The class asked for; none for the default one.
    pub class_id: Option<ClassId>,
    /// Whose default class it is rather than another runner's: that of the server that was asked.
    pub preferred_runner: Option<RunnerId>,
    /// What people call it.
    pub name: String,
    /// What it is made from.
    pub content: Content,
    /// Where it should be: running or stopped.
    pub desired_phase: DesiredPhase,
    /// The client's own notes.
    pub annotations: BTreeMap<String, String>,
    /// The session that the client says it belongs to; empty for none.
    pub session_id: String,
}

/// Which environments are asked for. Empty lists ask for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvironmentFilter {
    /// On which runners.
    pub runner_ids: Vec<RunnerId>,
    /// In which phases.
    pub phases: Vec<Phase>,
    /// By whom.
    pub creator_ids: Vec<PrincipalId>,
    /// Of which sessions.
    pub session_ids: Vec<String>,
    /// Made before this time.
    pub created_before: Option<OffsetDateTime>,
    /// Whose name or context URL contains this text.
    pub search: String,
    /// Archived ones alone, or those alone that are not.
    pub archived: Option<bool>,
}

/// By which time environments are listed, and then by ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentTime {
    /// When they were made.
    Creation,
    /// When they were archived; those alone that are.
    Archival,
}

impl EnvironmentTime {
    /// When this was, if it was.
    #[must_use]
    pub const fn of(self, environment: &Environment) -> Option<OffsetDateTime> {
        match self {
            Self::Creation => Some(environment.created_at),
            Self::Archival => environment.archived_at,
        }
    }
}
