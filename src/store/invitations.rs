//! Invitations: who may sign in as whom, for the first time.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryableByName,
    dsl::{now, sql},
    sql_query,
    sql_types::{Bool, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, audit,
    keyset::{from_page, key_of, sorting},
    reading,
    schema::invitations,
    suspensions::is_admin_still,
    writing,
};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::{InvitationId, OrganizationId, PrincipalId},
    page::{Order, Page, PageRequest},
    sign_in::ProviderName,
};

/// What came of taking one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// It is good for nothing any more.
    Withdrawn,
    /// None is open.
    NotFound,
    /// Who does it is no admin any more.
    ActorNoAdmin,
}

/// One that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Names it.
    pub id: InvitationId,
    /// Whom it is for.
    pub user: PrincipalId,
    /// By which provider.
    pub provider: String,
    /// The address.
    pub email: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Until when it is good.
    pub expires_at: OffsetDateTime,
}

#[derive(QueryableByName)]
struct OpenRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    principal_id: Uuid,
}

/// The invitation of an address at a provider, if there is one and it is still good.
pub(super) async fn open_invitation(
    connection: &mut AsyncPgConnection,
    organization: OrganizationId,
    provider: &ProviderName,
    email: &str,
) -> Result<Option<(InvitationId, PrincipalId)>, StoreError> {
    let query = "
        SELECT id, principal_id FROM invitations
        WHERE organization_id = $1 AND provider = $2 AND lower(email) = lower($3)
            AND redeemed_at IS NULL AND withdrawn_at IS NULL AND expires_at > now()";
    let row: Option<OpenRow> = sql_query(query)
        .bind::<SqlUuid, _>(organization.uuid())
        .bind::<Text, _>(provider.as_str())
        .bind::<Text, _>(email)
        .get_result(connection)
        .await
        .optional()?;
    Ok(row.map(|row| (row.id.into(), row.principal_id.into())))
}

/// Redeems an invitation, once. False if somebody else was faster.
pub(super) async fn redeem(connection: &mut AsyncPgConnection, id: InvitationId) -> Result<bool, StoreError> {
    let redeemed = diesel::update(invitations::table.find(id.uuid()))
        .filter(invitations::redeemed_at.is_null())
        .filter(invitations::withdrawn_at.is_null())
        .filter(invitations::expires_at.gt(now))
        .set(invitations::redeemed_at.eq(now))
        .execute(connection)
        .await?;
    Ok(redeemed == 1)
}

/// The same event about something else that is done with it.
pub(super) fn also(event: &AuditEvent, action: Action, user: PrincipalId) -> AuditEvent {
    AuditEvent { action, subject: Subject { subject_type: SubjectType::User, id: user.uuid() }, ..event.clone() }
}

impl Store {
    /// Takes an open invitation back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn invitation_withdraw(
        &self,
        organization: OrganizationId,
        provider: &ProviderName,
        email: &str,
        event: &AuditEvent,
    ) -> Result<Withdrawal, StoreError> {
        writing!(self, async |connection| -> Result<Withdrawal, StoreError> {
            if !is_admin_still(connection, event).await? {
                return Ok(Withdrawal::ActorNoAdmin);
            }
            let Some((id, user)) = open_invitation(connection, organization, provider, email).await? else {
                return Ok(Withdrawal::NotFound);
            };
            let withdrawn = diesel::update(invitations::table.find(id.uuid()))
                .filter(invitations::redeemed_at.is_null())
                .filter(invitations::withdrawn_at.is_null())
                .set(invitations::withdrawn_at.eq(now))
                .execute(connection)
                .await?;
            if withdrawn == 0 {
                return Ok(Withdrawal::NotFound);
            }
            audit::insert(connection, &also(event, Action::InvitationWithdraw, user)).await?;
            Ok(Withdrawal::Withdrawn)
        })
    }

    /// A page of those that are open, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn invitation_list(
        &self,
        organization: OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<Invitation>, StoreError> {
        type Row = (Uuid, Uuid, String, String, OffsetDateTime, OffsetDateTime);
        let (in_order, later) = sorting("created_at", "id", Order::Descending);
        let rows: Vec<Row> = reading!(self, |connection| {
            let query = invitations::table
                .filter(invitations::organization_id.eq(organization.uuid()))
                .filter(invitations::redeemed_at.is_null())
                .filter(invitations::withdrawn_at.is_null())
                .filter(invitations::expires_at.gt(now))
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .select((
                    invitations::id,
                    invitations::principal_id,
                    invitations::provider,
                    invitations::email,
                    invitations::created_at,
                    invitations::expires_at,
                ))
                .into_boxed();
            from_page!(query, &later, page).load(connection)
        })?;
        let invitation = |(id, user, provider, email, created_at, expires_at): Row| Invitation {
            id: id.into(),
            user: user.into(),
            provider,
            email,
            created_at,
            expires_at,
        };
        let found = rows.into_iter().map(invitation).collect();
        Ok(page.page(found, |invitation: &Invitation| key_of(invitation.created_at, invitation.id.uuid())))
    }
}
