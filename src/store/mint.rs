//! Making a credential, in the transaction that stores it.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{StoreError, columns, schema::signing_keys};
use crate::domain::token::{CredentialKind, Generation, Minted, SigningKeys};

/// Why a credential could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No signing key is active.
    #[error("no signing key is active")]
    NoActiveKey,
    /// The active signing key is not on this server.
    #[error("this server does not have the active signing key, generation {0}")]
    KeyNotHere(Generation),
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

/// Makes a credential with the active key, and holds on to the key's state until the transaction ends: a key that is
/// revoked meanwhile has this credential among those it takes with it.
pub(super) async fn mint(
    connection: &mut AsyncPgConnection,
    keys: &SigningKeys,
    kind: CredentialKind,
    id: Uuid,
) -> Result<(Generation, Minted), MintError> {
    let generation: Option<i16> = signing_keys::table
        .filter(signing_keys::state.eq("active"))
        .select(signing_keys::generation)
        .for_share()
        .first(connection)
        .await
        .optional()
        .map_err(StoreError::from)?;
    let generation = generation.ok_or(MintError::NoActiveKey)?;
    let generation = columns::generation(generation)?;
    match keys.mint(kind, generation, id) {
        Ok(Some(minted)) => Ok((generation, minted)),
        Ok(None) => Err(MintError::KeyNotHere(generation)),
        Err(_) => Err(MintError::Random),
    }
}
