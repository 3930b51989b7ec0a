//! What becomes of a code that a program brings.

use std::sync::OnceLock;

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl,
    dsl::{exists, now, sql},
    sql_types::Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    State,
    deciding::{asked, subject},
    hold_principal, hold_session,
};
use crate::{
    domain::{
        audit::{Action, AuditEvent, Outcome, Subject, SubjectType},
        clock::is_expired,
        ids::{OrganizationId, PrincipalId, SessionId, TokenId},
        login::{CodeChallenge, LoginProof, POLL_INTERVAL},
        principal::{Actor, Credential, Origin, PrincipalStatus},
        secret::Secret,
        token::{Digest, Presented, SigningKeys, Token},
    },
    store::{
        NewToken, Store, StoreError, TokenCreateError, Unsettled, audit, columns,
        schema::{audit_logs, login_requests, signing_keys},
        tokens, writing,
    },
};

/// How much more seldom a program may look that has looked too soon (RFC 8628, section 3.5), and how seldom at the most.
const SLOWER_BY: i32 = 5;
const SLOWEST: i32 = 300;

/// What came of bringing a code.
#[derive(Debug)]
pub enum LoginRedemption {
    /// A token, which is told this once.
    Redeemed(Box<Token>, Secret),
    /// Nobody has said anything.
    Pending,
    /// The same, and it was asked too soon.
    TooSoon,
    /// Somebody has said no.
    Denied,
    /// Nobody has said anything in time, or the program was too late.
    Expired,
    /// Somebody has said yes who may act no more, or whose session has ended since.
    Withdrawn,
    /// There is no such code, or it was brought by another than who asked.
    NoSuchCode,
    /// It has been brought before; the token that was made of it is revoked, if this is named.
    BroughtAgain(Option<TokenId>),
}

/// What a row says, read with the row held.
struct Held {
    state: State,
    expires_at: OffsetDateTime,
    polled_at: Option<OffsetDateTime>,
    poll_seconds: i32,
    token_id: Option<Uuid>,
    read_at: OffsetDateTime,
}

/// What never changes of a row, and who has decided.
struct Known {
    digest: Digest,
    is_redirect: bool,
    challenge: Option<CodeChallenge>,
    redirect_uri: Option<String>,
    host_name: String,
    lifetime: i32,
    key_is_revoked: bool,
    decided: Option<(OrganizationId, PrincipalId, SessionId)>,
}

impl Known {
    /// Whether what was brought is what was given out, on the way on which it was.
    fn is_brought(&self, presented: &Presented<'_>, proof: LoginProof<'_>, keys: &SigningKeys) -> bool {
        let is_its_way = match proof {
            LoginProof::Device => !self.is_redirect,
            LoginProof::Redirect { .. } => self.is_redirect,
        };
        is_its_way && !self.key_is_revoked && keys.matches(presented, &self.digest)
    }

    /// Whether it was brought by who asked.
    fn is_proven(&self, proof: LoginProof<'_>) -> bool {
        match proof {
            LoginProof::Device => true,
            LoginProof::Redirect { uri, verifier } => {
                self.redirect_uri.as_deref() == Some(uri)
                    && self.challenge.is_some_and(|challenge| challenge.is_of(verifier))
            }
        }
    }
}

