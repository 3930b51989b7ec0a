//! What verification reads: many credentials at once, by primary key, each joined with its principal.

use diesel::{QueryableByName, sql_query, sql_types::Array, sql_types::Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, columns, reading};
use crate::domain::{credential::StoredCredential, principal::Credential, token::Digest};

#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct CredentialRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = diesel::sql_types::Nullable<SqlUuid>)]
    environment_id: Option<Uuid>,
    #[diesel(sql_type = SqlUuid)]
    token_id: Uuid,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    read_only: bool,
    #[diesel(sql_type = diesel::sql_types::Bytea)]
    digest: Vec<u8>,
    #[diesel(sql_type = diesel::sql_types::Timestamptz)]
    expires_at: OffsetDateTime,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>)]
    revoked_at: Option<OffsetDateTime>,
    #[diesel(sql_type = SqlUuid)]
    organization_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    principal_id: Uuid,
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    role: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    status: String,
    #[diesel(sql_type = diesel::sql_types::Timestamptz)]
    read_at: OffsetDateTime,
}

impl CredentialRow {
    fn credential(self) -> Result<(Uuid, StoredCredential), StoreError> {
        let credential = match self.environment_id {
            None => Credential::PersonalAccessToken { id: self.token_id.into(), read_only: self.read_only },
            Some(environment) => Credential::EnvironmentToken {
                id: self.id.into(),
                environment_id: environment.into(),
                parent: self.token_id.into(),
            },
        };
        let stored = StoredCredential {
            credential,
            digest: Digest::from_bytes(columns::digest(self.digest)?),
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            organization_id: self.organization_id.into(),
            principal_id: self.principal_id.into(),
            kind: columns::principal_kind(&self.kind)?,
            role: columns::role(&self.role)?,
            status: columns::status(&self.status)?,
            read_at: self.read_at,
        };
        Ok((self.id, stored))
    }
}

const PERSONAL_ACCESS_TOKENS: &str = "
    SELECT t.id, NULL::uuid AS environment_id, t.id AS token_id, t.read_only, t.digest, t.expires_at,
           coalesce(t.revoked_at, k.revoked_at) AS revoked_at, t.organization_id, t.principal_id, p.kind, p.role, p.status,
           clock_timestamp() AS read_at
    FROM personal_access_tokens t
    JOIN principals p ON p.id = t.principal_id
    JOIN signing_keys k ON k.generation = t.key_generation
    WHERE t.id = ANY ($1)";

/// Dead with the environment (its rows go with it, and one told to go is as good as gone), with the parent and with the user.
const ENVIRONMENT_TOKENS: &str = "
    SELECT e.id, e.environment_id, t.id AS token_id, t.read_only, e.digest, least(e.expires_at, t.expires_at) AS expires_at,
           coalesce(t.revoked_at, k.revoked_at, o.revoked_at, CASE WHEN v.desired_phase = 'deleted' THEN now() END) AS revoked_at,
           t.organization_id, t.principal_id, p.kind, p.role, p.status, clock_timestamp() AS read_at
    FROM environment_tokens e
    JOIN environments v ON v.id = e.environment_id
    JOIN personal_access_tokens t ON t.id = e.parent_token_id
    JOIN principals p ON p.id = t.principal_id
    JOIN signing_keys k ON k.generation = t.key_generation
    JOIN signing_keys o ON o.generation = e.key_generation
    WHERE e.id = ANY ($1)";

impl Store {
    /// Looks personal access tokens up by ID. Unknown ones are missing in the answer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn personal_access_tokens_find(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        self.credentials_find(PERSONAL_ACCESS_TOKENS, ids).await
    }

    /// Looks environment tokens up by ID. Unknown ones are missing in the answer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_tokens_find(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        self.credentials_find(ENVIRONMENT_TOKENS, ids).await
    }

    async fn credentials_find(
        &self,
        query: &'static str,
        ids: &[Uuid],
    ) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        let rows: Vec<CredentialRow> =
            reading!(self, |connection| { sql_query(query).bind::<Array<SqlUuid>, _>(ids).load(connection) })?;
        rows.into_iter().map(CredentialRow::credential).collect()
    }
}
