//! Inviting somebody to sign in, as a user who is there or is added.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper,
    dsl::{now, sql},
    sql_types::{Bool, Text, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    NewUser, Store, StoreError, audit, columns,
    invitations::also,
    organizations::{PrincipalRow, add_user},
    schema::{invitations, principals},
    writing,
};
use crate::domain::{
    audit::{Action, AuditActor, AuditEvent},
    ids::{InvitationId, OrganizationId, PrincipalId},
    principal::{PrincipalRecord, Role},
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

/// What came of one try.
enum Try {
    /// It is made.
    Invited(Invited),
    /// Who does it is no admin any more.
    ActorNoAdmin,
    /// Somebody else has added the user at this very moment, who is to be held in order: nothing was done.
    Again,
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
        // Users stay: the second time, whoever was added meanwhile is found.
        for _ in 0..2 {
            match self.invite(new, event).await? {
                Try::Invited(invited) => return Ok(Some(invited)),
                Try::ActorNoAdmin => return Ok(None),
                Try::Again => {}
            }
        }
        Err(StoreError::NoRow)
    }

    async fn invite(&self, new: &NewInvitation, event: &AuditEvent) -> Result<Try, StoreError> {
        writing!(self, async |connection| -> Result<Try, StoreError> {
            let held = hold(connection, new, event).await?;
            if !held.is_admin {
                return Ok(Try::ActorNoAdmin);
            }
            let user = match held.user {
                Some(known) => invited_user(connection, new, &known, event).await?,
                None => match new_user(connection, new, event).await? {
                    Some(user) => user,
                    None => return Ok(Try::Again),
                },
            };
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
            Ok(Try::Invited(Invited { user, expires_at }))
        })
    }
}

/// Who must not change until the transaction ends.
struct Held {
    /// Whether who invites is an admin still.
    is_admin: bool,
    /// The user with the address, if there is one.
    user: Option<PrincipalRecord>,
}

/// Holds on to who invites and to the user with the address, in the order of their IDs: so does whoever suspends one of them, and one
/// waits for the other.
async fn hold(connection: &mut AsyncPgConnection, new: &NewInvitation, event: &AuditEvent) -> Result<Held, StoreError> {
    let actor = match &event.actor {
        AuditActor::Principal(actor) => Some(actor.principal_id),
        AuditActor::SigningIn(..) | AuditActor::Operator(_) => None,
    };
    let has_address = sql::<Bool>("lower(email) = lower(").bind::<Text, _>(&new.email).sql(")");
    let whether = sql::<Bool>("coalesce(lower(email) = lower(").bind::<Text, _>(&new.email).sql("), false)");
    let rows: Vec<(PrincipalRow, bool)> = principals::table
        .filter(principals::organization_id.eq(new.organization_id.uuid()))
        // The operator is none of the organization's.
        .filter(principals::id.eq(actor.map_or(Uuid::nil(), PrincipalId::uuid)).or(has_address))
        .order(principals::id)
        .select((PrincipalRow::as_select(), whether))
        .for_no_key_update()
        .load(connection)
        .await?;
    let mut held = Held { is_admin: actor.is_none(), user: None };
    for (row, has_address) in rows {
        let principal = row.record()?;
        if Some(principal.id) == actor {
            held.is_admin = principal.may_administer();
        }
        if has_address {
            held.user = Some(principal);
        }
    }
    Ok(held)
}

/// A user with the address, if nobody has added one meanwhile.
async fn new_user(
    connection: &mut AsyncPgConnection,
    new: &NewInvitation,
    event: &AuditEvent,
) -> Result<Option<PrincipalId>, StoreError> {
    let id = PrincipalId::generate();
    let role = if new.admin { Role::Admin } else { Role::Member };
    let (email, name) = (new.email.clone(), new.name.clone());
    let user = NewUser { id, organization_id: new.organization_id, email, name, role };
    Ok(add_user(connection, &user, &also(event, Action::UserCreate, id)).await?.then_some(id))
}

/// The user with the address, who is held; an admin if one is asked for.
async fn invited_user(
    connection: &mut AsyncPgConnection,
    new: &NewInvitation,
    known: &PrincipalRecord,
    event: &AuditEvent,
) -> Result<PrincipalId, StoreError> {
    if new.admin && known.role != Role::Admin {
        diesel::update(principals::table.find(known.id.uuid()))
            .set(principals::role.eq(columns::role_text(Role::Admin)))
            .execute(connection)
            .await?;
        audit::insert(connection, &also(event, Action::UserRoleChange, known.id)).await?;
    }
    Ok(known.id)
}
