//! What is stored of a credential and whose it is, and whether it is good now.

use std::time::Duration;

use time::OffsetDateTime;

use super::clock::{is_expired, to_the_second};
use super::ids::{OrganizationId, PrincipalId};
use super::principal::{Credential, PrincipalKind, PrincipalStatus, Role};
use super::token::Digest;

/// What verification reads: a credential joined with its principal.
#[derive(Debug, Clone)]
pub struct StoredCredential {
    /// Which it is.
    pub credential: Credential,
    /// HMAC-SHA256 of its text.
    pub digest: Digest,
    /// When it ends; for one made from another, no later than that.
    pub expires_at: OffsetDateTime,
    /// When it, or what it was made from, was revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// The organization of its principal.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub principal_id: PrincipalId,
    /// User or service account.
    pub kind: PrincipalKind,
    /// What its principal may do.
    pub role: Role,
    /// Whether its principal may act.
    pub status: PrincipalStatus,
    /// PostgreSQL's time when it was read.
    pub read_at: OffsetDateTime,
    /// This machine's [time since it was started](super::clock::boot_time) at which all this was certainly so: before it was asked
    /// for, and for what is remembered, as of the last moment before which every change has been heard of.
    pub known_at: Duration,
}

/// What whoever has no good token is told, whatever is wrong: what is missing, and nothing that helps to guess.
pub const TOKEN_NEEDED: &str = "a valid token is needed: send 'authorization: Bearer TOKEN', with a personal access token \
                                that is whole, not revoked and not expired";

/// Why a credential that was good once is good no more. Said only to who proved to hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was revoked.
    Revoked(OffsetDateTime),
    /// Its time is over.
    Expired(OffsetDateTime),
    /// Its principal is suspended.
    Suspended,
}

impl Ended {
    /// One word for logs and the audit log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Revoked(_) => "revoked",
            Self::Expired(_) => "expired",
            Self::Suspended => "suspended",
        }
    }

    /// What its holder is told.
    #[must_use]
    pub fn message(self) -> String {
        match self {
            Self::Revoked(at) => format!("token revoked on {}; create a new one", to_the_second(at)),
            Self::Expired(at) => format!("token expired on {}; create a new one", to_the_second(at)),
            Self::Suspended => "the account of this token is suspended; ask an admin of your organization".to_owned(),
        }
    }
}

impl StoredCredential {
    /// Whether it is good at `now`.
    ///
    /// # Errors
    /// Why it is not.
    pub fn judge(&self, now: OffsetDateTime) -> Result<(), Ended> {
        if let Some(at) = self.revoked_at {
            return Err(Ended::Revoked(at));
        }
        if is_expired(self.expires_at, now) {
            return Err(Ended::Expired(self.expires_at));
        }
        match self.status {
            PrincipalStatus::Active => Ok(()),
            PrincipalStatus::Suspended => Err(Ended::Suspended),
        }
    }
}
