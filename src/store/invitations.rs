//! Invitations: who may sign in as whom, for the first time.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryableByName, SelectableHelper,
    dsl::{now, sql},
    sql_query,
    sql_types::{Bool, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    NewUser, Store, StoreError, audit, columns,
    keyset::{from_page, key_of, sorting},
    organizations::{PrincipalRow, add_user},
    reading,
    schema::{invitations, principals},
    suspensions::is_admin_still,
    writing,
};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::{InvitationId, OrganizationId, PrincipalId},
    page::{Order, Page, PageRequest},
    principal::Role,
    sign_in::ProviderName,
};

/// An invitation to be made.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// The organization it is to.
    pub organization_id: OrganizationId,
    /// By which provider.
    pub provider: ProviderName,
    /// The address that the provider has to vouch for.
    pub email: String,
    /// What a new user is called.
    pub name: String,
    /// Whether the user is to be an admin. One who is stays so.
    pub admin: bool,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invited {
    /// Whom it is for.
    pub user: PrincipalId,
    /// Until when it is good.
    pub expires_at: OffsetDateTime,
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
fn also(event: &AuditEvent, action: Action, user: PrincipalId) -> AuditEvent {
    AuditEvent { action, subject: Subject { subject_type: SubjectType::User, id: user.uuid() }, ..event.clone() }
}

impl Store {
    /// Invites whoever has an address at a provider to be the user with that address, who is added if there is none. It takes the place
    /// of one that is open. Whose event it is, and by which page or command, is taken from `event`; each thing done is logged by itself. None if
    /// who does it is no admin any more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn invitation_create(
        &self,
        new: &NewInvitation,
        event: &AuditEvent,
    ) -> Result<Option<Invited>, StoreError> {
        writing!(self, async |connection| -> Result<Option<Invited>, StoreError> {
            if !is_admin_still(connection, event).await? {
                return Ok(None);
            }
            let user = invited_user(connection, new, event).await?;
            let open: Vec<Uuid> = diesel::update(invitations::table)
                .filter(invitations::organization_id.eq(new.organization_id.uuid()))
                .filter(invitations::provider.eq(new.provider.as_str()))
                .filter(sql::<Bool>("lower(email) = lower(").bind::<Text, _>(&new.email).sql(")"))
                .filter(invitations::redeemed_at.is_null())
                .filter(invitations::withdrawn_at.is_null())
                .set(invitations::withdrawn_at.eq(now))
                .returning(invitations::principal_id)
                .get_results(connection)
                .await?;
            for user in open {
                audit::insert(connection, &also(event, Action::InvitationWithdraw, user.into())).await?;
            }
            let expires_at = diesel::insert_into(invitations::table)
                .values((
                    invitations::id.eq(InvitationId::generate().uuid()),
                    invitations::organization_id.eq(new.organization_id.uuid()),
                    invitations::principal_id.eq(user.uuid()),
                    invitations::provider.eq(new.provider.as_str()),
                    invitations::email.eq(&new.email),
                    // As long as the constraint allows.
                    invitations::expires_at.eq(sql::<Timestamptz>("now() + interval '168 hours'")),
                ))
                .returning(invitations::expires_at)
                .get_result(connection)
                .await?;
            audit::insert(connection, &also(event, Action::InvitationCreate, user)).await?;
            Ok(Some(Invited { user, expires_at }))
        })
    }

    /// Takes an open invitation back. False if there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn invitation_withdraw(
        &self,
        organization: OrganizationId,
        provider: &ProviderName,
        email: &str,
        event: &AuditEvent,
    ) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            if !is_admin_still(connection, event).await? {
                return Ok(false);
            }
            let Some((id, user)) = open_invitation(connection, organization, provider, email).await? else {
                return Ok(false);
            };
            let withdrawn = diesel::update(invitations::table.find(id.uuid()))
                .filter(invitations::redeemed_at.is_null())
                .filter(invitations::withdrawn_at.is_null())
                .set(invitations::withdrawn_at.eq(now))
                .execute(connection)
                .await?;
            if withdrawn == 1 {
                audit::insert(connection, &also(event, Action::InvitationWithdraw, user)).await?;
            }
            Ok(withdrawn == 1)
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

/// The user with the address, held until the transaction ends; a new one if there is none; an admin if one is asked for.
async fn invited_user(
    connection: &mut AsyncPgConnection,
    new: &NewInvitation,
    event: &AuditEvent,
) -> Result<PrincipalId, StoreError> {
    let id = PrincipalId::generate();
    let role = if new.admin { Role::Admin } else { Role::Member };
    let (email, name) = (new.email.clone(), new.name.clone());
    let user = NewUser { id, organization_id: new.organization_id, email, name, role };
    if add_user(connection, &user, &also(event, Action::UserCreate, id)).await? {
        return Ok(id);
    }
    let known: PrincipalRow = principals::table
        .filter(principals::organization_id.eq(new.organization_id.uuid()))
        .filter(sql::<Bool>("lower(email) = lower(").bind::<Text, _>(&new.email).sql(")"))
        .select(PrincipalRow::as_select())
        .for_no_key_update()
        .first(connection)
        .await?;
    let known = known.record()?;
    if new.admin && known.role != Role::Admin {
        diesel::update(principals::table.find(known.id.uuid()))
            .set(principals::role.eq(columns::role_text(Role::Admin)))
            .execute(connection)
            .await?;
        audit::insert(connection, &also(event, Action::UserRoleChange, known.id)).await?;
    }
    Ok(known.id)
}
