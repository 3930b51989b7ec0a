//! The audit log: acts in the transaction of the change, observations in batches, and reading it.

use diesel::{
    ExpressionMethods, Insertable, QueryDsl, Queryable, Selectable, SelectableHelper, dsl::sql, sql_types::Bool,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, columns,
    keyset::{from_page, key_of, sorting},
    reading,
    schema::audit_logs,
    writing,
};
use crate::domain::{
    audit::{AuditActor, AuditEntry, AuditEvent, AuditFilter, Doer, Observation, Outcome, Subject},
    ids::{AuditEntryId, OrganizationId, RequestId, SessionId, TokenId},
    page::{Order, Page, PageRequest},
    principal::{Credential, PrincipalKind},
};

#[derive(Insertable)]
#[diesel(table_name = audit_logs)]
struct NewEntry<'a> {
    id: Uuid,
    organization_id: Option<Uuid>,
    actor_id: Option<Uuid>,
    actor_kind: &'static str,
    token_id: Option<Uuid>,
    session_id: Option<Uuid>,
    action: &'static str,
    rpc: &'a str,
    subject_type: Option<&'static str>,
    subject_id: Option<Uuid>,
    outcome: &'static str,
    reason: &'a str,
    peer: Option<IpNet>,
    user_agent: Option<&'a str>,
    request_id: Option<Uuid>,
}

/// Writes an act; called in the transaction that changes what the act changes.
pub(super) async fn insert(connection: &mut AsyncPgConnection, event: &AuditEvent) -> Result<(), StoreError> {
    insert_with(connection, event, Outcome::Succeeded, "").await
}

/// Writes that an act was refused, and why, in the transaction that has found out.
pub(super) async fn insert_denied(
    connection: &mut AsyncPgConnection,
    event: &AuditEvent,
    reason: &'static str,
) -> Result<(), StoreError> {
    insert_with(connection, event, Outcome::Denied, reason).await
}

async fn insert_with(
    connection: &mut AsyncPgConnection,
    event: &AuditEvent,
    outcome: Outcome,
    reason: &str,
) -> Result<(), StoreError> {
    let (actor_id, actor_kind, credential, origin) = match &event.actor {
        AuditActor::Principal(actor) => (
            Some(actor.principal_id.uuid()),
            columns::principal_kind_text(actor.kind),
            Some(actor.credential),
            &actor.origin,
        ),
        // Only users sign in.
        AuditActor::SigningIn(user, origin) => {
            (Some(user.uuid()), columns::principal_kind_text(PrincipalKind::User), None, origin)
        }
        AuditActor::Operator(origin) => (None, "operator", None, origin),
    };
    let entry = NewEntry {
        id: AuditEntryId::generate().uuid(),
        organization_id: Some(event.organization_id.uuid()),
        actor_id,
        actor_kind,
        token_id: credential.and_then(Credential::token_id).map(TokenId::uuid),
        session_id: credential.and_then(Credential::session_id).map(SessionId::uuid),
        action: event.action.as_str(),
        rpc: &event.rpc,
        subject_type: Some(event.subject.subject_type.as_str()),
        subject_id: Some(event.subject.id),
        outcome: outcome.as_str(),
        reason,
        peer: origin.peer.map(columns::inet),
        user_agent: origin.user_agent.as_deref(),
        request_id: Some(origin.request_id.uuid()),
    };
    diesel::insert_into(audit_logs::table).values(entry).execute(connection).await?;
    Ok(())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_logs, check_for_backend(diesel::pg::Pg))]
struct EntryRow {
    id: Uuid,
    created_at: OffsetDateTime,
    actor_id: Option<Uuid>,
    actor_kind: String,
    token_id: Option<Uuid>,
    session_id: Option<Uuid>,
    action: String,
    rpc: String,
    subject_type: Option<String>,
    subject_id: Option<Uuid>,
    outcome: String,
    reason: String,
    peer: Option<IpNet>,
    user_agent: Option<String>,
    request_id: Option<Uuid>,
    count: i64,
}

