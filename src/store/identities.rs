//! By what providers know people, and letting in whom one has recognized.

use std::sync::OnceLock;

use diesel::{ExpressionMethods, QueryDsl, SelectableHelper, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    MintError, NewUser, Store, StoreError, Unsettled, audit, columns,
    error::not_found,
    invitations::{open_invitation, redeem},
    organizations::{PrincipalRow, add_user},
    schema::{identities, principals},
    sessions, writing,
};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::{InvitationId, OrganizationId, PrincipalId, SessionId},
    principal::{Actor, Credential, Origin, PrincipalKind, PrincipalRecord, PrincipalStatus, Role},
    secret::Secret,
    session::SessionLimits,
    sign_in::{ClaimedIdentity, Provider, SignInRefusal},
    token::SigningKeys,
};

/// Somebody whom a provider has recognized, and who wants in.
#[derive(Debug)]
pub struct SignIn<'a> {
    /// Where they want in.
    pub organization: OrganizationId,
    /// The provider.
    pub provider: &'a Provider,
    /// What it says of them.
    pub claimed: &'a ClaimedIdentity,
    /// Where they come from.
    pub origin: &'a Origin,
    /// The session that is opened if they are let in.
    pub session: SessionId,
    /// How long it lasts.
    pub limits: &'a SessionLimits,
    /// What the audit log calls the page that they have come back to.
    pub rpc: &'static str,
}

/// What became of it.
#[derive(Debug)]
pub enum SignInOutcome {
    /// They are this user, in a session of whose cookie this is the text.
    SignedIn(PrincipalRecord, Secret),
    /// They are not let in.
    Refused {
        /// Why.
        why: SignInRefusal,
        /// Who they are, if that is known: the log has it then.
        user: Option<PrincipalId>,
    },
}

impl SignIn<'_> {
    /// Them, in the session that is opened.
    fn actor(&self, user: PrincipalId, role: Role) -> Actor {
        Actor {
            organization_id: self.organization,
            principal_id: user,
            kind: PrincipalKind::User,
            role,
            credential: Credential::Session { id: self.session },
            origin: self.origin.clone(),
        }
    }

    /// What is done to a user by them themselves.
    fn event(&self, user: PrincipalId, action: Action) -> AuditEvent {
        let subject = Subject { subject_type: SubjectType::User, id: user.uuid() };
        AuditEvent::of(&self.actor(user, Role::Member), action, self.rpc, subject)
    }

    /// That they were not let in.
    fn refused(&self, user: PrincipalId) -> AuditEvent {
        self.event(user, Action::SignIn).in_no_session()
    }
}

/// As whom somebody may come in.
enum Way {
    /// As whom they were known before.
    Known(PrincipalId),
    /// As whom they were invited.
    Invited(InvitationId, PrincipalId),
    /// As somebody new with this address.
    New(String),
}

impl Store {
    /// Lets in whom a provider has recognized, as whom they were before, as whom they were invited, or as somebody new; makes them what
    /// their groups say; opens a session; and logs each of it. All of it, or nothing. That somebody is refused who is known is logged.
    ///
    /// # Errors
    /// [`MintError`], with whom it may have changed all the same.
    pub async fn sign_in(
        &self,
        asked: &SignIn<'_>,
        keys: &SigningKeys,
    ) -> Result<SignInOutcome, Unsettled<MintError, PrincipalId>> {
        let touched = OnceLock::new();
        let outcome = writing!(self, async |connection| -> Result<SignInOutcome, MintError> {
            // Of several who come with one identity at once, the first one is let in, and the others find out as whom.
            let identity = format!("{} {}", asked.claimed.subject, asked.claimed.issuer);
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended('latchkey identity ' || $1, 0))")
                .bind::<Text, _>(identity)
                .execute(connection)
                .await?;
            let way = match way(connection, asked).await? {
                Ok(way) => way,
                Err(why) => return Ok(SignInOutcome::Refused { why, user: None }),
            };
            if let Way::Known(user) | Way::Invited(_, user) = way {
                touched.get_or_init(|| user);
            }
            let user = match enter(connection, asked, way).await? {
                Ok(user) => user,
                Err(refused) => return Ok(refused),
            };
            let change = asked.event(user.id, Action::UserRoleChange);
            let user = follow_groups(connection, asked, user, &change).await?;
            let actor = asked.actor(user.id, user.role);
            let subject = Subject { subject_type: SubjectType::Session, id: asked.session.uuid() };
            let event = AuditEvent::of(&actor, Action::SessionCreate, asked.rpc, subject);
            let by = asked.provider.name.as_str();
            Ok(match sessions::open(connection, &actor, by, asked.limits, keys, &event).await? {
                Some(session) => SignInOutcome::SignedIn(user, session),
                None => SignInOutcome::Refused { why: SignInRefusal::Suspended, user: Some(user.id) },
            })
        });
        outcome.map_err(|error| Unsettled { error, touched: touched.into_inner() })
    }
}

