//! Somebody's yes or no to what a program asks for.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper,
    dsl::{count_star, exists, now, select, sql},
    sql_types::Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{State, hold_principal, hold_session, later, peer, seconds};
use crate::{
    domain::{
        audit::{Action, AuditEvent, Subject, SubjectType},
        ids::{LoginRequestId, SessionId},
        login::{CODE_PATIENCE, CodeChallenge, HostName, LoginAsk, LoopbackRedirect, PendingLogin},
        principal::{Actor, PrincipalStatus},
        secret::Secret,
        token::{CredentialKind, SigningKeys, UserCode},
    },
    store::{
        MintError, Store, StoreError, audit, columns,
        mint::mint,
        schema::{audit_logs, login_requests, signing_keys},
        writing,
    },
};

/// Codes that lead nowhere which one person may type in [`WINDOW`]: no more than slips of the finger.
const WRONG_CODES: i64 = 5;
/// In SQL: how long a wrong code counts.
const WINDOW: &str = "now() - interval '10 minutes'";

/// What came of typing a code, or of saying yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginDecision {
    /// It waits: nothing was said yet; or it was said now, or by the same person before.
    Known(Box<PendingLogin>),
    /// A program has shown it, and waits no more: it took too long, or something else was said, or by somebody else.
    Over,
    /// No program has shown this code, or none that anything is known of still.
    NoSuchCode,
    /// So many wrong ones were typed that none counts for now.
    TooManyCodes,
    /// Who says it may act no more: the call was let in just before.
    ActorEnded,
}

/// A code to be made for a program on the machine of the browser.
#[derive(Debug, Clone)]
pub struct NewAuthorization<'a> {
    /// Names it.
    pub id: LoginRequestId,
    /// What is asked for.
    pub asked: &'a LoginAsk,
    /// Where the code goes.
    pub redirect: &'a LoopbackRedirect,
    /// By what whoever brings it proves to be who asked.
    pub challenge: &'a CodeChallenge,
}

impl Store {
    /// What waits under a code, for whoever types it; or, with a word, that word. The same word of the same person changes nothing and is
    /// no other answer: a form may be sent twice. A code that no program has shown is written down: of those, few may be typed, on whichever
    /// servers. The RPC is what the log is to call it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn login_request_decide(
        &self,
        actor: &Actor,
        code: &UserCode,
        approves: Option<bool>,
        keys: &SigningKeys,
        rpc: &'static str,
    ) -> Result<LoginDecision, StoreError> {
        let digests: Vec<Vec<u8>> =
            keys.user_code_digests(code).iter().map(|digest| digest.as_bytes().to_vec()).collect();
        writing!(self, async |connection| -> Result<LoginDecision, StoreError> {
            // Also so that what one person types at once is counted one after the other.
            let Some(session) = hold_actor(connection, actor).await? else { return Ok(LoginDecision::ActorEnded) };
            let wrong: i64 = audit_logs::table
                .filter(audit_logs::actor_id.eq(actor.principal_id.uuid()))
                .filter(audit_logs::action.eq(Action::LoginCodeRefuse.as_str()))
                .filter(audit_logs::created_at.gt(sql::<Timestamptz>(WINDOW)))
                .select(count_star())
                .get_result(connection)
                .await?;
            if wrong >= WRONG_CODES {
                return Ok(LoginDecision::TooManyCodes);
            }
            let Some((id, pending)) = find(connection, code, &digests).await? else {
                // Nobody has guessed what somebody was shown; and whose it was is not told.
                if let Some(approves) = approves
                    && let Some(pending) = said(connection, code, &digests, actor, approves).await?
                {
                    return Ok(LoginDecision::Known(Box::new(pending)));
                }
                if is_known(connection, &digests).await? {
                    return Ok(LoginDecision::Over);
                }
                let subject = Subject { subject_type: SubjectType::User, id: actor.principal_id.uuid() };
                let event = AuditEvent::of(actor, Action::LoginCodeRefuse, rpc, subject);
                audit::insert_denied(connection, &event, "no program shows this code").await?;
                return Ok(LoginDecision::NoSuchCode);
            };
            if let Some(approves) = approves {
                let (state, action) =
                    if approves { (State::Approved, Action::LoginApprove) } else { (State::Denied, Action::LoginDeny) };
                diesel::update(login_requests::table.find(id))
                    .set((
                        login_requests::state.eq(state.as_str()),
                        login_requests::decided_at.eq(now),
                        login_requests::organization_id.eq(actor.organization_id.uuid()),
                        login_requests::approver_id.eq(actor.principal_id.uuid()),
                        login_requests::session_id.eq(session.uuid()),
                    ))
                    .execute(connection)
                    .await?;
                audit::insert(connection, &AuditEvent::of(actor, action, rpc, subject(id))).await?;
            }
            Ok(LoginDecision::Known(Box::new(pending)))
        })
    }

    /// Makes the code that says yes to a program on the machine of the browser. None if whoever says so may act no more. What it holds is
    /// kept nowhere.
    ///
    /// # Errors
    /// [`MintError`]
    pub async fn authorization_create(
        &self,
        actor: &Actor,
        new: &NewAuthorization<'_>,
        keys: &SigningKeys,
        rpc: &'static str,
    ) -> Result<Option<Secret>, MintError> {
        writing!(self, async |connection| -> Result<Option<Secret>, MintError> {
            let Some(session) = hold_actor(connection, actor).await? else { return Ok(None) };
            let (generation, minted) = mint(connection, keys, CredentialKind::LoginCode, new.id.uuid()).await?;
            diesel::insert_into(login_requests::table)
                .values((
                    login_requests::id.eq(new.id.uuid()),
                    login_requests::flow.eq("redirect"),
                    login_requests::key_generation.eq(i16::from(generation.number())),
                    login_requests::digest.eq(minted.digest.as_bytes().as_slice()),
                    login_requests::code_challenge.eq(new.challenge.as_bytes().as_slice()),
                    login_requests::redirect_uri.eq(new.redirect.as_str()),
                    login_requests::host_name.eq(new.asked.host_name().as_str()),
                    login_requests::lifetime_seconds.eq(seconds(new.asked)),
                    login_requests::peer.eq(actor.origin.peer.map(columns::inet)),
                    login_requests::user_agent.eq(actor.origin.user_agent.as_deref()),
                    login_requests::expires_at.eq(later(CODE_PATIENCE)),
                    (
                        login_requests::state.eq(State::Approved.as_str()),
                        login_requests::decided_at.eq(now),
                        login_requests::organization_id.eq(actor.organization_id.uuid()),
                        login_requests::approver_id.eq(actor.principal_id.uuid()),
                        login_requests::session_id.eq(session.uuid()),
                    ),
                ))
                .execute(connection)
                .await?;
            let event = AuditEvent::of(actor, Action::LoginApprove, rpc, subject(new.id.uuid()));
            audit::insert(connection, &event).await?;
            Ok(Some(minted.text))
        })
    }
}

