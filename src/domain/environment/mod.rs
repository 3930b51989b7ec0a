//! Development environments: what they are made from, and where they are in their life.

mod class;
mod content;
mod limits;
mod phase;
mod progress;
mod record;

pub use class::{ClassFilter, ClassKey, EnvironmentClass};
pub use content::{Content, GitSource, GitTarget, InvalidContent, InvalidSource};
pub use limits::{Allowance, EnvironmentLimits, LimitKind, LimitReached, LimitScope};
pub use phase::{DesiredPhase, Phase};
pub use progress::{Progress, ProgressStep};
pub use record::{
    Environment, EnvironmentFilter, EnvironmentTime, FAILURE_MESSAGE_LIMIT, NAME_LIMIT, NewEnvironment,
    SESSION_ID_LIMIT,
};
