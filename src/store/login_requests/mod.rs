//! What programs ask for that want to act for somebody, from the question to the token.
//!
//! Locks are taken in the order of the whole store, principal first; a request that nobody has answered is nobody's, and is locked alone.

mod deciding;
mod redeeming;

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryableByName,
    dsl::{now, sql},
    expression::SqlLiteral,
    sql_query,
    sql_types::{BigInt, Bool, Inet, Nullable, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use uuid::Uuid;

use super::{
    CLEARED_AT_ONCE, MintError, Store, StoreError, columns,
    error::TransactionError,
    mint::{hold_credential, mint},
    schema::{login_requests, principals},
    writing,
};
use crate::domain::{
    ids::{LoginRequestId, OrganizationId, PrincipalId, SessionId},
    login::{DEVICE_PATIENCE, DeviceCodes, LoginAsk},
    principal::{Credential, Origin, PrincipalKind, PrincipalStatus, Role, network},
    token::{CredentialKind, SigningKeys},
};

pub use deciding::{LoginDecision, NewAuthorization};
pub use redeeming::LoginRedemption;

/// Requests of one peer that may wait at once.
const WAITING_OF_PEER: u32 = 20;
/// Requests that may wait at once, of all.
const WAITING_OF_ALL: u32 = 10_000;

/// Why nothing more can be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LoginCreateError {
    /// As many wait as may.
    #[error("as many login requests wait as may: {0}")]
    Limit(u32),
    /// Making the codes failed.
    #[error(transparent)]
    Mint(#[from] MintError),
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct Waiting {
    #[diesel(sql_type = BigInt)]
    of_all: i64,
    #[diesel(sql_type = BigInt)]
    of_peer: i64,
}

impl Store {
    /// Takes down what a program asks for, if not too many wait already: counted exactly, one after the other. The codes are kept
    /// nowhere.
    ///
    /// # Errors
    /// [`LoginCreateError`]; a constraint named `login_requests_user_code` when another one that is there has the same code.
    pub async fn login_request_create(
        &self,
        id: LoginRequestId,
        asked: &LoginAsk,
        origin: &Origin,
        keys: &SigningKeys,
    ) -> Result<DeviceCodes, LoginCreateError> {
        const COUNT: &str = "
            SELECT count(*) AS of_all, count(*) FILTER (WHERE network IS NOT DISTINCT FROM $1) AS of_peer
            FROM login_requests WHERE state = 'pending' AND expires_at > now()";
        let network = origin.peer.map(|peer| columns::inet(network(peer)));
        writing!(self, async |connection| -> Result<DeviceCodes, LoginCreateError> {
            sql_query("SELECT pg_advisory_xact_lock(hashtext('latchkey login requests'))").execute(connection).await?;
            let waiting: Waiting = sql_query(COUNT).bind::<Nullable<Inet>, _>(network).get_result(connection).await?;
            if waiting.of_peer >= i64::from(WAITING_OF_PEER) {
                return Err(LoginCreateError::Limit(WAITING_OF_PEER));
            }
            if waiting.of_all >= i64::from(WAITING_OF_ALL) {
                return Err(LoginCreateError::Limit(WAITING_OF_ALL));
            }
            let (generation, minted) = mint(connection, keys, CredentialKind::LoginCode, id.uuid()).await?;
            let (user_code, user_code_digest) = match keys.user_code(generation) {
                Ok(Some(made)) => made,
                Ok(None) => return Err(MintError::KeyNotHere(generation).into()),
                Err(_) => return Err(MintError::Random.into()),
            };
            diesel::insert_into(login_requests::table)
                .values((
                    login_requests::id.eq(id.uuid()),
                    login_requests::flow.eq("device"),
                    login_requests::key_generation.eq(i16::from(generation.number())),
                    login_requests::digest.eq(minted.digest.as_bytes().as_slice()),
                    login_requests::user_code_digest.eq(user_code_digest.as_bytes().as_slice()),
                    login_requests::host_name.eq(asked.host_name().as_str()),
                    login_requests::lifetime_seconds.eq(seconds(asked)),
                    login_requests::peer.eq(origin.peer.map(columns::inet)),
                    login_requests::user_agent.eq(origin.user_agent.as_deref()),
                    login_requests::network.eq(network),
                    login_requests::expires_at.eq(later(DEVICE_PATIENCE)),
                    login_requests::state.eq(State::Pending.as_str()),
                ))
                .execute(connection)
                .await?;
            Ok(DeviceCodes { device_code: minted.text, user_code })
        })
    }

    /// Removes what nothing can come of any more. A code that was brought is remembered for a day, so that whoever brings it once more is
    /// noticed. A batch at a time, so that none takes too long. False if more are left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn login_requests_clear(&self) -> Result<bool, StoreError> {
        const ENDED: &str =
            "CASE state WHEN 'redeemed' THEN expires_at < now() - interval '1 day' ELSE expires_at < now() END";
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let ended = login_requests::table
                .filter(login_requests::expires_at.lt(now))
                .filter(sql::<Bool>(ENDED))
                .select(login_requests::id)
                .limit(CLEARED_AT_ONCE)
                .for_update()
                .skip_locked()
                .load::<Uuid>(connection)
                .await?;
            let cleared = diesel::delete(login_requests::table.filter(login_requests::id.eq_any(ended)))
                .execute(connection)
                .await?;
            Ok(i64::try_from(cleared).is_ok_and(|cleared| cleared < CLEARED_AT_ONCE))
        })
    }
}

