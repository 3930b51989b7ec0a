//! Sessions of people in browsers.

use std::time::Duration;

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper,
    dsl::{now, sql},
    sql_types::{Array, Bool, Double, Inet, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    MintError, Store, StoreError, audit, columns,
    keyset::{from_page, key_of, sorting},
    mint::mint,
    reading,
    schema::{principals, sessions},
    writing,
};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    ids::{PrincipalId, SessionId},
    page::{Order, Page, PageRequest},
    principal::{Actor, Origin, PrincipalStatus},
    secret::Secret,
    session::{Session, SessionLimits},
    sign_in::SignInRefusal,
    token::{CredentialKind, SigningKeys},
};

/// How much later than the last use a use has to be to be written: each writing makes every server look the session up anew.
const WORTH_WRITING: Duration = Duration::from_secs(60);

/// One use of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUse {
    /// Which.
    pub session_id: SessionId,
    /// When, by PostgreSQL's clock.
    pub at: OffsetDateTime,
    /// From where.
    pub origin: Origin,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(diesel::pg::Pg))]
struct SessionRow {
    id: Uuid,
    signed_in_by: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    idle_expires_at: OffsetDateTime,
    last_used_at: OffsetDateTime,
    peer: Option<IpNet>,
    user_agent: Option<String>,
}

impl SessionRow {
    fn session(self) -> Session {
        Session {
            id: self.id.into(),
            signed_in_by: self.signed_in_by,
            created_at: self.created_at,
            expires_at: self.expires_at.min(self.idle_expires_at),
            last_used_at: self.last_used_at,
            peer: self.peer.map(|net| net.addr()),
            user_agent: self.user_agent,
        }
    }
}

/// Opens a session in a transaction that has found who signs in: the actor's credential is the session that it makes. What its cookie
/// holds is kept nowhere. None if the person is not there, or is suspended, which is logged.
pub(super) async fn open(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    signed_in_by: &str,
    limits: &SessionLimits,
    keys: &SigningKeys,
    event: &AuditEvent,
) -> Result<Option<Secret>, MintError> {
    let id = actor.credential.key().1;
    // Who is suspended at the same moment is not let in after.
    let status: Option<String> = principals::table
        .filter(principals::id.eq(actor.principal_id.uuid()))
        .filter(principals::organization_id.eq(actor.organization_id.uuid()))
        .select(principals::status)
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    match status.as_deref().map(columns::status).transpose()? {
        Some(PrincipalStatus::Active) => {}
        Some(PrincipalStatus::Suspended) => {
            let subject = Subject { subject_type: SubjectType::User, id: actor.principal_id.uuid() };
            let refused = AuditEvent { action: Action::SignIn, subject, ..event.clone() }.in_no_session();
            audit::insert_denied(connection, &refused, SignInRefusal::Suspended.reason()).await?;
            return Ok(None);
        }
        None => return Ok(None),
    }
    let (generation, minted) = mint(connection, keys, CredentialKind::Session, id).await?;
    let later = |by: Duration| {
        sql::<Timestamptz>("now() + make_interval(secs => ").bind::<Double, _>(by.as_secs_f64()).sql(")")
    };
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(id),
            sessions::organization_id.eq(actor.organization_id.uuid()),
            sessions::principal_id.eq(actor.principal_id.uuid()),
            sessions::key_generation.eq(i16::from(generation.number())),
            sessions::digest.eq(minted.digest.as_bytes().as_slice()),
            sessions::signed_in_by.eq(signed_in_by),
            sessions::expires_at.eq(later(limits.lifetime)),
            sessions::idle_expires_at.eq(later(limits.idle.min(limits.lifetime))),
            sessions::peer.eq(actor.origin.peer.map(columns::inet)),
            sessions::user_agent.eq(actor.origin.user_agent.as_deref()),
        ))
        .execute(connection)
        .await?;
    audit::insert(connection, event).await?;
    Ok(Some(minted.text))
}

