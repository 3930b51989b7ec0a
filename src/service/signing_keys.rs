//! Whether this server holds the signing keys that the database knows of.

use crate::domain::token::{Generation, SigningKeys};
use crate::store::{KeyState, Store, StoreError};

/// Why a server must not start with its signing keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyCheckError {
    /// It has another key of that number.
    #[error(
        "the signing key of generation {0} is not the one this database was used with: tokens made with either would be \
         forgeries to the other; put the right key into the file of signing keys"
    )]
    Differs(Generation),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares the keys of this server with those the database knows of, and makes new ones known. Returns the generations
/// that tokens may be made with elsewhere and that this server lacks: until it has them, it is not ready.
///
/// # Errors
/// [`KeyCheckError`]
pub async fn check_signing_keys(store: &Store, keys: &SigningKeys) -> Result<Vec<Generation>, KeyCheckError> {
    let mut known = store.signing_key_list().await?;
    let is_new = |generation: Generation| !known.iter().any(|key| key.generation == generation);
    let new: Vec<_> = keys.check_values().filter(|(generation, _)| is_new(*generation)).collect();
    if !new.is_empty() {
        for (generation, check_value) in new {
            store.signing_key_add(generation, check_value).await?;
        }
        // Another server may have been first.
        known = store.signing_key_list().await?;
    }
    for (generation, check_value) in keys.check_values() {
        if known.iter().any(|key| key.generation == generation && key.check_value != check_value) {
            return Err(KeyCheckError::Differs(generation));
        }
    }
    let missing = known
        .into_iter()
        .filter(|key| key.state != KeyState::Revoked && key.was_active && !keys.has(key.generation))
        .map(|key| key.generation)
        .collect();
    Ok(missing)
}
