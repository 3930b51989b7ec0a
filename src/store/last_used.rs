//! When tokens were last used: written in sorted batches, and never back in time.

use std::{net::IpAddr, sync::Arc};

use diesel::sql_types::{Array, Inet, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, columns, writing};
use crate::domain::ids::TokenId;

/// One use of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// Which.
    pub token_id: TokenId,
    /// When, by PostgreSQL's clock.
    pub at: OffsetDateTime,
    /// From where.
    pub peer: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<Arc<str>>,
}

const FOREIGN_KEY: &str = "token_last_used_token_id_fkey";

macro_rules! upsert {
    ($join:literal, $lock:literal) => {
        concat!(
            "INSERT INTO token_last_used AS known (token_id, last_used_at, peer, user_agent)
             SELECT used.* FROM unnest($1, $2, $3, $4) AS used (token_id, last_used_at, peer, user_agent) ",
            $join,
            " ORDER BY used.token_id ",
            $lock,
            " ON CONFLICT (token_id) DO UPDATE
             SET last_used_at = excluded.last_used_at, peer = excluded.peer, user_agent = excluded.user_agent
             WHERE excluded.last_used_at > known.last_used_at"
        )
    };
}

const UPSERT: &str = upsert!("", "");

/// The same, of the tokens that are there still. It reads and locks the row of each, which is written to for that: nothing to be done
/// every time.
const UPSERT_OF_THOSE_LEFT: &str =
    upsert!("JOIN personal_access_tokens AS token ON token.id = used.token_id", "FOR KEY SHARE OF token");

impl Store {
    /// Writes uses of tokens, one for each token. They are sorted by ID here, so that two servers that write at once lock
    /// rows in the same order. A token whose row is gone by now takes no other's use with it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn last_used_write(&self, mut uses: Vec<TokenUse>) -> Result<(), StoreError> {
        uses.sort_by_key(|one| one.token_id);
        match self.last_used_upsert(UPSERT, &uses).await {
            Err(error) if error.constraint() == Some(FOREIGN_KEY) => {
                self.last_used_upsert(UPSERT_OF_THOSE_LEFT, &uses).await
            }
            written => written,
        }
    }

    async fn last_used_upsert(&self, statement: &str, uses: &[TokenUse]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = uses.iter().map(|one| one.token_id.uuid()).collect();
        let times: Vec<OffsetDateTime> = uses.iter().map(|one| one.at).collect();
        let peers: Vec<Option<IpNet>> = uses.iter().map(|one| one.peer.map(columns::inet)).collect();
        let user_agents: Vec<Option<&str>> = uses.iter().map(|one| one.user_agent.as_deref()).collect();
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::sql_query(statement)
                .bind::<Array<SqlUuid>, _>(&ids)
                .bind::<Array<Timestamptz>, _>(&times)
                .bind::<Array<Nullable<Inet>>, _>(&peers)
                .bind::<Array<Nullable<Text>>, _>(&user_agents)
                .execute(connection)
                .await?;
            Ok(())
        })
    }
}
