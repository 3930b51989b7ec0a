//! Between messages and the domain.

use std::str::FromStr;

use prost_types::{Duration, Timestamp};
use time::OffsetDateTime;

use crate::domain::{
    audit::{AuditEntry, Outcome, SubjectType},
    ids::PrincipalId,
    page::{InvalidPage, Key, Order, Page, PageRequest},
    principal::{PrincipalKind, PrincipalRecord, PrincipalStatus},
    token::Token,
};
use crate::pb::gitpod::v1 as pb;
use crate::service::ServiceError;

/// The most IDs in one list of a filter.
pub(super) const MAX_IDS: usize = 100;

/// Reads an ID.
pub(super) fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T, ServiceError> {
    text.parse().map_err(|_| ServiceError::Invalid { field, problem: "is not a UUID".to_owned() })
}

/// Reads an ID that may be missing.
pub(super) fn optional_id<T: FromStr>(field: &'static str, text: &str) -> Result<Option<T>, ServiceError> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// Reads a list of IDs.
pub(super) fn ids<T: FromStr>(field: &'static str, texts: &[String]) -> Result<Vec<T>, ServiceError> {
    if texts.len() > MAX_IDS {
        let problem = format!("has {} IDs, the most are {MAX_IDS}", texts.len());
        return Err(ServiceError::Invalid { field, problem });
    }
    texts.iter().map(|text| id(field, text)).collect()
}

/// Reads a list of numbers of an enum, each once: a request can say the same a million times.
pub(super) fn distinct<T: PartialEq>(
    numbers: &[i32],
    read: impl Fn(i32) -> Result<T, ServiceError>,
) -> Result<Vec<T>, ServiceError> {
    let mut found = Vec::new();
    for number in numbers {
        let one = read(*number)?;
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

pub(super) fn page_request<K: Key>(pagination: Option<pb::PaginationRequest>) -> Result<PageRequest<K>, ServiceError> {
    let Some(pagination) = pagination else { return Ok(PageRequest::first()) };
    PageRequest::parse(pagination.page_size, &pagination.token).map_err(|problem| ServiceError::Invalid {
        field: match problem {
            InvalidPage::NegativeSize => "pagination.page_size",
            InvalidPage::UnknownToken => "pagination.token",
        },
        problem: problem.to_string(),
    })
}

/// The entries of a page as messages, and where the next page begins.
pub(super) fn page<T, K: Key, M>(
    page: Page<T, K>,
    message: impl Fn(T) -> M,
) -> (Vec<M>, Option<pb::PaginationResponse>) {
    let next_token = page.next.as_ref().map(Key::token).unwrap_or_default();
    (page.entries.into_iter().map(message).collect(), Some(pb::PaginationResponse { next_token }))
}

/// Which way a list goes: newest first, if nothing is said.
pub(super) fn order(number: i32) -> Result<Order, ServiceError> {
    match pb::SortOrder::try_from(number) {
        Ok(pb::SortOrder::Unspecified | pb::SortOrder::Desc) => Ok(Order::Descending),
        Ok(pb::SortOrder::Asc) => Ok(Order::Ascending),
        Err(_) => Err(ServiceError::Invalid {
            field: "sort.order",
            problem: "is no known order; use SORT_ORDER_ASC or SORT_ORDER_DESC".to_owned(),
        }),
    }
}

/// How many there are on all pages together.
pub(super) fn count(number: i64) -> pb::CountResponse {
    match i32::try_from(number) {
        Ok(value) => pb::CountResponse { value, relation: pb::CountResponseRelation::Eq.into() },
        Err(_) => pb::CountResponse { value: i32::MAX, relation: pb::CountResponseRelation::Gte.into() },
    }
}

pub(super) fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: at.unix_timestamp(),
        nanos: i32::try_from(at.nanosecond()).expect("a second has fewer nanoseconds than an i32 holds"),
    }
}

pub(super) fn time(field: &'static str, at: Timestamp) -> Result<OffsetDateTime, ServiceError> {
    let in_range = (0..1_000_000_000).contains(&at.nanos);
    OffsetDateTime::from_unix_timestamp(at.seconds)
        .ok()
        .filter(|_| in_range)
        .and_then(|time| time.checked_add(::time::Duration::nanoseconds(at.nanos.into())))
        .filter(|time| time.year() >= 1)
        .ok_or(ServiceError::Invalid { field, problem: "is not a time between the years 1 and 9999".to_owned() })
}

/// Reads a duration: seconds and nanoseconds of one sign, as its definition demands.
pub(super) fn duration(field: &'static str, duration: Duration) -> Result<::time::Duration, ServiceError> {
    let in_range = (-999_999_999..=999_999_999).contains(&duration.nanos)
        && (duration.seconds == 0 || duration.nanos == 0 || (duration.seconds > 0) == (duration.nanos > 0));
    if in_range {
        Ok(::time::Duration::new(duration.seconds, duration.nanos))
    } else {
        Err(ServiceError::Invalid { field, problem: "is not a duration".to_owned() })
    }
}

pub(super) fn subject(id: PrincipalId, kind: PrincipalKind) -> pb::Subject {
    pb::Subject { id: id.to_string(), principal: principal(kind).into() }
}

pub(super) const fn principal(kind: PrincipalKind) -> pb::Principal {
    match kind {
        PrincipalKind::User => pb::Principal::User,
        PrincipalKind::ServiceAccount => pb::Principal::ServiceAccount,
    }
}

pub(super) fn token(token: Token) -> pb::PersonalAccessToken {
    pb::PersonalAccessToken {
        id: token.id.to_string(),
        user_id: token.principal_id.to_string(),
        description: token.description,
        creator: Some(subject(token.creator_id, token.creator_kind)),
        created_at: Some(timestamp(token.created_at)),
        expires_at: Some(timestamp(token.expires_at)),
        last_used: token.last_used.map(|last| timestamp(last.at)),
        read_only: token.read_only,
    }
}

pub(super) fn user(record: PrincipalRecord) -> pb::User {
    let status = match record.status {
        PrincipalStatus::Active => pb::UserStatus::Active,
        PrincipalStatus::Suspended => pb::UserStatus::Suspended,
    };
    pb::User {
        id: record.id.to_string(),
        organization_id: record.organization_id.to_string(),
        name: record.name,
        avatar_url: String::new(),
        created_at: Some(timestamp(record.created_at)),
        status: status.into(),
        email: record.email.unwrap_or_default(),
    }
}

/// How the contract names what kind of thing something was done to.
pub(super) const SUBJECT_TYPES: [(SubjectType, pb::ResourceType); 7] = [
    (SubjectType::PersonalAccessToken, pb::ResourceType::PersonalAccessToken),
    (SubjectType::Environment, pb::ResourceType::Environment),
    (SubjectType::User, pb::ResourceType::User),
    (SubjectType::ServiceAccount, pb::ResourceType::ServiceAccount),
    (SubjectType::Organization, pb::ResourceType::Organization),
    (SubjectType::Session, pb::ResourceType::Session),
    (SubjectType::LoginRequest, pb::ResourceType::LoginRequest),
];

pub(super) fn audit_entry(entry: AuditEntry) -> pb::list_audit_logs_response::AuditLogEntry {
    let subject_type = entry.subject.map_or(pb::ResourceType::Unspecified, |subject| {
        SUBJECT_TYPES
            .iter()
            .find(|(known, _)| *known == subject.subject_type)
            .map_or(pb::ResourceType::Unspecified, |(_, resource)| *resource)
    });
    let changes = entry.subject.is_some() && entry.outcome == Outcome::Succeeded;
    let kind = if changes { pb::AuditLogEntryKind::ResourceChange } else { pb::AuditLogEntryKind::CredentialAccess };
    pb::list_audit_logs_response::AuditLogEntry {
        id: entry.id.to_string(),
        actor_id: entry.actor.principal().map(|(id, _)| id.to_string()).unwrap_or_default(),
        actor_principal: entry.actor.principal().map_or(pb::Principal::Unspecified, |(_, kind)| principal(kind)).into(),
        subject_id: entry.subject.map(|subject| subject.id.to_string()).unwrap_or_default(),
        subject_type: subject_type.into(),
        action: entry.action,
        created_at: Some(timestamp(entry.created_at)),
        kind: kind.into(),
        token_id: entry.token_id.map(|id| id.to_string()).unwrap_or_default(),
        outcome: match entry.outcome {
            Outcome::Succeeded => pb::AuditLogOutcome::Succeeded,
            Outcome::Denied => pb::AuditLogOutcome::Denied,
        }
        .into(),
        reason: entry.reason,
        rpc: entry.rpc,
        peer_address: entry.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        user_agent: entry.user_agent.unwrap_or_default(),
        request_id: entry.request_id.map(|id| id.to_string()).unwrap_or_default(),
        count: entry.count,
        session_id: entry.session_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}
