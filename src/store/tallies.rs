//! What is counted until its minute is over: reads of a token, and strangers' refusals of a peer.

use diesel::sql_types::{Array, BigInt, Inet, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ipnet::IpNet;
use uuid::Uuid;

use super::{Store, StoreError, columns, writing};
use crate::domain::{
    audit::Observation,
    ids::{OrganizationId, SessionId, TokenId},
};

/// The minute is PostgreSQL's. Sorted by the unique key, so that two servers that write at once lock rows in the same order.
const UPSERT: &str = "
    INSERT INTO audit_tallies AS known (minute, organization_id, actor_id, actor_kind, token_id, session_id, action, rpc, outcome, reason, peer, user_agent, count)
    SELECT date_trunc('minute', now()), seen.*
    FROM unnest($1, $2, $3, $4, $12, $5, $6, $7, $8, $9, $10, $11)
        AS seen (organization_id, actor_id, actor_kind, token_id, session_id, action, rpc, outcome, reason, peer, user_agent, count)
    ORDER BY token_id, actor_id, action, rpc, outcome, reason, peer
    ON CONFLICT (minute, token_id, actor_id, action, rpc, outcome, reason, peer) DO UPDATE
    SET count = known.count + excluded.count";

/// Moves minutes that are over to the log, the oldest first. What comes late makes an entry of its own. The IDs are of version 7 as
/// everybody's (RFC 9562), though their time is the minute's: what is written together is together in the index.
const SEAL: &str = "
    WITH over AS (
        DELETE FROM audit_tallies
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM audit_tallies WHERE minute < date_trunc('minute', now() - interval '2 seconds')
            ORDER BY minute LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING *, lpad(to_hex((extract(epoch FROM minute) * 1000)::bigint), 12, '0') AS milliseconds
    )
    INSERT INTO audit_logs (id, created_at, organization_id, actor_id, actor_kind, token_id, session_id, action, rpc, outcome, reason, peer, user_agent, count)
    SELECT (left(milliseconds, 8) || '-' || right(milliseconds, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid,
           minute, organization_id, actor_id, actor_kind, CASE WHEN session_id IS NULL THEN token_id END, session_id, action, rpc, outcome, reason, peer, user_agent, count
    FROM over";

impl Store {
    /// Adds observations to this minute's tallies: one element for each key, with how often it was seen.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_tally(&self, seen: &[(Observation, i64)]) -> Result<(), StoreError> {
        let organizations: Vec<Option<Uuid>> =
            seen.iter().map(|(one, _)| one.organization_id.map(OrganizationId::uuid)).collect();
        let actors: Vec<Option<Uuid>> = seen.iter().map(|(one, _)| one.principal.map(|(id, _)| id.uuid())).collect();
        let kinds: Vec<&str> = seen
            .iter()
            .map(|(one, _)| one.principal.map_or("stranger", |(_, kind)| columns::principal_kind_text(kind)))
            .collect();
        let sessions: Vec<Option<Uuid>> = seen.iter().map(|(one, _)| one.session_id.map(SessionId::uuid)).collect();
        // A session is in the place of the token too, which is part of the key.
        let tokens: Vec<Option<Uuid>> = seen
            .iter()
            .map(|(one, _)| one.token_id.map(TokenId::uuid).or(one.session_id.map(SessionId::uuid)))
            .collect();
        let actions: Vec<&str> = seen.iter().map(|(one, _)| one.action.as_str()).collect();
        let rpcs: Vec<&str> = seen.iter().map(|(one, _)| one.rpc).collect();
        let outcomes: Vec<&str> = seen.iter().map(|(one, _)| one.outcome.as_str()).collect();
        let reasons: Vec<&str> = seen.iter().map(|(one, _)| one.reason).collect();
        let peers: Vec<Option<IpNet>> = seen.iter().map(|(one, _)| one.peer.map(columns::inet)).collect();
        let user_agents: Vec<Option<&str>> = seen.iter().map(|(one, _)| one.user_agent.as_deref()).collect();
        let counts: Vec<i64> = seen.iter().map(|(_, count)| *count).collect();
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::sql_query(UPSERT)
                .bind::<Array<Nullable<SqlUuid>>, _>(&organizations)
                .bind::<Array<Nullable<SqlUuid>>, _>(&actors)
                .bind::<Array<Text>, _>(&kinds)
                .bind::<Array<Nullable<SqlUuid>>, _>(&tokens)
                .bind::<Array<Text>, _>(&actions)
                .bind::<Array<Text>, _>(&rpcs)
                .bind::<Array<Text>, _>(&outcomes)
                .bind::<Array<Text>, _>(&reasons)
                .bind::<Array<Nullable<Inet>>, _>(&peers)
                .bind::<Array<Nullable<Text>>, _>(&user_agents)
                .bind::<Array<BigInt>, _>(&counts)
                .bind::<Array<Nullable<SqlUuid>>, _>(&sessions)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Moves some tallies of minutes that are over to the log, so many at the most. Returns how many entries that made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_seal(&self, most: usize) -> Result<usize, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        writing!(self, async |connection| -> Result<usize, StoreError> {
            Ok(diesel::sql_query(SEAL).bind::<BigInt, _>(most).execute(connection).await?)
        })
    }
}
