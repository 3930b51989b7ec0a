//! Attempts to sign in that have come to their end.

use diesel::ExpressionMethods;
use diesel_async::RunQueryDsl;

use super::{Store, StoreError, schema::sign_in_attempts, writing};
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

    /// Removes attempts that ended so long ago that they would be too old by now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sign_in_attempts_clear(&self) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::sql_query("DELETE FROM sign_in_attempts WHERE ended_at < now() - interval '1 hour'")
                .execute(connection)
                .await?;
            Ok(())
        })
    }
}
