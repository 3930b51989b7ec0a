//! Which signing keys there are: their numbers, check values and states; never the keys.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl,
    dsl::{now, sql},
    sql_types::{Nullable, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;

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

/// Tokens revoked in one transaction.
const BATCH: i64 = 10_000;

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
    /// Whether tokens may have been made with it.
    pub was_active: bool,
}

impl Store {
    /// The signing keys that the database knows of, by number.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_list(&self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows: Vec<(i16, Vec<u8>, String, Option<OffsetDateTime>)> = reading!(self, |connection| {
            signing_keys::table
                .order(signing_keys::generation)
                .select((
                    signing_keys::generation,
                    signing_keys::check_value,
                    signing_keys::state,
                    signing_keys::activated_at,
                ))
                .load(connection)
        })?;
        rows.into_iter()
            .map(|(number, check_value, state, activated_at)| {
                Ok(SigningKeyRecord {
                    generation: columns::generation(number)?,
                    check_value: CheckValue::from_bytes(columns::digest(check_value)?),
                    state: KeyState::parse(&state)?,
                    was_active: activated_at.is_some(),
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
            let (state, activated_at) =
                if known == 0 { (KeyState::Active, "now()") } else { (KeyState::Verifying, "NULL") };
            let activated_at = sql::<Nullable<Timestamptz>>(activated_at);
            diesel::insert_into(signing_keys::table)
                .values((
                    signing_keys::generation.eq(i16::from(generation.number())),
                    signing_keys::check_value.eq(check_value.as_bytes().as_slice()),
                    signing_keys::state.eq(state.as_str()),
                    signing_keys::activated_at.eq(activated_at),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Makes a verifying key the one that new tokens are made with, and says so in the log; one that is active already stays
    /// as it is. False if there is no such key to activate.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_activate(&self, generation: Generation, event: &AuditEvent) -> Result<bool, StoreError> {
        let number = i16::from(generation.number());
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let Some(state) = locked_state(connection, number).await? else { return Ok(false) };
            match state {
                KeyState::Active => return Ok(true),
                KeyState::Revoked => return Ok(false),
                KeyState::Verifying => {}
            }
            diesel::update(signing_keys::table.filter(signing_keys::state.eq(KeyState::Active.as_str())))
                .set(signing_keys::state.eq(KeyState::Verifying.as_str()))
                .execute(connection)
                .await?;
            diesel::update(signing_keys::table.find(number))
                .set((signing_keys::state.eq(KeyState::Active.as_str()), signing_keys::activated_at.eq(now)))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(true)
        })
    }

    /// Revokes a key, and says so in the log; works without the key. From its commit on, verification refuses every token
    /// made with it. Revoking it again changes nothing. False if there is no such key.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_revoke(&self, generation: Generation, event: &AuditEvent) -> Result<bool, StoreError> {
        let number = i16::from(generation.number());
        writing!(self, async |connection| -> Result<bool, StoreError> {
            // Waits for whoever makes a token with it right now.
            let Some(state) = locked_state(connection, number).await? else { return Ok(false) };
            if state != KeyState::Revoked {
                diesel::update(signing_keys::table.find(number))
                    .set((signing_keys::state.eq(KeyState::Revoked.as_str()), signing_keys::revoked_at.eq(now)))
                    .execute(connection)
                    .await?;
                audit::insert(connection, event).await?;
            }
            Ok(true)
        })
    }

    /// Marks some tokens of a revoked key as revoked, for lists and counts. Returns how many: none when all are.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn signing_key_tokens_revoke(&self, generation: Generation) -> Result<usize, StoreError> {
        let number = i16::from(generation.number());
        writing!(self, async |connection| -> Result<usize, StoreError> {
            let some: Vec<uuid::Uuid> = personal_access_tokens::table
                .filter(personal_access_tokens::key_generation.eq(number))
                .filter(personal_access_tokens::revoked_at.is_null())
                .order(personal_access_tokens::id)
                .limit(BATCH)
                .select(personal_access_tokens::id)
                .for_no_key_update()
                .load(connection)
                .await?;
            Ok(diesel::update(personal_access_tokens::table)
                .filter(personal_access_tokens::id.eq_any(some))
                .filter(personal_access_tokens::revoked_at.is_null())
                .set(personal_access_tokens::revoked_at.eq(revocation_time()))
                .execute(connection)
                .await?)
        })
    }
}

async fn locked_state(connection: &mut AsyncPgConnection, number: i16) -> Result<Option<KeyState>, StoreError> {
    let state: Option<String> = signing_keys::table
        .find(number)
        .select(signing_keys::state)
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    state.map(|state| KeyState::parse(&state)).transpose()
}
