//! Attempts to sign in that have come to their end.

use diesel::{ExpressionMethods, sql_types::BigInt};
use diesel_async::RunQueryDsl;

use super::{CLEARED_AT_ONCE, Store, StoreError, schema::sign_in_attempts, writing};
use crate::domain::ids::SignInAttemptId;

impl Store {
    /// Ends an attempt, once, whichever server it comes back to. False if it has ended before.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sign_in_attempt_end(&self, id: SignInAttemptId) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let ended = diesel::insert_into(sign_in_attempts::table)
                .values(sign_in_attempts::id.eq(id.uuid()))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
            Ok(ended == 1)
        })
    }

    /// Removes attempts that ended so long ago that they would be too old by now: as many as go at once, which strangers may have made
    /// many. Whether none is left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sign_in_attempts_clear(&self) -> Result<bool, StoreError> {
        const CLEAR: &str = "
            DELETE FROM sign_in_attempts WHERE id IN (
                SELECT id FROM sign_in_attempts WHERE ended_at < now() - interval '1 hour'
                ORDER BY ended_at LIMIT $1
            )";
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let cleared = diesel::sql_query(CLEAR).bind::<BigInt, _>(CLEARED_AT_ONCE).execute(connection).await?;
            Ok(i64::try_from(cleared).is_ok_and(|cleared| cleared < CLEARED_AT_ONCE))
        })
    }
}
