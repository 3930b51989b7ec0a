//! Credentials for the operations of one environment.

use diesel::{
    ExpressionMethods, QueryDsl,
    dsl::sql,
    sql_types::{Timestamptz, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    CLEARED_AT_ONCE, MintError, Store, StoreError, audit,
    mint::{hold_token, mint},
    schema::environment_tokens,
    writing,
};
use crate::domain::{
    audit::AuditEvent,
    ids::{EnvironmentId, EnvironmentTokenId, TokenId},
    secret::Secret,
    token::{CredentialKind, SigningKeys},
};

impl Store {
    /// Makes a credential for one environment, good for an hour and no longer than its parent.
    ///
    /// # Errors
    /// [`MintError`]; a constraint of that name when the environment has just gone.
    pub async fn environment_token_create(
        &self,
        id: EnvironmentTokenId,
        environment: EnvironmentId,
        parent: TokenId,
        keys: &SigningKeys,
        event: &AuditEvent,
    ) -> Result<Secret, MintError> {
        writing!(self, async |connection| -> Result<Secret, MintError> {
            hold_token(connection, parent).await?;
            let (generation, minted) = mint(connection, keys, CredentialKind::EnvironmentToken, id.uuid()).await?;
            diesel::insert_into(environment_tokens::table)
                .values((
                    environment_tokens::id.eq(id.uuid()),
                    environment_tokens::environment_id.eq(environment.uuid()),
                    environment_tokens::parent_token_id.eq(parent.uuid()),
                    environment_tokens::key_generation.eq(i16::from(generation.number())),
                    environment_tokens::digest.eq(minted.digest.as_bytes().as_slice()),
                    environment_tokens::expires_at.eq(sql::<Timestamptz>(
                        "least(now() + interval '1 hour', (SELECT t.expires_at FROM personal_access_tokens t WHERE t.id = ",
                    )
                    .bind::<SqlUuid, _>(parent.uuid())
                    .sql("))")),
                ))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(minted.text)
        })
    }

    /// Removes credentials that ended over a day ago (until then their holders are told so): clients make a new one for each
    /// command. A batch at a time, so that none takes too long; one server at a time does it. False if more are left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_tokens_clear(&self) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let locked: bool = diesel::select(sql::<diesel::sql_types::Bool>(
                "pg_try_advisory_xact_lock(hashtext('latchkey ended environment tokens'))",
            ))
            .get_result(connection)
            .await?;
            if !locked {
                return Ok(true);
            }
            let ended = environment_tokens::table
                .filter(environment_tokens::expires_at.lt(sql::<Timestamptz>("now() - interval '1 day'")))
                .select(environment_tokens::id)
                .limit(CLEARED_AT_ONCE)
                .load::<Uuid>(connection)
                .await?;
            let cleared = diesel::delete(environment_tokens::table.filter(environment_tokens::id.eq_any(ended)))
                .execute(connection)
                .await?;
            Ok(i64::try_from(cleared).is_ok_and(|cleared| cleared < CLEARED_AT_ONCE))
        })
    }
}
