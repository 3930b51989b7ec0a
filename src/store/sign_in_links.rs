//! Links that sign somebody in, once.

use diesel::{
    ExpressionMethods, NullableExpressionMethods, OptionalExtension, QueryDsl,
    dsl::{now, sql},
    sql_types::Timestamptz,
};
use diesel_async::RunQueryDsl;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    MintError, Store, StoreError, audit, columns,
    mint::mint,
    reading,
    schema::{principals, sign_in_links, signing_keys},
    sessions, writing,
};
use crate::domain::{
    audit::AuditEvent,
    clock::is_expired,
    ids::{OrganizationId, PrincipalId, SignInLinkId},
    principal::Actor,
    secret::Secret,
    session::SessionLimits,
    token::{CredentialKind, Digest, Presented, SigningKeys},
};

/// Whom a link signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInLink {
    /// Which.
    pub id: SignInLinkId,
    /// Where the person belongs.
    pub organization_id: OrganizationId,
    /// Who.
    pub principal_id: PrincipalId,
    /// What people call them.
    pub name: String,
    /// Their address.
    pub email: Option<String>,
}

type LinkRow = (Uuid, Uuid, Uuid, Vec<u8>, OffsetDateTime, Option<OffsetDateTime>, Option<OffsetDateTime>);

impl Store {
    /// Makes a link that is good for ten minutes. What it holds is kept nowhere.
    ///
    /// # Errors
    /// [`MintError`]
    pub async fn sign_in_link_create(
        &self,
        id: SignInLinkId,
        organization: OrganizationId,
        principal: PrincipalId,
        keys: &SigningKeys,
        event: &AuditEvent,
    ) -> Result<Secret, MintError> {
        writing!(self, async |connection| -> Result<Secret, MintError> {
            let (generation, minted) = mint(connection, keys, CredentialKind::SignInLink, id.uuid()).await?;
            diesel::insert_into(sign_in_links::table)
                .values((
                    sign_in_links::id.eq(id.uuid()),
                    sign_in_links::organization_id.eq(organization.uuid()),
                    sign_in_links::principal_id.eq(principal.uuid()),
                    sign_in_links::key_generation.eq(i16::from(generation.number())),
                    sign_in_links::digest.eq(minted.digest.as_bytes().as_slice()),
                    sign_in_links::expires_at.eq(sql::<Timestamptz>("now() + interval '10 minutes'")),
                ))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(minted.text)
        })
    }

    /// Whom a link that is good now signs in. None of one that is used, over or not ours.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sign_in_link_find(
        &self,
        presented: &Presented<'_>,
        keys: &SigningKeys,
    ) -> Result<Option<SignInLink>, StoreError> {
        let row: Option<(LinkRow, String, Option<String>, OffsetDateTime)> = reading!(self, |connection| {
            sign_in_links::table
                .inner_join(principals::table)
                .inner_join(signing_keys::table)
                .filter(sign_in_links::id.eq(presented.id()))
                .select((
                    (
                        sign_in_links::id,
                        sign_in_links::organization_id,
                        sign_in_links::principal_id,
                        sign_in_links::digest,
                        sign_in_links::expires_at,
                        sign_in_links::used_at,
                        signing_keys::revoked_at,
                    ),
                    principals::name,
                    principals::email.nullable(),
                    sql::<Timestamptz>("now()"),
                ))
                .first(connection)
        })
        .map(Some)
        .or_else(super::error::not_found)?;
        let Some((link, name, email, read_at)) = row else { return Ok(None) };
        let (id, organization, principal, digest, expires_at, used_at, key_revoked_at) = link;
        let is_ours = keys.matches(presented, &Digest::from_bytes(columns::digest(digest)?));
        let is_over = used_at.or(key_revoked_at).is_some() || is_expired(expires_at, read_at);
        Ok((is_ours && !is_over).then(|| SignInLink {
            id: id.into(),
            organization_id: organization.into(),
            principal_id: principal.into(),
            name,
            email,
        }))
    }

    /// Uses a link up and opens a session for whom it signs in: once, whoever else comes with it at the same moment. None if it has
    /// been used meanwhile, or is over, or the person may not act, which is logged.
    ///
    /// # Errors
    /// [`MintError`]
    pub async fn sign_in_link_use(
        &self,
        id: SignInLinkId,
        actor: &Actor,
        limits: &SessionLimits,
        keys: &SigningKeys,
        event: &AuditEvent,
    ) -> Result<Option<Secret>, MintError> {
        writing!(self, async |connection| -> Result<Option<Secret>, MintError> {
            let used: Option<Uuid> = diesel::update(sign_in_links::table.find(id.uuid()))
                .filter(sign_in_links::used_at.is_null())
                .filter(sign_in_links::expires_at.gt(now))
                .set(sign_in_links::used_at.eq(now))
                .returning(sign_in_links::principal_id)
                .get_result(connection)
                .await
                .optional()?;
            if used != Some(actor.principal_id.uuid()) {
                return Ok(None);
            }
            sessions::open(connection, actor, "link", limits, keys, event).await
        })
    }
}
