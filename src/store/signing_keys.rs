//! Which signing keys there are: their numbers, check values and states; never the keys.

use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::{
    Store, StoreError, audit, columns, reading,
    schema::{personal_access_tokens, signing_keys},
    tokens::revocation_time,
    writing,
};
use crate::domain::{
    audit::AuditEvent,
    token::{CheckValue, Generation},
};

/// What a signing key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Servers check tokens with it.
    Verifying,
    /// New tokens are made with it as well.
    Active,
    /// It is no more, and neither are its tokens.
    Revoked,
}

impl KeyState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Verifying => "verifying",
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Verifying, Self::Active, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| columns::unknown("signing_keys.state", text))
    }
}

/// A signing key that the database knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRecord {
    /// Its number.
    pub generation: Generation,
    /// By which a server knows whether it holds the same.
    pub check_value: CheckValue,
    /// What it is good for.
    pub state: KeyState,
}

impl Store {
    /// The signing keys that the database knows of, by number.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_list(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows: Vec<(i16, Vec<u8>, String)> = reading!(self, |connection| {
            signing_keys::table
                .order(signing_keys::generation)
                .select((signing_keys::generation, signing_keys::check_value, signing_keys::state))
                .load(&mut connection)
        })?;
        rows.into_iter()
            .map(|(number, check_value, state)| {
                Ok(SigningKeyRecord {
                    generation: columns::generation(number)?,
                    check_value: CheckValue::from_bytes(columns::digest(check_value)?),
                    state: KeyState::parse(&state)?,
                })
            })
            .collect()
    }

    /// Makes a key known to the database: the very first one active, later ones verifying. Says nothing of one that is
    /// known already.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_add(&self, generation: Generation, check_value: CheckValue) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            // Two servers may bring the first key at once: the table's lock lets them do so one after the other.
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('latchkey signing keys'))")
                .execute(connection)
                .await?;
            let known: i64 = signing_keys::table.count().get_result(connection).await?;
            let state = if known == 0 { KeyState::Active } else { KeyState::Verifying };
            diesel::insert_into(signing_keys::table)
                .values((
                    signing_keys::generation.eq(i16::from(generation.number())),
                    signing_keys::check_value.eq(check_value.as_bytes().as_slice()),
                    signing_keys::state.eq(state.as_str()),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Makes a verifying key the one that new tokens are made with. False if there is no such key to activate.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_activate(&self, generation: Generation, event: &AuditEvent) -> Result<bool, StoreError> {
        let number = i16::from(generation.number());
        writing!(self, async |connection| -> Result<bool, StoreError> {
            diesel::update(signing_keys::table.filter(signing_keys::state.eq("active")))
                .set(signing_keys::state.eq("verifying"))
                .execute(connection)
                .await?;
            let activated = diesel::update(signing_keys::table.find(number))
                .filter(signing_keys::state.eq("verifying"))
                .set(signing_keys::state.eq("active"))
                .execute(connection)
                .await?;
            if activated == 0 {
                return Err(StoreError::NoRow);
            }
            audit::insert(connection, event).await?;
            Ok(true)
        })
        .or_else(|error| if matches!(error, StoreError::NoRow) { Ok(false) } else { Err(error) })
    }

    /// Revokes a key with every token made with it; works without the key. Returns how many tokens that were, or none if
    /// there is no such key.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_revoke(
        &self,
        generation: Generation,
        event: &AuditEvent,
    ) -> Result<Option<usize>, StoreError> {
        let number = i16::from(generation.number());
        writing!(self, async |connection| -> Result<Option<usize>, StoreError> {
            // First the key: whoever makes a token with it right now is waited for, and nobody can any more.
            let known = diesel::update(signing_keys::table.find(number))
                .set(signing_keys::state.eq("revoked"))
                .execute(connection)
                .await?;
            if known == 0 {
                return Ok(None);
            }
            let tokens = diesel::update(personal_access_tokens::table)
                .filter(personal_access_tokens::key_generation.eq(number))
                .filter(personal_access_tokens::revoked_at.is_null())
                .set(personal_access_tokens::revoked_at.eq(revocation_time()))
                .execute(connection)
                .await?;
            diesel::delete(
                super::schema::environment_tokens::table
                    .filter(super::schema::environment_tokens::key_generation.eq(number)),
            )
            .execute(connection)
            .await?;
            audit::insert(connection, event).await?;
            Ok(Some(tokens))
        })
    }
}