impl Store {
    /// Makes the token that somebody has said yes to, once, whoever else brings the code at the same moment. A code of a browser's that
    /// is brought again takes the token back (RFC 6749, section 4.1.2), and one that is brought without its proof is used up. Each of these
    /// ends is logged once, however often the code is brought: in no session, since whoever brings it is in none.
    ///
    /// # Errors
    /// [`TokenCreateError`], with the token that it may have revoked all the same. One that it may have made is known to nobody.
    pub async fn login_request_redeem(
        &self,
        presented: &Presented<'_>,
        proof: LoginProof<'_>,
        origin: &Origin,
        limit: u32,
        keys: &SigningKeys,
        rpc: &'static str,
    ) -> Result<LoginRedemption, Unsettled<TokenCreateError, TokenId>> {
        let id = presented.id();
        let touched = OnceLock::new();
        let redeemed = writing!(self, async |connection| -> Result<LoginRedemption, TokenCreateError> {
            let Some(known) = know(connection, id).await? else { return Ok(LoginRedemption::NoSuchCode) };
            if !known.is_brought(presented, proof, keys) {
                return Ok(LoginRedemption::NoSuchCode);
            }
            let Some((organization_id, principal_id, session)) = known.decided else {
                return Ok(look(connection, id).await?);
            };
            let approver = hold_principal(connection, organization_id, principal_id).await?;
            let Some(approver) = approver else { return Ok(LoginRedemption::Withdrawn) };
            let Some(held) = hold(connection, id).await? else { return Ok(LoginRedemption::NoSuchCode) };
            let actor = Actor {
                organization_id,
                principal_id,
                kind: approver.kind,
                role: approver.role,
                credential: Credential::Session { id: session },
                origin: origin.clone(),
            };
            let refused = AuditEvent::of(&actor, Action::LoginRedeem, rpc, subject(id)).in_no_session();
            match held.state {
                State::Denied => return Ok(LoginRedemption::Denied),
                State::Redeemed => {
                    let token = held.token_id.map(TokenId::from).filter(|_| known.is_redirect);
                    if let Some(token) = token {
                        touched.get_or_init(|| token);
                        let event = AuditEvent::of(&actor, Action::TokenRevoke, rpc, of_token(token)).in_no_session();
                        tokens::revoke(connection, token, &event).await?;
                    }
                    if !is_refused(connection, id).await? {
                        audit::insert_denied(connection, &refused, "brought again").await?;
                    }
                    return Ok(LoginRedemption::BroughtAgain(token));
                }
                State::Pending | State::Approved => {}
            }
            if is_expired(held.expires_at, held.read_at) {
                return Ok(LoginRedemption::Expired);
            }
            let end = if approver.status == PrincipalStatus::Suspended {
                Some((LoginRedemption::Withdrawn, "suspended"))
            } else if !hold_session(connection, session).await? {
                Some((LoginRedemption::Withdrawn, "session ended"))
            } else if !known.is_proven(proof) {
                Some((LoginRedemption::NoSuchCode, "no proof"))
            } else {
                None
            };
            if let Some((outcome, reason)) = end {
                diesel::update(login_requests::table.find(id))
                    .set(login_requests::state.eq(State::Denied.as_str()))
                    .execute(connection)
                    .await?;
                audit::insert_denied(connection, &refused, reason).await?;
                return Ok(outcome);
            }
            let token_id = TokenId::generate();
            let new = NewToken {
                id: token_id,
                organization_id,
                principal_id,
                creator_id: principal_id,
                created_with: Some(actor.credential),
                idempotency_key: None,
                asked: asked(&known.host_name, known.lifetime)?.token().clone(),
                limit,
            };
            let event = AuditEvent::of(&actor, Action::TokenCreate, rpc, of_token(token_id));
            let (token, text) = tokens::create(connection, &new, keys, &event).await?;
            diesel::update(login_requests::table.find(id))
                .set((login_requests::state.eq(State::Redeemed.as_str()), login_requests::token_id.eq(token_id.uuid())))
                .execute(connection)
                .await?;
            audit::insert(connection, &AuditEvent::of(&actor, Action::LoginRedeem, rpc, subject(id))).await?;
            Ok(LoginRedemption::Redeemed(Box::new(token), text))
        });
        redeemed.map_err(|error| Unsettled { error, touched: touched.into_inner() })
    }
}

/// Whether the log has it already that a code was refused. It is held, and nobody adds that meanwhile.
async fn is_refused(connection: &mut AsyncPgConnection, id: Uuid) -> Result<bool, StoreError> {
    let told = audit_logs::table
        .filter(audit_logs::subject_id.eq(id))
        .filter(audit_logs::action.eq(Action::LoginRedeem.as_str()))
        .filter(audit_logs::outcome.eq(Outcome::Denied.as_str()))
        // Codes that were brought are remembered for a day.
        .filter(audit_logs::created_at.gt(sql::<Timestamptz>("now() - interval '2 days'")));
    Ok(diesel::select(exists(told)).get_result(connection).await?)
}

