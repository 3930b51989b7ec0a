//! Making tokens.

use diesel::{
    ExpressionMethods, QueryDsl, SelectableHelper,
    dsl::{now, sql},
    sql_types::Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::TokenRow;
use crate::{
    domain::{
        audit::AuditEvent,
        ids::{OrganizationId, PrincipalId, TokenId},
        principal::{Credential, PrincipalKind},
        secret::Secret,
        token::{CreateToken, CredentialKind, SigningKeys, Token},
    },
    store::{
        MintError, StoreError, audit,
        error::TransactionError,
        mint::{hold_credential, mint},
        organizations::PrincipalRow,
        schema::{personal_access_tokens, principals, token_forms},
    },
};

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Names it.
    pub id: TokenId,
    /// The organization of its principal.
    pub organization_id: OrganizationId,
    /// Whose it will be.
    pub principal_id: PrincipalId,
    /// Who makes it.
    pub creator_id: PrincipalId,
    /// With which credential; none for the operator.
    pub created_with: Option<Credential>,
    /// By which its maker knows it again: a second one with this key is not made.
    pub idempotency_key: Option<Uuid>,
    /// What is asked for.
    pub asked: CreateToken,
    /// Live tokens that its principal may have at the most, this one included.
    pub limit: u32,
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenCreateError {
    /// Its principal has as many live tokens as it may.
    #[error("as many live tokens as allowed: {0}")]
    Limit(u32),
    /// There is no such principal in the organization.
    #[error("no such principal")]
    NoSuchPrincipal,
    /// Whoever makes it for somebody else is no admin, or not any more.
    #[error("who makes it may not make it for others")]
    NotForOthers,
    /// Making the credential failed.
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// Holds on to whose token it will be and to whoever makes it, in the order of their IDs. The kinds of both. A call that was let in as an
/// admin's makes nothing for others when its caller is none any more.
async fn hold_parties(
    connection: &mut AsyncPgConnection,
    new: &NewToken,
) -> Result<(PrincipalKind, PrincipalKind), TokenCreateError> {
    let rows: Vec<PrincipalRow> = principals::table
        .filter(principals::organization_id.eq(new.organization_id.uuid()))
        .filter(principals::id.eq_any([new.principal_id.uuid(), new.creator_id.uuid()]))
        .order(principals::id)
        .select(PrincipalRow::as_select())
        .for_no_key_update()
        .load(connection)
        .await?;
    let held = rows.into_iter().map(PrincipalRow::record).collect::<Result<Vec<_>, _>>()?;
    let find = |id: PrincipalId| held.iter().find(|found| found.id == id).ok_or(TokenCreateError::NoSuchPrincipal);
    let (holder, creator) = (find(new.principal_id)?, find(new.creator_id)?);
    if holder.id != creator.id && !creator.may_administer() {
        return Err(TokenCreateError::NotForOthers);
    }
    Ok((holder.kind, creator.kind))
}

/// Makes a token, in the transaction of what it is made for.
pub(in crate::store) async fn create(
    connection: &mut AsyncPgConnection,
    new: &NewToken,
    keys: &SigningKeys,
    event: &AuditEvent,
) -> Result<(Token, Secret), TokenCreateError> {
    let (kind, creator_kind) = hold_parties(connection, new).await?;
    // Before anything else is looked at: what it has made may be what the limit was reached with.
    if let Some(key) = new.idempotency_key {
        diesel::insert_into(token_forms::table)
            .values((
                token_forms::creator_id.eq(new.creator_id.uuid()),
                token_forms::idempotency_key.eq(key),
                token_forms::token_id.eq(new.id.uuid()),
            ))
            .execute(connection)
            .await?;
    }
    let live: i64 = personal_access_tokens::table
        .filter(personal_access_tokens::principal_id.eq(new.principal_id.uuid()))
        .filter(personal_access_tokens::revoked_at.is_null())
        .filter(personal_access_tokens::expires_at.gt(now))
        .count()
        .get_result(connection)
        .await?;
    if live >= i64::from(new.limit) {
        return Err(TokenCreateError::Limit(new.limit));
    }
    if let Some(credential) = new.created_with {
        hold_credential(connection, credential).await?;
    }
    let (generation, minted) = mint(connection, keys, CredentialKind::PersonalAccessToken, new.id.uuid()).await?;
    let row: TokenRow = diesel::insert_into(personal_access_tokens::table)
        .values((
            personal_access_tokens::id.eq(new.id.uuid()),
            personal_access_tokens::organization_id.eq(new.organization_id.uuid()),
            personal_access_tokens::principal_id.eq(new.principal_id.uuid()),
            personal_access_tokens::creator_id.eq(new.creator_id.uuid()),
            personal_access_tokens::created_by_token_id
                .eq(new.created_with.and_then(Credential::token_id).map(TokenId::uuid)),
            personal_access_tokens::key_generation.eq(i16::from(generation.number())),
            personal_access_tokens::digest.eq(minted.digest.as_bytes().as_slice()),
            personal_access_tokens::description.eq(new.asked.description()),
            personal_access_tokens::read_only.eq(new.asked.read_only()),
            personal_access_tokens::expires_at.eq(sql::<Timestamptz>("now() + make_interval(secs => ")
                .bind::<diesel::sql_types::Double, _>(new.asked.valid_for().as_seconds_f64())
                .sql(")")),
        ))
        .returning(TokenRow::as_returning())
        .get_result(connection)
        .await?;
    audit::insert(connection, event).await?;
    Ok((row.token(kind, creator_kind, None), minted.text))
}

impl From<diesel::result::Error> for TokenCreateError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl TransactionError for TokenCreateError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Mint(error) => error.is_unavailable(),
            Self::Limit(_) | Self::NoSuchPrincipal | Self::NotForOthers => false,
        }
    }

    fn at_commit(self) -> Self {
        match self {
            Self::Mint(error) => Self::Mint(error.at_commit()),
            Self::Limit(_) | Self::NoSuchPrincipal | Self::NotForOthers => self,
        }
    }
}

impl From<StoreError> for TokenCreateError {
    fn from(error: StoreError) -> Self {
        Self::Mint(error.into())
    }
}
