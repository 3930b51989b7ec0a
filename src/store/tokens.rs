//! Personal access tokens.

mod creating;

use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods, OptionalExtension, QueryDsl,
    Queryable, Selectable, SelectableHelper,
    dsl::{Eq, Or, sql},
    sql_types::Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, audit, columns,
    schema::{personal_access_tokens, principals, token_last_used},
    writing,
};
use crate::domain::{
    audit::AuditEvent,
    ids::{OrganizationId, PrincipalId, TokenId},
    principal::PrincipalKind,
    secret::Secret,
    token::{LastUsed, SigningKeys, Token, TokenDescription},
};

pub(super) use creating::create;
pub use creating::{NewToken, TokenCreateError};

/// What came of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenDelete {
    /// It was live, and is revoked.
    Revoked,
    /// It had been revoked before; nothing changed.
    Already,
    /// There is no such token in that scope.
    NotFound,
}

/// What came of giving a token another description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenUpdate {
    /// It has it from now on; or it had it before, and nothing changed.
    Known(Box<Token>),
    /// There is no such token in that scope, or it is revoked.
    NotFound,
}

/// Whose tokens may be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScope {
    /// Those of one principal.
    Principal(PrincipalId),
    /// Those of all principals of an organization.
    Organization(OrganizationId),
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = personal_access_tokens, check_for_backend(diesel::pg::Pg))]
pub(super) struct TokenRow {
    id: Uuid,
    organization_id: Uuid,
    principal_id: Uuid,
    creator_id: Uuid,
    description: String,
    read_only: bool,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
}

/// A token with the kinds of its principal and its creator, and with when and from where it was last used.
pub(super) type JoinedRow = (TokenRow, String, String, Option<(OffsetDateTime, Option<IpNet>)>);

/// All tokens, each as a [`JoinedRow`]. A macro, since the type of such a query cannot be written down.
macro_rules! known_tokens {
    () => {{
        let creators = diesel::alias!($crate::store::schema::principals as creators);
        personal_access_tokens::table
            .inner_join(principals::table)
            .inner_join(creators.on(creators.field(principals::id).eq(personal_access_tokens::creator_id)))
            .left_join(token_last_used::table)
            .select((
                TokenRow::as_select(),
                principals::kind,
                creators.field(principals::kind),
                (token_last_used::last_used_at, token_last_used::peer).nullable(),
            ))
    }};
}

pub(super) use known_tokens;

impl TokenRow {
    fn token(self, kind: PrincipalKind, creator_kind: PrincipalKind, last_used: Option<LastUsed>) -> Token {
        Token {
            id: self.id.into(),
            organization_id: self.organization_id.into(),
            principal_id: self.principal_id.into(),
            principal_kind: kind,
            creator_id: self.creator_id.into(),
            creator_kind,
            description: self.description,
            read_only: self.read_only,
            created_at: self.created_at,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used,
        }
    }
}

pub(super) fn joined((row, kind, creator_kind, last_used): JoinedRow) -> Result<Token, StoreError> {
    let last_used = last_used.map(|(at, peer)| LastUsed { at, peer: peer.map(|net| net.addr()) });
    Ok(row.token(columns::principal_kind(&kind)?, columns::principal_kind(&creator_kind)?, last_used))
}

/// Whether a token is one of a scope's.
pub(super) fn within(
    scope: TokenScope,
) -> Or<Eq<personal_access_tokens::principal_id, Uuid>, Eq<personal_access_tokens::organization_id, Uuid>> {
    // The other half is true of none.
    let (principal, organization) = match scope {
        TokenScope::Principal(principal) => (principal.uuid(), Uuid::nil()),
        TokenScope::Organization(organization) => (Uuid::nil(), organization.uuid()),
    };
    personal_access_tokens::principal_id.eq(principal).or(personal_access_tokens::organization_id.eq(organization))
}

impl Store {
    /// Makes a token: exact about its principal's limit, however many are made at once. The second value is the token's
    /// text, kept nowhere.
    ///
    /// # Errors
    /// [`TokenCreateError`]
    pub async fn token_create(
        &self,
        new: &NewToken,
        keys: &SigningKeys,
        event: &AuditEvent,
    ) -> Result<(Token, Secret), TokenCreateError> {
        writing!(self, async |connection| -> Result<(Token, Secret), TokenCreateError> {
            create(connection, new, keys, event).await
        })
    }

    /// Gives a token another description and says so in the log. Without one, and with the one that it has, it changes and logs
    /// nothing. What is revoked is over, and stays as it is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_update(
        &self,
        id: TokenId,
        scope: TokenScope,
        description: Option<&TokenDescription>,
        event: &AuditEvent,
    ) -> Result<TokenUpdate, StoreError> {
        writing!(self, async |connection| -> Result<TokenUpdate, StoreError> {
            let held: Option<String> = personal_access_tokens::table
                .filter(personal_access_tokens::id.eq(id.uuid()))
                .filter(within(scope))
                .filter(personal_access_tokens::revoked_at.is_null())
                .select(personal_access_tokens::description)
                .for_no_key_update()
                .first(connection)
                .await
                .optional()?;
            let Some(held) = held else { return Ok(TokenUpdate::NotFound) };
            if let Some(description) = description.filter(|description| description.as_str() != held) {
                diesel::update(personal_access_tokens::table.find(id.uuid()))
                    .set(personal_access_tokens::description.eq(description.as_str()))
                    .execute(connection)
                    .await?;
                audit::insert(connection, event).await?;
            }
            let row: JoinedRow =
                known_tokens!().filter(personal_access_tokens::id.eq(id.uuid())).first(connection).await?;
            Ok(TokenUpdate::Known(Box::new(joined(row)?)))
        })
    }

    /// Revokes a token and says so in the log, once: a later call changes and logs nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_delete(
        &self,
        id: TokenId,
        scope: TokenScope,
        event: &AuditEvent,
    ) -> Result<TokenDelete, StoreError> {
        writing!(self, async |connection| -> Result<TokenDelete, StoreError> {
            let revoked_at: Option<Option<OffsetDateTime>> = personal_access_tokens::table
                .filter(personal_access_tokens::id.eq(id.uuid()))
                .filter(within(scope))
                .select(personal_access_tokens::revoked_at)
                .for_no_key_update()
                .first(connection)
                .await
                .optional()?;
            match revoked_at {
                None => Ok(TokenDelete::NotFound),
                Some(Some(_)) => Ok(TokenDelete::Already),
                Some(None) => {
                    diesel::update(personal_access_tokens::table.find(id.uuid()))
                        .set(personal_access_tokens::revoked_at.eq(revocation_time()))
                        .execute(connection)
                        .await?;
                    audit::insert(connection, event).await?;
                    Ok(TokenDelete::Revoked)
                }
            }
        })
    }
}

/// Revokes a token that is not revoked and says so in the log, in the transaction of what it is revoked for.
pub(super) async fn revoke(
    connection: &mut AsyncPgConnection,
    id: TokenId,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let revoked = diesel::update(personal_access_tokens::table.find(id.uuid()))
        .filter(personal_access_tokens::revoked_at.is_null())
        .set(personal_access_tokens::revoked_at.eq(revocation_time()))
        .execute(connection)
        .await?;
    if revoked > 0 {
        audit::insert(connection, event).await?;
    }
    Ok(revoked > 0)
}

/// Now, but never before the token was made: a transaction that began earlier has an earlier `now()`.
pub(super) fn revocation_time() -> diesel::expression::SqlLiteral<diesel::sql_types::Nullable<Timestamptz>> {
    sql("greatest(now(), created_at)")
}
