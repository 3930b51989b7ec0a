//! Personal access tokens as they are looked up and listed.

use diesel::{
    ExpressionMethods, JoinOnDsl, NullableExpressionMethods, QueryDsl, SelectableHelper,
    dsl::{now, sql},
    sql_types::{Bool, Double, Timestamptz},
};
use diesel_async::RunQueryDsl;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Store, StoreError, TokenScope,
    error::not_found,
    keyset::{from_page, key_of, sorting},
    reading,
    schema::{personal_access_tokens, principals, token_forms, token_last_used},
    tokens::{JoinedRow, TokenRow, joined, known_tokens, within},
};
use crate::domain::{
    ids::{OrganizationId, PrincipalId, TokenId},
    page::{Order, Page, PageRequest},
    token::{Token, TokenState},
};

impl Store {
    /// One token, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_get(&self, id: TokenId, scope: TokenScope) -> Result<Option<Token>, StoreError> {
        let row: Option<JoinedRow> = reading!(self, |connection| {
            known_tokens!().filter(personal_access_tokens::id.eq(id.uuid())).filter(within(scope)).first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        row.map(joined).transpose()
    }

    /// Which token somebody's form has made. None of one that has made none, or did so long ago.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_of_form(
        &self,
        creator: PrincipalId,
        idempotency_key: Uuid,
    ) -> Result<Option<TokenId>, StoreError> {
        let found: Option<Option<Uuid>> = reading!(self, |connection| {
            token_forms::table.find((creator.uuid(), idempotency_key)).select(token_forms::token_id).first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        Ok(found.flatten().map(Into::into))
    }

    /// The active tokens of one principal that end within some time, the first to end first; so many at the most.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_list_ending(
        &self,
        organization: OrganizationId,
        principal: PrincipalId,
        within: Duration,
        most: usize,
    ) -> Result<Vec<Token>, StoreError> {
        let soon =
            sql::<Timestamptz>("now() + make_interval(secs => ").bind::<Double, _>(within.as_seconds_f64()).sql(")");
        let rows: Vec<JoinedRow> = reading!(self, |connection| {
            known_tokens!()
                .filter(personal_access_tokens::organization_id.eq(organization.uuid()))
                .filter(personal_access_tokens::principal_id.eq(principal.uuid()))
                .filter(personal_access_tokens::revoked_at.is_null())
                .filter(personal_access_tokens::expires_at.gt(now))
                .filter(personal_access_tokens::expires_at.lt(soon.clone()))
                .order((personal_access_tokens::expires_at.asc(), personal_access_tokens::id.asc()))
                .limit(i64::try_from(most).unwrap_or(i64::MAX))
                .load(connection)
        })?;
        rows.into_iter().map(joined).collect()
    }

    /// A page of the tokens of some principals of an organization (of all, if none is named): newest first, expired ones included, revoked ones not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_list(
        &self,
        organization: OrganizationId,
        principals_of: &[PrincipalId],
        page: &PageRequest,
    ) -> Result<Page<Token>, StoreError> {
        let ids: Vec<Uuid> = principals_of.iter().map(|id| id.uuid()).collect();
        let rows: Vec<JoinedRow> = reading!(self, |connection| {
            let mut query = known_tokens!()
                .filter(personal_access_tokens::organization_id.eq(organization.uuid()))
                .filter(personal_access_tokens::revoked_at.is_null())
                .order((personal_access_tokens::created_at.desc(), personal_access_tokens::id.desc()))
                .limit(page.fetch())
                .into_boxed();
            query = match ids.as_slice() {
                [] => query,
                // By equality, the index has the order.
                [one] => query.filter(personal_access_tokens::principal_id.eq(*one)),
                several => query.filter(personal_access_tokens::principal_id.eq_any(several.to_vec())),
            };
            let later = "(personal_access_tokens.created_at, personal_access_tokens.id) < (";
            from_page!(query, later, page).load(connection)
        })?;
        let tokens = rows.into_iter().map(joined).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(tokens, |token| key_of(token.created_at, token.id.uuid())))
    }

    /// A page of the tokens of one principal that are in a state: the active ones newest first, the others by when they ended, the last
    /// first. Each is in the order of an index.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn token_list_of_state(
        &self,
        organization: OrganizationId,
        principal: PrincipalId,
        state: TokenState,
        page: &PageRequest,
    ) -> Result<Page<Token>, StoreError> {
        let column = match state {
            TokenState::Active => "personal_access_tokens.created_at",
            TokenState::Expired => "personal_access_tokens.expires_at",
            TokenState::Revoked => "personal_access_tokens.revoked_at",
        };
        let (in_order, later) = sorting(column, "personal_access_tokens.id", Order::Descending);
        let rows: Vec<JoinedRow> = reading!(self, |connection| {
            let mut query = known_tokens!()
                .filter(personal_access_tokens::organization_id.eq(organization.uuid()))
                .filter(personal_access_tokens::principal_id.eq(principal.uuid()))
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .into_boxed();
            query = match state {
                TokenState::Active => query
                    .filter(personal_access_tokens::revoked_at.is_null())
                    .filter(personal_access_tokens::expires_at.gt(now))
                    // No token lasts longer than 90 days, so that nobody looks through all that have expired since the beginning.
                    .filter(personal_access_tokens::created_at.gt(sql::<Timestamptz>("now() - interval '91 days'"))),
                TokenState::Expired => query
                    .filter(personal_access_tokens::revoked_at.is_null())
                    .filter(personal_access_tokens::expires_at.le(now)),
                TokenState::Revoked => query.filter(personal_access_tokens::revoked_at.is_not_null()),
            };
            from_page!(query, &later, page).load(connection)
        })?;
        let tokens = rows.into_iter().map(joined).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(tokens, |token| key_of(sorted_by(token, state), token.id.uuid())))
    }
}

/// The time that a list of tokens of a state goes by.
fn sorted_by(token: &Token, state: TokenState) -> OffsetDateTime {
    match state {
        TokenState::Active => token.created_at,
        TokenState::Expired => token.expires_at,
        TokenState::Revoked => token.revoked_at.unwrap_or(token.created_at),
    }
}
