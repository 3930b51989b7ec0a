//! What verification reads: many credentials at once, by primary key, each joined with its principal.

use std::time::Duration;

use diesel::{ExpressionMethods, JoinOnDsl, QueryDsl, define_sql_function};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, columns, reading,
    schema::{environment_tokens, environments, personal_access_tokens, principals, sessions, signing_keys},
};
use crate::domain::{
    clock::boot_time, credential::StoredCredential, environment::DesiredPhase, principal::Credential, token::Digest,
};

define_sql_function! {
    /// PostgreSQL's time, as it passes within a statement.
    fn clock_timestamp() -> Timestamptz;
}

/// A token: its ID, whether it may but read, its digest, when it expires, when it was revoked, and when its key was.
type Token = (Uuid, bool, Vec<u8>, OffsetDateTime, Option<OffsetDateTime>, Option<OffsetDateTime>);
/// A session: its ID, its digest, when it expires at the latest, and without use, when it was revoked, and when its key was.
type Session = (Uuid, Vec<u8>, OffsetDateTime, OffsetDateTime, Option<OffsetDateTime>, Option<OffsetDateTime>);
/// Whose it is: organization, ID, kind, role and status.
type Holder = (Uuid, Uuid, String, String, String);
/// A token for an environment: its ID, the environment's, where that is to be, its digest, when it expires, and when its key was
/// revoked.
type EnvironmentToken = (Uuid, Uuid, String, Vec<u8>, OffsetDateTime, Option<OffsetDateTime>);

/// What they have in common.
fn stored(
    (_, _, digest, expires_at, revoked_at, key_revoked_at): Token,
    (organization, principal, kind, role, status): Holder,
    read_at: OffsetDateTime,
    known_at: Duration,
    credential: Credential,
) -> Result<StoredCredential, StoreError> {
    Ok(StoredCredential {
        credential,
        digest: Digest::from_bytes(columns::digest(digest)?),
        expires_at,
        revoked_at: revoked_at.or(key_revoked_at),
        organization_id: organization.into(),
        principal_id: principal.into(),
        kind: columns::principal_kind(&kind)?,
        role: columns::role(&role)?,
        status: columns::status(&status)?,
        read_at,
        known_at,
    })
}

impl Store {
    /// Looks personal access tokens up by ID. Unknown ones are missing in the answer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn personal_access_tokens_find(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        use personal_access_tokens as t;
        let known_at = boot_time();
        // Nothing in it is but text, which diesel would not keep prepared.
        let rows: Vec<(Token, Holder, OffsetDateTime)> = reading!(self, |connection| {
            t::table
                .inner_join(principals::table)
                .inner_join(signing_keys::table)
                .filter(t::id.eq_any(ids))
                .select((
                    (t::id, t::read_only, t::digest, t::expires_at, t::revoked_at, signing_keys::revoked_at),
                    (t::organization_id, t::principal_id, principals::kind, principals::role, principals::status),
                    clock_timestamp(),
                ))
                .load(connection)
        })?;
        let credential = |(token, holder, read_at): (Token, Holder, OffsetDateTime)| {
            let id = token.0;
            let credential = Credential::PersonalAccessToken { id: id.into(), read_only: token.1 };
            Ok((id, stored(token, holder, read_at, known_at, credential)?))
        };
        rows.into_iter().map(credential).collect()
    }

    /// Looks sessions up by ID. Unknown ones are missing in the answer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sessions_find(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        use sessions as s;
        let known_at = boot_time();
        let rows: Vec<(Session, Holder, OffsetDateTime)> = reading!(self, |connection| {
            s::table
                .inner_join(principals::table)
                .inner_join(signing_keys::table)
                .filter(s::id.eq_any(ids))
                .select((
                    (s::id, s::digest, s::expires_at, s::idle_expires_at, s::revoked_at, signing_keys::revoked_at),
                    (s::organization_id, s::principal_id, principals::kind, principals::role, principals::status),
                    clock_timestamp(),
                ))
                .load(connection)
        })?;
        let credential = |(session, holder, read_at): (Session, Holder, OffsetDateTime)| {
            let (id, digest, expires_at, idle_expires_at, revoked_at, key_revoked_at) = session;
            let ends = (id, false, digest, expires_at.min(idle_expires_at), revoked_at, key_revoked_at);
            Ok((id, stored(ends, holder, read_at, known_at, Credential::Session { id: id.into() })?))
        };
        rows.into_iter().map(credential).collect()
    }

    /// Looks environment tokens up by ID. Unknown ones are missing in the answer. They are dead with the environment (its rows go
    /// with it, and one told to go is as good as gone), with the parent and with the user.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn environment_tokens_find(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        use environment_tokens as e;
        use personal_access_tokens as t;
        let known_at = boot_time();
        let own_key = diesel::alias!(signing_keys as own_key);
        let rows: Vec<(EnvironmentToken, Token, Holder, OffsetDateTime)> = reading!(self, |connection| {
            e::table
                .inner_join(environments::table)
                .inner_join(t::table.inner_join(principals::table).inner_join(signing_keys::table))
                .inner_join(own_key.on(own_key.field(signing_keys::generation).eq(e::key_generation)))
                .filter(e::id.eq_any(ids))
                .select((
                    (
                        e::id,
                        e::environment_id,
                        environments::desired_phase,
                        e::digest,
                        e::expires_at,
                        own_key.field(signing_keys::revoked_at),
                    ),
                    (t::id, t::read_only, t::digest, t::expires_at, t::revoked_at, signing_keys::revoked_at),
                    (t::organization_id, t::principal_id, principals::kind, principals::role, principals::status),
                    clock_timestamp(),
                ))
                .load(connection)
        })?;
        let credential = |(own, token, holder, read_at): (EnvironmentToken, Token, Holder, OffsetDateTime)| {
            let (id, environment, desired_phase, digest, expires_at, own_key_revoked_at) = own;
            let (parent, read_only, _, parent_expires_at, parent_revoked_at, key_revoked_at) = token;
            let is_going = desired_phase == DesiredPhase::Deleted.as_str();
            let revoked_at =
                parent_revoked_at.or(key_revoked_at).or(own_key_revoked_at).or(is_going.then_some(read_at));
            let token = (parent, read_only, digest, expires_at.min(parent_expires_at), revoked_at, None);
            let credential = Credential::EnvironmentToken {
                id: id.into(),
                environment_id: environment.into(),
                parent: parent.into(),
            };
            Ok((id, stored(token, holder, read_at, known_at, credential)?))
        };
        rows.into_iter().map(credential).collect()
    }
}
