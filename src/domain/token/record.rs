//! What is known of a token besides its secret, and what may be asked for in a new one.

use std::net::IpAddr;

use time::{Duration, OffsetDateTime};

use crate::domain::{
    ids::{OrganizationId, PrincipalId, TokenId},
    principal::PrincipalKind,
    text::{self, InvalidText},
};

/// The shortest that a token may be good for.
pub const SHORTEST_VALID_FOR: Duration = Duration::MINUTE;
/// The longest that a token may be good for.
pub const LONGEST_VALID_FOR: Duration = Duration::days(90);
/// How long a token is good for when the request does not say.
pub const DEFAULT_VALID_FOR: Duration = Duration::days(30);
/// The most characters of a description.
pub const DESCRIPTION_LIMIT: usize = 255;

/// When and from where a token was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUsed {
    /// When, to within some seconds.
    pub at: OffsetDateTime,
    /// The peer's address, if it is known.
    pub peer: Option<IpAddr>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Names it; public.
    pub id: TokenId,
    /// The organization of its principal.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub principal_id: PrincipalId,
    /// User or service account.
    pub principal_kind: PrincipalKind,
    /// Who made it: its principal, or an admin for a service account.
    pub creator_id: PrincipalId,
    /// User or service account.
    pub creator_kind: PrincipalKind,
    /// What its maker wrote of it.
    pub description: String,
    /// Whether it may call reads only.
    pub read_only: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: OffsetDateTime,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was last used, if ever.
    pub last_used: Option<LastUsed>,
}

/// Where a token is in its life, as lists part them; judged by PostgreSQL's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// Neither expired nor revoked.
    Active,
    /// Its time was over before anybody revoked it.
    Expired,
    /// It was revoked, whether its time is over by now or not.
    Revoked,
}

impl TokenState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Expired, Self::Revoked];
}

/// Why a token cannot be made, or changed, as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// The description is no line of 1 to 255 characters.
    #[error("{0}")]
    Description(InvalidText),
    /// Shorter than a minute, or longer than 90 days.
    #[error("must be between 1 minute and 90 days")]
    ValidFor,
}

/// What is written of a token, so that its holder knows it again; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDescription(String);

impl TokenDescription {
    /// Takes a line of 1 to [`DESCRIPTION_LIMIT`] characters.
    ///
    /// # Errors
    /// [`InvalidToken::Description`]
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        text::line(text, DESCRIPTION_LIMIT).map_err(InvalidToken::Description)?;
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is asked for in a new token; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateToken {
    description: TokenDescription,
    valid_for: Duration,
    read_only: bool,
}

impl CreateToken {
    /// Checks what is asked for. Without `valid_for` the token is good for [`DEFAULT_VALID_FOR`].
    ///
    /// # Errors
    /// [`InvalidToken`]
    pub fn new(description: &str, valid_for: Option<Duration>, read_only: bool) -> Result<Self, InvalidToken> {
        let description = TokenDescription::new(description)?;
        let valid_for = valid_for.unwrap_or(DEFAULT_VALID_FOR);
        if valid_for < SHORTEST_VALID_FOR || valid_for > LONGEST_VALID_FOR {
            return Err(InvalidToken::ValidFor);
        }
        Ok(Self { description, valid_for, read_only })
    }

    /// What its maker writes of it.
    #[must_use]
    pub fn description(&self) -> &str {
        self.description.as_str()
    }

    /// How long it is good for.
    #[must_use]
    pub const fn valid_for(&self) -> Duration {
        self.valid_for
    }

    /// Whether it may call reads only.
    #[must_use]
    pub const fn read_only(&self) -> bool {
        self.read_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_for_has_two_ends_and_a_default() {
        let valid_for = |asked| CreateToken::new("ci", asked, false).map(|token| token.valid_for());
        assert_eq!(valid_for(None), Ok(Duration::days(30)));
        assert_eq!(valid_for(Some(Duration::MINUTE)), Ok(Duration::MINUTE));
        assert_eq!(valid_for(Some(Duration::days(90))), Ok(Duration::days(90)));
        for bad in [Duration::ZERO, Duration::seconds(59), Duration::days(90) + Duration::NANOSECOND, -Duration::DAY] {
            assert_eq!(valid_for(Some(bad)), Err(InvalidToken::ValidFor), "{bad}");
        }
    }
}
