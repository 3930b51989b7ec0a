//! Identifiers. Each names one kind of thing and cannot be taken for another.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that should have been an identifier and is not a UUID in its hyphenated form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a UUID")]
pub struct InvalidId;

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: UUIDv7, so that rows made together lie together.
            #[must_use]
            pub fn generate() -> Self {
                Self(new_uuid())
            }

            /// The identifier as PostgreSQL and the token body hold it.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }
    )*};
}

identifiers! {
    /// Names a personal access token in lists, audit logs and URLs; public.
    TokenId;
    /// Names an invitation.
    InvitationId;
    /// Names one try to sign in.
    SignInAttemptId;
    /// Names an environment token: a credential for one environment's operations.
    EnvironmentTokenId;
    /// Names a session of somebody in a browser; public.
    SessionId;
    /// Names a link that opens a session, once.
    SignInLinkId;
    /// Names a running server to the operator's commands.
    ServerId;
    /// Names what a program asked for that wants to act for somebody.
    LoginRequestId;
    /// Names a user or a service account.
    PrincipalId;
    /// Names an organization.
    OrganizationId;
    /// Names a development environment.
    EnvironmentId;
    /// Names an environment class.
    ClassId;
    /// Names a runner: what environments run on.
    RunnerId;
    /// Names a request in logs and audit entries.
    RequestId;
    /// Names an audit entry.
    AuditEntryId;
    /// Names a heartbeat, once, so that it is known again when it comes back.
    HeartbeatId;
}

impl TokenId {
    /// When the ID was made, in whole seconds of Unix time, by the clock of the server that made it; none if it is no UUIDv7.
    #[must_use]
    pub fn made_at(self) -> Option<u64> {
        made_at(self.0)
    }
}

impl SignInAttemptId {
    /// The same of a try to sign in.
    #[must_use]
    pub fn made_at(self) -> Option<u64> {
        made_at(self.0)
    }
}

fn made_at(uuid: Uuid) -> Option<u64> {
    (uuid.get_version() == Some(uuid::Version::SortRand))
        .then(|| uuid.get_timestamp())
        .flatten()
        .map(|timestamp| timestamp.to_unix().0)
}

#[expect(clippy::disallowed_methods, reason = "the one door through which identifiers are drawn")]
fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

/// Accepts the hyphenated form alone: one identifier, one spelling (but for the case of its letters).
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(InvalidId);
    }
    Uuid::try_parse(text).map_err(|_| InvalidId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_it_was_made() {
        let id: TokenId = "01932c07-209e-7000-8000-000000000000".parse().unwrap();
        assert_eq!(id.made_at(), Some(0x0193_2c07_209e / 1000));
        let random: TokenId = "01932c07-209e-4000-8000-000000000000".parse().unwrap();
        assert_eq!(random.made_at(), None);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_identifier() {
        let id = TokenId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for spelling in [id.uuid().simple().to_string(), id.uuid().braced().to_string(), id.uuid().urn().to_string()] {
            assert_eq!(spelling.parse::<TokenId>(), Err(InvalidId), "{spelling}");
        }
        assert_eq!("".parse::<TokenId>(), Err(InvalidId));
    }
}