fn seconds(asked: &LoginAsk) -> i32 {
    i32::try_from(asked.lifetime().whole_seconds()).expect("90 days have fewer seconds than an i32 holds")
}

/// So much later than now.
fn later(by: time::Duration) -> SqlLiteral<Timestamptz> {
    sql(&format!("now() + make_interval(secs => {})", by.whole_seconds()))
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has said anything.
    Pending,
    /// Somebody has said yes.
    Approved,
    /// Somebody has said no, or the yes counts no more.
    Denied,
    /// A token was made of it.
    Redeemed,
}

impl State {
    const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Denied, Self::Redeemed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Redeemed => "redeemed",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| columns::unknown("login_requests.state", text))
    }
}

/// Whoever has said yes, as long as nobody else changes what they may.
struct Approver {
    kind: PrincipalKind,
    role: Role,
    status: PrincipalStatus,
}

/// Holds on to a principal until the transaction ends.
async fn hold_principal(
    connection: &mut AsyncPgConnection,
    organization: OrganizationId,
    principal: PrincipalId,
) -> Result<Option<Approver>, StoreError> {
    let row: Option<(String, String, String)> = principals::table
        .filter(principals::id.eq(principal.uuid()))
        .filter(principals::organization_id.eq(organization.uuid()))
        .select((principals::kind, principals::role, principals::status))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    row.map(|(kind, role, status)| {
        Ok(Approver {
            kind: columns::principal_kind(&kind)?,
            role: columns::role(&role)?,
            status: columns::status(&status)?,
        })
    })
    .transpose()
}

/// Whether a session, its key and whose it is are good now; the first two stay so until the transaction ends.
async fn hold_session(connection: &mut AsyncPgConnection, session: SessionId) -> Result<bool, StoreError> {
    match hold_credential(connection, Credential::Session { id: session }).await {
        Ok(()) => Ok(true),
        // It has ended, or has been cleared away since.
        Err(MintError::ParentEnded(_) | MintError::Store(StoreError::NoRow)) => Ok(false),
        Err(MintError::Store(error)) => Err(error),
        Err(error @ (MintError::NoActiveKey | MintError::KeyNotHere(_) | MintError::Random)) => {
            Err(StoreError::Query(error.to_string()))
        }
    }
}

fn peer(net: Option<IpNet>) -> Option<std::net::IpAddr> {
    net.map(|net| net.addr())
}

impl From<diesel::result::Error> for LoginCreateError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<StoreError> for LoginCreateError {
    fn from(error: StoreError) -> Self {
        Self::Mint(error.into())
    }
}

impl TransactionError for LoginCreateError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Mint(error) => error.is_unavailable(),
            Self::Limit(_) => false,
        }
    }

    fn at_commit(self) -> Self {
        match self {
            Self::Mint(error) => Self::Mint(error.at_commit()),
            Self::Limit(_) => self,
        }
    }
}
