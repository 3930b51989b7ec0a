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

/// Adds to the rows of a table that is told apart by who came with what. The minute is PostgreSQL's. Sorted by the unique key, so that two
/// servers that write at once lock rows in the same order.
macro_rules! upsert {
    ($table:literal, $credential:literal, $key:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " AS known (minute, organization_id, actor_id, actor_kind, ",
            $credential,
            ", action, rpc, outcome, reason, peer, user_agent, count)
             SELECT date_trunc('minute', now()), seen.*
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                 AS seen (organization_id, actor_id, actor_kind, ",
            $credential,
            ", action, rpc, outcome, reason, peer, user_agent, count)
             ORDER BY ",
            $key,
            "
             ON CONFLICT (minute, ",
            $key,
            ") DO UPDATE SET count = known.count + excluded.count"
        )
    };
}

const UPSERT: &str = upsert!("audit_tallies", "token_id", "token_id, actor_id, action, rpc, outcome, reason, peer");
const UPSERT_OF_SESSIONS: &str =
    upsert!("audit_session_tallies", "session_id", "session_id, action, rpc, outcome, reason, peer");

/// Moves minutes that are over to the log, the oldest first. What comes late makes an entry of its own. The IDs are of version 7 as
/// everybody's (RFC 9562), though their time is the minute's: what is written together is together in the index.
macro_rules! seal {
    ($table:literal, $credential:literal) => {
        concat!(
            "WITH over AS (
                DELETE FROM ", $table, "
                WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM ", $table, " WHERE minute < date_trunc('minute', now() - interval '2 seconds')
                    ORDER BY minute LIMIT $1 FOR UPDATE SKIP LOCKED
                ))
                RETURNING *, lpad(to_hex((extract(epoch FROM minute) * 1000)::bigint), 12, '0') AS milliseconds
            )
            INSERT INTO audit_logs (id, created_at, organization_id, actor_id, actor_kind, ", $credential, ", action, rpc, outcome, reason, peer, user_agent, count)
            SELECT (left(milliseconds, 8) || '-' || right(milliseconds, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid,
                   minute, organization_id, actor_id, actor_kind, ", $credential, ", action, rpc, outcome, reason, peer, user_agent, count
            FROM over"
        )
    };
}

const SEAL: &str = seal!("audit_tallies", "token_id");
const SEAL_OF_SESSIONS: &str = seal!("audit_session_tallies", "session_id");

impl Store {
    /// Adds observations to this minute's tallies: one element for each key, with how often it was seen.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_tally(&self, seen: &[(Observation, i64)]) -> Result<(), StoreError> {
        let (of_sessions, of_others): (Vec<_>, Vec<_>) = seen.iter().partition(|(one, _)| one.session_id.is_some());
        let session = |one: &Observation| one.session_id.map(SessionId::uuid);
        let token = |one: &Observation| one.token_id.map(TokenId::uuid);
        let (of_others, of_sessions) = (Rows::new(&of_others, token), Rows::new(&of_sessions, session));
        writing!(self, async |connection| -> Result<(), StoreError> {
            for (statement, rows) in [(UPSERT, &of_others), (UPSERT_OF_SESSIONS, &of_sessions)] {
                if rows.counts.is_empty() {
                    continue;
                }
                diesel::sql_query(statement)
                    .bind::<Array<Nullable<SqlUuid>>, _>(&rows.organizations)
                    .bind::<Array<Nullable<SqlUuid>>, _>(&rows.actors)
                    .bind::<Array<Text>, _>(&rows.kinds)
                    .bind::<Array<Nullable<SqlUuid>>, _>(&rows.credentials)
                    .bind::<Array<Text>, _>(&rows.actions)
                    .bind::<Array<Text>, _>(&rows.rpcs)
                    .bind::<Array<Text>, _>(&rows.outcomes)
                    .bind::<Array<Text>, _>(&rows.reasons)
                    .bind::<Array<Nullable<Inet>>, _>(&rows.peers)
                    .bind::<Array<Nullable<Text>>, _>(&rows.user_agents)
                    .bind::<Array<BigInt>, _>(&rows.counts)
                    .execute(connection)
                    .await?;
            }
            Ok(())
        })
    }

    /// Moves some tallies of minutes that are over to the log, so many at the most of tokens and of sessions. Returns how many entries that
    /// made of whichever there were more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_seal(&self, most: usize) -> Result<usize, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        writing!(self, async |connection| -> Result<usize, StoreError> {
            let tokens = diesel::sql_query(SEAL).bind::<BigInt, _>(most).execute(connection).await?;
            let sessions = diesel::sql_query(SEAL_OF_SESSIONS).bind::<BigInt, _>(most).execute(connection).await?;
            // Whoever asks for more looks whether there may be: as many of either as were asked for.
            Ok(tokens.max(sessions))
        })
    }
}

/// Observations as columns.
struct Rows<'a> {
    organizations: Vec<Option<Uuid>>,
    actors: Vec<Option<Uuid>>,
    kinds: Vec<&'static str>,
    credentials: Vec<Option<Uuid>>,
    actions: Vec<&'static str>,
    rpcs: Vec<&'static str>,
    outcomes: Vec<&'static str>,
    reasons: Vec<&'static str>,
    peers: Vec<Option<IpNet>>,
    user_agents: Vec<Option<&'a str>>,
    counts: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn new(seen: &[&'a (Observation, i64)], credential: impl Fn(&Observation) -> Option<Uuid>) -> Self {
        Self {
            organizations: seen.iter().map(|(one, _)| one.organization_id.map(OrganizationId::uuid)).collect(),
            actors: seen.iter().map(|(one, _)| one.principal.map(|(id, _)| id.uuid())).collect(),
            kinds: seen
                .iter()
                .map(|(one, _)| one.principal.map_or("stranger", |(_, kind)| columns::principal_kind_text(kind)))
                .collect(),
            credentials: seen.iter().map(|(one, _)| credential(one)).collect(),
            actions: seen.iter().map(|(one, _)| one.action.as_str()).collect(),
            rpcs: seen.iter().map(|(one, _)| one.rpc).collect(),
            outcomes: seen.iter().map(|(one, _)| one.outcome.as_str()).collect(),
            reasons: seen.iter().map(|(one, _)| one.reason).collect(),
            peers: seen.iter().map(|(one, _)| one.peer.map(columns::inet)).collect(),
            user_agents: seen.iter().map(|(one, _)| one.user_agent.as_deref()).collect(),
            counts: seen.iter().map(|(_, count)| *count).collect(),
        }
    }
}