const fn of_token(id: TokenId) -> Subject {
    Subject { subject_type: SubjectType::PersonalAccessToken, id: id.uuid() }
}

/// What is to be known before anything is locked.
async fn know(connection: &mut AsyncPgConnection, id: Uuid) -> Result<Option<Known>, StoreError> {
    type Row = (
        (Vec<u8>, String, Option<Vec<u8>>, Option<String>, String, i32),
        (Option<Uuid>, Option<Uuid>, Option<Uuid>),
        Option<OffsetDateTime>,
    );
    let row: Option<Row> = login_requests::table
        .inner_join(signing_keys::table)
        .filter(login_requests::id.eq(id))
        .select((
            (
                login_requests::digest,
                login_requests::flow,
                login_requests::code_challenge,
                login_requests::redirect_uri,
                login_requests::host_name,
                login_requests::lifetime_seconds,
            ),
            (login_requests::organization_id, login_requests::approver_id, login_requests::session_id),
            signing_keys::revoked_at,
        ))
        .first(connection)
        .await
        .optional()?;
    let Some(((digest, flow, challenge, redirect_uri, host_name, lifetime), decided, key_revoked_at)) = row else {
        return Ok(None);
    };
    let decided = match decided {
        (Some(organization), Some(approver), Some(session)) => {
            Some((organization.into(), approver.into(), session.into()))
        }
        (None | Some(_), None | Some(_), None | Some(_)) => None,
    };
    Ok(Some(Known {
        digest: Digest::from_bytes(columns::digest(digest)?),
        is_redirect: flow == "redirect",
        challenge: challenge.map(columns::digest).transpose()?.map(CodeChallenge::from_bytes),
        redirect_uri,
        host_name,
        lifetime,
        key_is_revoked: key_revoked_at.is_some(),
        decided,
    }))
}

/// Holds on to a request until the transaction ends.
async fn hold(connection: &mut AsyncPgConnection, id: Uuid) -> Result<Option<Held>, StoreError> {
    type Row = (String, OffsetDateTime, Option<OffsetDateTime>, i32, Option<Uuid>, OffsetDateTime);
    let row: Option<Row> = login_requests::table
        .filter(login_requests::id.eq(id))
        .select((
            login_requests::state,
            login_requests::expires_at,
            login_requests::polled_at,
            login_requests::poll_seconds,
            login_requests::token_id,
            // As of when the row was held, not of when the transaction began.
            sql::<Timestamptz>("clock_timestamp()"),
        ))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    row.map(|(state, expires_at, polled_at, poll_seconds, token_id, read_at)| {
        Ok(Held { state: State::parse(&state)?, expires_at, polled_at, poll_seconds, token_id, read_at })
    })
    .transpose()
}

/// A program looks whether somebody has said something, and nobody had just before.
async fn look(connection: &mut AsyncPgConnection, id: Uuid) -> Result<LoginRedemption, StoreError> {
    let Some(held) = hold(connection, id).await? else { return Ok(LoginRedemption::NoSuchCode) };
    if held.state == State::Pending && is_expired(held.expires_at, held.read_at) {
        return Ok(LoginRedemption::Expired);
    }
    // Somebody has said something meanwhile: it is found the next time, when it can be locked in order.
    let interval = Duration::seconds(held.poll_seconds.into()).max(POLL_INTERVAL);
    let is_too_soon = held.polled_at.is_some_and(|last| held.read_at - last < interval);
    let slower = if is_too_soon { (held.poll_seconds + SLOWER_BY).min(SLOWEST) } else { held.poll_seconds };
    diesel::update(login_requests::table.find(id))
        .set((login_requests::polled_at.eq(now), login_requests::poll_seconds.eq(slower)))
        .execute(connection)
        .await?;
    Ok(if is_too_soon { LoginRedemption::TooSoon } else { LoginRedemption::Pending })
}