impl Store {
    /// A page of a person's sessions that are good now, the newest first: by what does not change, so that one that is used while
    /// somebody goes through the pages is not passed over. In the order of an index.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn session_list(&self, principal: PrincipalId, page: &PageRequest) -> Result<Page<Session>, StoreError> {
        let (in_order, later) = sorting("created_at", "id", Order::Descending);
        let rows: Vec<SessionRow> = reading!(self, |connection| {
            let query = sessions::table
                .filter(sessions::principal_id.eq(principal.uuid()))
                .filter(sessions::revoked_at.is_null())
                .filter(sessions::expires_at.gt(now))
                .filter(sessions::idle_expires_at.gt(now))
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .select(SessionRow::as_select())
                .into_boxed();
            from_page!(query, &later, page).load(connection)
        })?;
        let found = rows.into_iter().map(SessionRow::session).collect();
        Ok(page.page(found, |session: &Session| key_of(session.created_at, session.id.uuid())))
    }

    /// Ends a session of a person's and says so in the log, once. False if the person has no such session.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn session_revoke(
        &self,
        id: SessionId,
        principal: PrincipalId,
        event: &AuditEvent,
    ) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            let revoked_at: Option<Option<OffsetDateTime>> = sessions::table
                .filter(sessions::id.eq(id.uuid()))
                .filter(sessions::principal_id.eq(principal.uuid()))
                .select(sessions::revoked_at)
                .for_no_key_update()
                .first(connection)
                .await
                .optional()?;
            match revoked_at {
                None => Ok(false),
                Some(Some(_)) => Ok(true),
                Some(None) => {
                    diesel::update(sessions::table.find(id.uuid()))
                        .set(sessions::revoked_at.eq(now))
                        .execute(connection)
                        .await?;
                    audit::insert(connection, event).await?;
                    Ok(true)
                }
            }
        })
    }

    /// Writes uses of sessions, one for each: what is used ends that much later. Rows are locked in one order, by whichever server.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn session_uses_write(&self, mut uses: Vec<SessionUse>, idle: Duration) -> Result<(), StoreError> {
        const UPDATE: &str = "
            UPDATE sessions SET
                last_used_at = used.at,
                idle_expires_at = least(used.at + make_interval(secs => $5), expires_at),
                peer = used.peer,
                user_agent = used.user_agent
            FROM (
                SELECT used.* FROM unnest($1, $2, $3, $4) AS used (id, at, peer, user_agent)
                JOIN sessions AS known USING (id)
                WHERE used.at >= known.last_used_at + make_interval(secs => $6) AND known.revoked_at IS NULL
                ORDER BY id FOR NO KEY UPDATE OF known
            ) AS used
            WHERE sessions.id = used.id";
        uses.sort_by_key(|one| one.session_id);
        let ids: Vec<Uuid> = uses.iter().map(|one| one.session_id.uuid()).collect();
        let times: Vec<OffsetDateTime> = uses.iter().map(|one| one.at).collect();
        let peers: Vec<Option<IpNet>> = uses.iter().map(|one| one.origin.peer.map(columns::inet)).collect();
        let user_agents: Vec<Option<&str>> = uses.iter().map(|one| one.origin.user_agent.as_deref()).collect();
        // Of a short idle time, a use comes to count in good time.
        let worth_writing = WORTH_WRITING.min(idle / 10);
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::sql_query(UPDATE)
                .bind::<Array<SqlUuid>, _>(&ids)
                .bind::<Array<Timestamptz>, _>(&times)
                .bind::<Array<Nullable<Inet>>, _>(&peers)
                .bind::<Array<Nullable<Text>>, _>(&user_agents)
                .bind::<Double, _>(idle.as_secs_f64())
                .bind::<Double, _>(worth_writing.as_secs_f64())
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Removes sessions and links that ended over a day ago (until then their holders are told so), and forms that nobody sends again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sessions_clear(&self) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            for statement in [
                "DELETE FROM sessions WHERE expires_at < now() - interval '1 day'",
                "DELETE FROM sign_in_links WHERE expires_at < now() - interval '1 day'",
                "DELETE FROM token_forms WHERE created_at < now() - interval '1 day'",
                "DELETE FROM servers WHERE seen_at < now() - interval '1 day'",
            ] {
                diesel::sql_query(statement).execute(connection).await?;
            }
            Ok(())
        })
    }
}