impl EntryRow {
    fn entry(self) -> Result<AuditEntry, StoreError> {
        let actor = match (self.actor_id, self.actor_kind.as_str()) {
            (Some(id), kind) => Doer::Principal(id.into(), columns::principal_kind(kind)?),
            (None, "operator") => Doer::Operator,
            (None, _) => Doer::Stranger,
        };
        let subject = match (self.subject_type, self.subject_id) {
            (Some(subject_type), Some(id)) => {
                columns::subject_type(&subject_type).map(|subject_type| Subject { subject_type, id })
            }
            (None, _) | (_, None) => None,
        };
        Ok(AuditEntry {
            id: self.id.into(),
            actor,
            token_id: self.token_id.map(Into::into),
            session_id: self.session_id.map(Into::into),
            action: self.action,
            rpc: self.rpc,
            subject,
            outcome: columns::outcome(&self.outcome)?,
            reason: self.reason,
            peer: self.peer.map(|net| net.addr()),
            user_agent: self.user_agent,
            request_id: self.request_id.map(RequestId::from),
            count: self.count,
            created_at: self.created_at,
        })
    }
}

impl Store {
    /// Commits an act by itself: one that changes nothing else in the database, before it is carried out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_act(&self, event: &AuditEvent) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> { insert(connection, event).await })
    }

    /// Writes observations that are logged one by one: refusals of credentials whose holder proved to hold them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_observations_write(&self, observations: &[Observation]) -> Result<(), StoreError> {
        let entries: Vec<NewEntry<'_>> = observations
            .iter()
            .map(|seen| NewEntry {
                id: AuditEntryId::generate().uuid(),
                organization_id: seen.organization_id.map(OrganizationId::uuid),
                actor_id: seen.principal.map(|(id, _)| id.uuid()),
                actor_kind: seen.principal.map_or("stranger", |(_, kind)| columns::principal_kind_text(kind)),
                token_id: seen.token_id.map(TokenId::uuid),
                session_id: seen.session_id.map(SessionId::uuid),
                action: seen.action.as_str(),
                rpc: seen.rpc,
                subject_type: None,
                subject_id: None,
                outcome: seen.outcome.as_str(),
                reason: seen.reason,
                peer: seen.peer.map(columns::inet),
                user_agent: seen.user_agent.as_deref(),
                request_id: Some(seen.request_id.uuid()),
            })
            .collect();
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::insert_into(audit_logs::table).values(&entries).execute(connection).await?;
            Ok(())
        })
    }

    /// A page of an organization's log, in the order of time.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_list(
        &self,
        organization: OrganizationId,
        filter: &AuditFilter,
        order: Order,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let (in_order, later) = sorting("created_at", "id", order);
        let actor_ids: Vec<Uuid> = filter.actor_ids.iter().map(|id| id.uuid()).collect();
        let actor_kinds: Vec<&str> =
            filter.actor_kinds.iter().map(|kind: &PrincipalKind| columns::principal_kind_text(*kind)).collect();
        let subject_types: Vec<&str> = filter.subject_types.iter().map(|kind| kind.as_str()).collect();
        let rows: Vec<EntryRow> = reading!(self, |connection| {
            let mut query = audit_logs::table
                .filter(audit_logs::organization_id.eq(organization.uuid()))
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .select(EntryRow::as_select())
                .into_boxed();
            query = match actor_ids.as_slice() {
                [] => query,
                // By equality, the index has the order.
                [actor] => query.filter(audit_logs::actor_id.eq(actor)),
                actors => query.filter(audit_logs::actor_id.eq_any(actors)),
            };
            query = match actor_kinds.as_slice() {
                [] => query,
                [kind] => query.filter(audit_logs::actor_kind.eq(kind)),
                kinds => query.filter(audit_logs::actor_kind.eq_any(kinds)),
            };
            query = match filter.subject_ids.as_slice() {
                [] => query,
                [subject] => query.filter(audit_logs::subject_id.eq(subject)),
                subjects => query.filter(audit_logs::subject_id.eq_any(subjects)),
            };
            query = match subject_types.as_slice() {
                [] => query,
                [kind] => query.filter(audit_logs::subject_type.eq(kind)),
                kinds => query.filter(audit_logs::subject_type.eq_any(kinds)),
            };
            if let Some(from) = filter.from {
                query = query.filter(audit_logs::created_at.ge(from));
            }
            if let Some(to) = filter.to {
                query = query.filter(audit_logs::created_at.lt(to));
            }
            from_page!(query, &later, page).load(connection)
        })?;
        let entries = rows.into_iter().map(EntryRow::entry).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(entries, |entry| key_of(entry.created_at, entry.id.uuid())))
    }

    /// Makes the partitions of the months to come.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_prepare_partitions(&self) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::sql_query("SELECT audit_logs_prepare_partitions()").execute(connection).await?;
            Ok(())
        })
    }
}