pub(super) const fn subject(id: Uuid) -> Subject {
    Subject { subject_type: SubjectType::LoginRequest, id }
}

/// Holds on to who acts and to the session that they act in, and says which it is. None if either is good no more, and for whoever
/// acts with anything else: a token makes no other one this way.
async fn hold_actor(connection: &mut AsyncPgConnection, actor: &Actor) -> Result<Option<SessionId>, StoreError> {
    let Some(session) = actor.credential.session_id() else { return Ok(None) };
    let held = hold_principal(connection, actor.organization_id, actor.principal_id).await?;
    let is_active = held.is_some_and(|held| held.status == PrincipalStatus::Active);
    Ok((is_active && hold_session(connection, session).await?).then_some(session))
}

/// What is shown of a request.
#[derive(Queryable, Selectable)]
#[diesel(table_name = login_requests, check_for_backend(diesel::pg::Pg))]
struct ShownRow {
    id: Uuid,
    host_name: String,
    lifetime_seconds: i32,
    peer: Option<IpNet>,
    user_agent: Option<String>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

impl ShownRow {
    fn pending(self, code: &UserCode) -> Result<PendingLogin, StoreError> {
        Ok(PendingLogin {
            user_code: code.clone(),
            asked: asked(&self.host_name, self.lifetime_seconds)?,
            peer: peer(self.peer),
            user_agent: self.user_agent.map(Into::into),
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }
}

/// What waits under a code, held until the transaction ends.
async fn find(
    connection: &mut AsyncPgConnection,
    code: &UserCode,
    digests: &[Vec<u8>],
) -> Result<Option<(Uuid, PendingLogin)>, StoreError> {
    let row: Option<ShownRow> = login_requests::table
        .filter(login_requests::user_code_digest.eq_any(digests))
        .filter(login_requests::state.eq(State::Pending.as_str()))
        .filter(login_requests::expires_at.gt(now))
        // What was made with a key that is revoked is good for nothing.
        .filter(exists(
            signing_keys::table
                .filter(signing_keys::generation.eq(login_requests::key_generation))
                .filter(signing_keys::revoked_at.is_null()),
        ))
        .select(ShownRow::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    row.map(|row| Ok((row.id, row.pending(code)?))).transpose()
}

/// What was there under a code, if this very word of this very person was said to it.
async fn said(
    connection: &mut AsyncPgConnection,
    code: &UserCode,
    digests: &[Vec<u8>],
    actor: &Actor,
    approves: bool,
) -> Result<Option<PendingLogin>, StoreError> {
    let states: &[State] = if approves { &[State::Approved, State::Redeemed] } else { &[State::Denied] };
    let row: Option<ShownRow> = login_requests::table
        .filter(login_requests::user_code_digest.eq_any(digests))
        .filter(login_requests::state.eq_any(states.iter().map(|state| state.as_str())))
        .filter(login_requests::organization_id.eq(actor.organization_id.uuid()))
        .filter(login_requests::approver_id.eq(actor.principal_id.uuid()))
        .select(ShownRow::as_select())
        .first(connection)
        .await
        .optional()?;
    row.map(|row| row.pending(code)).transpose()
}

/// Whether a program has shown a code, whatever has come of it.
async fn is_known(connection: &mut AsyncPgConnection, digests: &[Vec<u8>]) -> Result<bool, StoreError> {
    let known = login_requests::table.filter(login_requests::user_code_digest.eq_any(digests));
    Ok(select(exists(known)).get_result(connection).await?)
}

/// What a row says was asked for.
pub(super) fn asked(host_name: &str, lifetime: i32) -> Result<LoginAsk, StoreError> {
    let lifetime = u32::try_from(lifetime).ok();
    LoginAsk::new(HostName::cleaned(host_name), lifetime)
        .map_err(|error| StoreError::Corrupt(format!("login_requests.lifetime_seconds {error}")))
}