async fn way(connection: &mut AsyncPgConnection, asked: &SignIn<'_>) -> Result<Result<Way, SignInRefusal>, StoreError> {
    let claimed = asked.claimed;
    let known: Option<Uuid> = identities::table
        .find((&claimed.issuer, &claimed.subject))
        .filter(identities::organization_id.eq(asked.organization.uuid()))
        .select(identities::principal_id)
        .first(connection)
        .await
        .map(Some)
        .or_else(|error| not_found(error.into()))?;
    if let Some(user) = known {
        return Ok(Ok(Way::Known(user.into())));
    }
    let Some(email) = &claimed.verified_email else { return Ok(Err(SignInRefusal::NotVerified)) };
    if let Some((id, user)) = open_invitation(connection, asked.organization, &asked.provider.name, email).await? {
        return Ok(Ok(Way::Invited(id, user)));
    }
    Ok(if asked.provider.allows(email) { Ok(Way::New(email.clone())) } else { Err(SignInRefusal::NotInvited) })
}

/// Comes in that way. Nobody else changes the user until the transaction ends.
async fn enter(
    connection: &mut AsyncPgConnection,
    asked: &SignIn<'_>,
    way: Way,
) -> Result<Result<PrincipalRecord, SignInOutcome>, StoreError> {
    let nobody = |why| Ok(Err(SignInOutcome::Refused { why, user: None }));
    let id = match &way {
        Way::Known(user) | Way::Invited(_, user) => *user,
        Way::New(email) => {
            let id = PrincipalId::generate();
            let name = asked.claimed.name.clone().unwrap_or_else(|| email.clone());
            let organization_id = asked.organization;
            let user = NewUser { id, organization_id, email: email.clone(), name, role: Role::Member };
            if !add_user(connection, &user, &asked.event(id, Action::UserCreate)).await? {
                return nobody(SignInRefusal::EmailTaken);
            }
            id
        }
    };
    let user: PrincipalRow = principals::table
        .find(id.uuid())
        .select(PrincipalRow::as_select())
        .for_no_key_update()
        .first(connection)
        .await?;
    let user = user.record()?;
    match user.status {
        PrincipalStatus::Active => {}
        PrincipalStatus::Suspended => {
            // What they lose they have lost, also once they may act again.
            if matches!(way, Way::Known(_)) {
                let change = asked.event(id, Action::UserRoleChange).in_no_session();
                follow_groups(connection, asked, user, &change).await?;
            }
            let why = SignInRefusal::Suspended;
            audit::insert_denied(connection, &asked.refused(id), why.reason()).await?;
            return Ok(Err(SignInOutcome::Refused { why, user: Some(id) }));
        }
    }
    if let Way::Invited(invitation, _) = way {
        // Somebody else, with another identity and the same address, may have been faster.
        if !redeem(connection, invitation).await? {
            return nobody(SignInRefusal::NotInvited);
        }
        audit::insert(connection, &asked.event(id, Action::InvitationRedeem)).await?;
    }
    match way {
        Way::Known(_) => {}
        Way::Invited(..) | Way::New(_) => {
            diesel::insert_into(identities::table)
                .values((
                    identities::issuer.eq(&asked.claimed.issuer),
                    identities::subject.eq(&asked.claimed.subject),
                    identities::organization_id.eq(asked.organization.uuid()),
                    identities::principal_id.eq(id.uuid()),
                ))
                .execute(connection)
                .await?;
        }
    }
    Ok(Ok(user))
}

/// Makes an admin of who is in an admin group now, and of nobody else, if the provider has a say in it. Every verification reads the
/// role: whatever they hold is good for no more and no less from the commit on.
async fn follow_groups(
    connection: &mut AsyncPgConnection,
    asked: &SignIn<'_>,
    user: PrincipalRecord,
    change: &AuditEvent,
) -> Result<PrincipalRecord, StoreError> {
    let Some(is_admin) = asked.provider.says_admin(&asked.claimed.groups) else { return Ok(user) };
    let role = if is_admin { Role::Admin } else { Role::Member };
    if user.role == role {
        return Ok(user);
    }
    diesel::update(principals::table.find(user.id.uuid()))
        .set(principals::role.eq(columns::role_text(role)))
        .execute(connection)
        .await?;
    audit::insert(connection, change).await?;
    Ok(PrincipalRecord { role, ..user })
}
