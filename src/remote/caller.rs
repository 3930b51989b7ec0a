//! The proof that somebody was verified.

use time::OffsetDateTime;

use crate::{
    domain::{
        ids::{OrganizationId, PrincipalId, TokenId},
        principal::PrincipalKind,
    },
    pb::gitpod::v1::{Principal, TokenIntrospection},
};

/// Whose token a request came with, as Latchkey says. Nothing but this module makes one: whoever holds one need not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    token_id: TokenId,
    principal_id: PrincipalId,
    kind: PrincipalKind,
    organization_id: OrganizationId,
    read_only: bool,
    expires_at: OffsetDateTime,
}

impl Caller {
    /// Names the token; not a secret.
    #[must_use]
    pub const fn token_id(&self) -> TokenId {
        self.token_id
    }

    /// Who acts with it.
    #[must_use]
    pub const fn principal_id(&self) -> PrincipalId {
        self.principal_id
    }

    /// Whether that is a user or a service account.
    #[must_use]
    pub const fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// Whose organization that is.
    #[must_use]
    pub const fn organization_id(&self) -> OrganizationId {
        self.organization_id
    }

    /// Whether the token may but read.
    #[must_use]
    pub const fn read_only(&self) -> bool {
        self.read_only
    }

    /// When the token ends, if it is not revoked before.
    #[must_use]
    pub const fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// What Latchkey said of an active token; none if something is missing in it.
    pub(super) fn of(said: &TokenIntrospection) -> Option<Self> {
        let subject = said.subject.as_ref()?;
        let kind = match subject.principal() {
            Principal::User => PrincipalKind::User,
            Principal::ServiceAccount => PrincipalKind::ServiceAccount,
            Principal::Unspecified
            | Principal::Account
            | Principal::Runner
            | Principal::Environment
            | Principal::RunnerManager => return None,
        };
        let expires_at = said.expires_at?;
        Some(Self {
            token_id: said.token_id.parse().ok()?,
            principal_id: subject.id.parse().ok()?,
            kind,
            organization_id: said.organization_id.parse().ok()?,
            read_only: said.read_only,
            expires_at: OffsetDateTime::from_unix_timestamp(expires_at.seconds).ok()?,
        })
    }
}
