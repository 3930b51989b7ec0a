//! How many environments there may be: of one user (or service account), and of an organization.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::domain::size::described;

/// How much there may be in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentLimits {
    /// Of one creator.
    pub user: Allowance,
    /// Of all creators of an organization together.
    pub organization: Allowance,
}

/// What environments may add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Those that exist, in whatever phase: one that is being deleted has its files until it is gone.
    pub existing: u32,
    /// Those that are to run.
    pub running: u32,
    /// Bytes of disk that they fill, as they were last counted, when one more is made or started.
    pub disk_bytes: u64,
}

impl Default for EnvironmentLimits {
    /// Of a user: more than anybody looks after, few enough that a script that runs wild is noticed by its owner first; and ten
    /// small environments that are full. Of an organization: what one machine can hold at rest, and what it can run.
    fn default() -> Self {
        Self {
            user: Allowance { existing: 50, running: 20, disk_bytes: 100 << 30 },
            organization: Allowance { existing: 1000, running: 200, disk_bytes: 1 << 40 },
        }
    }
}

/// Whose environments add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// Those of one creator.
    User,
    /// Those of an organization.
    Organization,
}

/// A limit that one more environment would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    /// Whose.
    pub scope: LimitScope,
    /// Of what.
    pub kind: LimitKind,
    /// How much there is: more than the limit, if that was lowered.
    pub found: u64,
    /// How much there may be.
    pub limit: u64,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Environments that exist.
    Existing,
    /// Environments that are to run.
    Running,
    /// Bytes of disk.
    Disk,
}

impl fmt::Display for LimitReached {
    /// Says which limit it is, and how to get below it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, limit, .. } = self;
        match (self.kind, self.scope) {
            (LimitKind::Existing, LimitScope::User) => write!(
                formatter,
                "you have {found} environments, and a user may have {limit}; delete one, and wait until it is gone"
            ),
            (LimitKind::Existing, LimitScope::Organization) => write!(
                formatter,
                "your organization has {found} environments, and may have {limit}; delete one that nobody needs, and wait \
                 until it is gone, or ask your operator for more"
            ),
            // An admin may start somebody else's.
            (LimitKind::Running, LimitScope::User) => write!(
                formatter,
                "{found} environments of the same user are running or are to run, and {limit} may at once; stop one of \
                 them first"
            ),
            (LimitKind::Running, LimitScope::Organization) => write!(
                formatter,
                "{found} environments of your organization are running or are to run, and {limit} may at once; stop one \
                 that nobody needs, or ask your operator for more"
            ),
            (LimitKind::Disk, LimitScope::User) => write!(
                formatter,
                "the environments of the same user fill {} of the disk, and may fill {}; delete one of them, and wait until it \
                 is gone",
                described(*found),
                described(*limit)
            ),
            (LimitKind::Disk, LimitScope::Organization) => write!(
                formatter,
                "the environments of your organization fill {} of the disk, and may fill {}; delete one that nobody needs, and \
                 wait until it is gone, or ask your operator for more",
                described(*found),
                described(*limit)
            ),
        }
    }
}
