//! Sessions: how somebody who signed in with a browser is known again.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::ids::SessionId;

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// At the most.
    pub lifetime: Duration,
    /// Without use.
    pub idle: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self { lifetime: Duration::from_secs(7 * 24 * HOUR), idle: Duration::from_secs(12 * HOUR) }
    }
}

/// A session that is good now, without what its cookie holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names it; public.
    pub id: SessionId,
    /// How somebody signed in: `link`, or the name of an OpenID provider.
    pub signed_in_by: String,
    /// When somebody signed in.
    pub created_at: OffsetDateTime,
    /// When it ends, if it is not used before.
    pub expires_at: OffsetDateTime,
    /// When it was last used, to within a minute.
    pub last_used_at: OffsetDateTime,
    /// From where.
    pub peer: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}
