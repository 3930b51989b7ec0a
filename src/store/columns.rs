//! Between the texts of columns and the types of the domain.

use std::net::IpAddr;

use ipnet::IpNet;

use super::StoreError;
use crate::domain::{
    audit::{Outcome, SubjectType},
    environment::{DesiredPhase, Phase},
    principal::{PrincipalKind, PrincipalStatus, Role},
    token::Generation,
};

pub(super) fn principal_kind(text: &str) -> Result<PrincipalKind, StoreError> {
    match text {
        "user" => Ok(PrincipalKind::User),
        "service_account" => Ok(PrincipalKind::ServiceAccount),
        other => Err(unknown("principals.kind", other)),
    }
}

pub(super) const fn principal_kind_text(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServiceAccount => "service_account",
    }
}

pub(super) fn role(text: &str) -> Result<Role, StoreError> {
    match text {
        "member" => Ok(Role::Member),
        "admin" => Ok(Role::Admin),
        "service" => Ok(Role::Service),
        other => Err(unknown("principals.role", other)),
    }
}

pub(super) const fn role_text(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Service => "service",
    }
}

pub(super) fn status(text: &str) -> Result<PrincipalStatus, StoreError> {
    match text {
        "active" => Ok(PrincipalStatus::Active),
        "suspended" => Ok(PrincipalStatus::Suspended),
        other => Err(unknown("principals.status", other)),
    }
}

pub(super) const fn status_text(status: PrincipalStatus) -> &'static str {
    match status {
        PrincipalStatus::Active => "active",
        PrincipalStatus::Suspended => "suspended",
    }
}

pub(super) fn phase(text: &str) -> Result<Phase, StoreError> {
    Phase::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or_else(|| unknown("environments.phase", text))
}

pub(super) fn desired_phase(text: &str) -> Result<DesiredPhase, StoreError> {
    DesiredPhase::ALL
        .into_iter()
        .find(|phase| phase.as_str() == text)
        .ok_or_else(|| unknown("environments.desired_phase", text))
}

/// None for a kind that a newer server has written, beside this one or before it: the log stays as it is.
pub(super) fn subject_type(text: &str) -> Option<SubjectType> {
    SubjectType::ALL.into_iter().find(|subject_type| subject_type.as_str() == text)
}

pub(super) fn outcome(text: &str) -> Result<Outcome, StoreError> {
    match text {
        "succeeded" => Ok(Outcome::Succeeded),
        "denied" => Ok(Outcome::Denied),
        other => Err(unknown("audit_logs.outcome", other)),
    }
}

pub(super) fn unknown(column: &str, text: &str) -> StoreError {
    StoreError::Corrupt(format!("{column} is {text:?}"))
}

pub(super) fn digest(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|bytes: Vec<u8>| StoreError::Corrupt(format!("a digest of {} bytes", bytes.len())))
}

/// An address as PostgreSQL's `inet` has it; IPv4 addresses in IPv6 clothes are undressed.
pub(super) fn inet(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

pub(super) fn generation(number: i16) -> Result<Generation, StoreError> {
    u8::try_from(number)
        .map(Generation::new)
        .map_err(|_| StoreError::Corrupt(format!("signing_keys.generation is {number}")))
}
