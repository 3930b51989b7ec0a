//! Who acts: users and service accounts, their roles, and the credential an act came with.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    ids::{EnvironmentId, EnvironmentTokenId, OrganizationId, PrincipalId, RequestId, SessionId, TokenId},
    token::CredentialKind,
};

/// What kind of principal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program of the organization.
    ServiceAccount,
}

/// What a principal may do in its organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Manages what is its own.
    Member,
    /// Manages what is the organization's.
    Admin,
    /// May ask about others' tokens; service accounts only.
    Service,
}

/// Whether a principal may act at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalStatus {
    /// It may.
    Active,
    /// An admin has suspended it; its tokens are refused.
    Suspended,
}

/// A principal, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalRecord {
    /// Names it.
    pub id: PrincipalId,
    /// The organization it belongs to.
    pub organization_id: OrganizationId,
    /// User or service account.
    pub kind: PrincipalKind,
    /// What it may do.
    pub role: Role,
    /// Whether it may act.
    pub status: PrincipalStatus,
    /// What people call it.
    pub name: String,
    /// A user's address.
    pub email: Option<String>,
    /// When it was added.
    pub created_at: OffsetDateTime,
}

impl PrincipalRecord {
    /// Whether it may do what admins do: being one is not enough for who is suspended.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.role == Role::Admin && self.status == PrincipalStatus::Active
    }
}

/// The credential with which a principal was recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A personal access token.
    PersonalAccessToken {
        /// Which.
        id: TokenId,
        /// Whether it may call reads only.
        read_only: bool,
    },
    /// A token for the operations of one environment.
    EnvironmentToken {
        /// Which.
        id: EnvironmentTokenId,
        /// The environment it is good for.
        environment_id: EnvironmentId,
        /// The personal access token it was made with, and dies with.
        parent: TokenId,
    },
    /// A session of somebody in a browser.
    Session {
        /// Which.
        id: SessionId,
    },
}

impl Credential {
    /// What it is stored under.
    #[must_use]
    pub const fn key(self) -> (CredentialKind, Uuid) {
        match self {
            Self::PersonalAccessToken { id, .. } => (CredentialKind::PersonalAccessToken, id.uuid()),
            Self::EnvironmentToken { id, .. } => (CredentialKind::EnvironmentToken, id.uuid()),
            Self::Session { id } => (CredentialKind::Session, id.uuid()),
        }
    }

    /// The personal access token behind the credential, if there is one: what audit entries refer to.
    #[must_use]
    pub const fn token_id(self) -> Option<TokenId> {
        match self {
            Self::PersonalAccessToken { id, .. } => Some(id),
            Self::EnvironmentToken { parent, .. } => Some(parent),
            Self::Session { .. } => None,
        }
    }

    /// The session that it is, if it is one: what audit entries refer to otherwise.
    #[must_use]
    pub const fn session_id(self) -> Option<SessionId> {
        match self {
            Self::Session { id } => Some(id),
            Self::PersonalAccessToken { .. } | Self::EnvironmentToken { .. } => None,
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer's address; none for the operator's command line.
    pub peer: Option<IpAddr>,
    /// What the client calls itself, cleaned and cut to 255 characters.
    pub user_agent: Option<Arc<str>>,
    /// Names the request in logs and in the answer.
    pub request_id: RequestId,
}

impl Origin {
    /// Of the operator's command line: no peer.
    #[must_use]
    pub fn of_operator() -> Self {
        Self { peer: None, user_agent: None, request_id: RequestId::generate() }
    }
}

/// The network that one peer has most likely for itself: an IPv6 /64, or an IPv4 address.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The network that one organization has most likely for itself: an IPv6 /48, or an IPv4 address.
#[must_use]
pub fn wider_network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into(),
    }
}

/// A principal that acts, with everything an audit entry says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The organization it belongs to.
    pub organization_id: OrganizationId,
    /// Who it is.
    pub principal_id: PrincipalId,
    /// User or service account.
    pub kind: PrincipalKind,
    /// What it may do.
    pub role: Role,
    /// What it was recognized by.
    pub credential: Credential,
    /// Where the request came from.
    pub origin: Origin,
}

impl Actor {
    /// Whether it may act on what belongs to others of its organization.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}
