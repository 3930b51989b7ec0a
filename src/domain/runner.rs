//! Runners: what environments run on.

use time::OffsetDateTime;

use crate::domain::ids::RunnerId;

/// A runner, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Names it.
    pub id: RunnerId,
    /// What people call it.
    pub name: String,
    /// When it became known.
    pub created_at: OffsetDateTime,
}
