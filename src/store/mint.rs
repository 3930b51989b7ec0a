//! Making a credential, in the transaction that stores it.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, QueryableByName, sql_query,
    sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, columns, error::TransactionError, schema::signing_keys};
use crate::domain::{
    clock::is_expired,
    credential::Ended,
    ids::TokenId,
    principal::{Credential, PrincipalStatus},
    token::{CredentialKind, Generation, Minted, SigningKeys},
};

/// Why a credential could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No signing key is active.
    #[error("no signing key is active")]
    NoActiveKey,
    /// The active signing key is not on this server.
    #[error("this server does not have the active signing key, generation {0}")]
    KeyNotHere(Generation),
    /// The token that it was to be made with is good no more: the call was let in just before.
    #[error("the token that it was to be made with is good no more")]
    ParentEnded(Ended),
    /// The system gives no randomness.
    #[error("the system's random source failed")]
    Random,
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for MintError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl TransactionError for MintError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unavailable(),
            Self::NoActiveKey | Self::KeyNotHere(_) | Self::ParentEnded(_) | Self::Random => false,
        }
    }

    fn at_commit(self) -> Self {
        match self {
            Self::Store(error) => Self::Store(error.at_commit()),
            Self::NoActiveKey | Self::KeyNotHere(_) | Self::ParentEnded(_) | Self::Random => self,
        }
    }
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct ParentRow {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    revoked_at: Option<OffsetDateTime>,
    #[diesel(sql_type = Timestamptz)]
    expires_at: OffsetDateTime,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Timestamptz)]
    read_at: OffsetDateTime,
}

/// Holds on to the credential that another one is made with, and to its key, until the transaction ends: when the answer
/// comes that one of them is revoked, it makes no other any more, also with a call that was let in before.
pub(super) async fn hold_credential(
    connection: &mut AsyncPgConnection,
    credential: Credential,
) -> Result<(), MintError> {
    match credential {
        Credential::PersonalAccessToken { id, .. } | Credential::EnvironmentToken { parent: id, .. } => {
            hold_token(connection, id).await
        }
        Credential::Session { id } => {
            let query = "
                SELECT coalesce(s.revoked_at, k.revoked_at) AS revoked_at, least(s.expires_at, s.idle_expires_at) AS expires_at,
                    p.status, now() AS read_at
                FROM sessions s
                JOIN principals p ON p.id = s.principal_id
                JOIN signing_keys k ON k.generation = s.key_generation
                WHERE s.id = $1 FOR SHARE OF s, k";
            hold(connection, query, id.uuid()).await
        }
    }
}

/// The same of a token.
pub(super) async fn hold_token(connection: &mut AsyncPgConnection, parent: TokenId) -> Result<(), MintError> {
    let query = "
        SELECT coalesce(t.revoked_at, k.revoked_at) AS revoked_at, t.expires_at, p.status, now() AS read_at
        FROM personal_access_tokens t
        JOIN principals p ON p.id = t.principal_id
        JOIN signing_keys k ON k.generation = t.key_generation
        WHERE t.id = $1 FOR SHARE OF t, k";
    hold(connection, query, parent.uuid()).await
}

async fn hold(connection: &mut AsyncPgConnection, query: &str, id: Uuid) -> Result<(), MintError> {
    let row: ParentRow = sql_query(query).bind::<SqlUuid, _>(id).get_result(connection).await?;
    if let Some(at) = row.revoked_at {
        return Err(MintError::ParentEnded(Ended::Revoked(at)));
    }
    if is_expired(row.expires_at, row.read_at) {
        return Err(MintError::ParentEnded(Ended::Expired(row.expires_at)));
    }
    match columns::status(&row.status)? {
        PrincipalStatus::Active => Ok(()),
        PrincipalStatus::Suspended => Err(MintError::ParentEnded(Ended::Suspended)),
    }
}

/// The generation of the active key, whose row is held on to.
async fn active(connection: &mut AsyncPgConnection) -> Result<Option<i16>, StoreError> {
    let found = signing_keys::table
        .filter(signing_keys::state.eq("active"))
        .select(signing_keys::generation)
        .for_share()
        .first(connection)
        .await
        .optional()?;
    Ok(found)
}

/// Makes a credential with the active key, and holds on to the key's state until the transaction ends: a key that is
/// revoked meanwhile has this credential among those it takes with it.
pub(super) async fn mint(
    connection: &mut AsyncPgConnection,
    keys: &SigningKeys,
    kind: CredentialKind,
    id: Uuid,
) -> Result<(Generation, Minted), MintError> {
    let mut generation = active(connection).await?;
    if generation.is_none() {
        // While another one was activated, the statement waited for the former one, and could not see the new one yet.
        generation = active(connection).await?;
    }
    let generation = generation.ok_or(MintError::NoActiveKey)?;
    let generation = columns::generation(generation)?;
    match keys.mint(kind, generation, id) {
        Ok(Some(minted)) => Ok((generation, minted)),
        Ok(None) => Err(MintError::KeyNotHere(generation)),
        Err(_) => Err(MintError::Random),
    }
}
