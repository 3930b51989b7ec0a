//! Organizations and their principals.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable, SelectableHelper};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError, audit, columns,
    error::not_found,
    reading,
    schema::{organizations, principals},
    suspensions::is_admin_still,
    writing,
};
use crate::domain::{
    audit::AuditEvent,
    ids::{OrganizationId, PrincipalId},
    principal::{PrincipalKind, PrincipalRecord, Role},
};

/// A user to be added.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Names it.
    pub id: PrincipalId,
    /// The organization it will belong to.
    pub organization_id: OrganizationId,
    /// Its address, unlike that of every other user of the organization.
    pub email: String,
    /// What people call it.
    pub name: String,
    /// Member or admin.
    pub role: Role,
}

/// A service account to be added.
#[derive(Debug, Clone)]
pub struct NewServiceAccount {
    /// Names it.
    pub id: PrincipalId,
    /// The organization it will belong to.
    pub organization_id: OrganizationId,
    /// What people call it.
    pub name: String,
    /// Member or service.
    pub role: Role,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = principals, check_for_backend(diesel::pg::Pg))]
pub(super) struct PrincipalRow {
    id: Uuid,
    organization_id: Uuid,
    kind: String,
    role: String,
    status: String,
    name: String,
    email: Option<String>,
    created_at: OffsetDateTime,
}

impl PrincipalRow {
    pub(super) fn record(self) -> Result<PrincipalRecord, StoreError> {
        Ok(PrincipalRecord {
            id: self.id.into(),
            organization_id: self.organization_id.into(),
            kind: columns::principal_kind(&self.kind)?,
            role: columns::role(&self.role)?,
            status: columns::status(&self.status)?,
            name: self.name,
            email: self.email,
            created_at: self.created_at,
        })
    }
}

/// Adds a user, in a transaction with something else. False if the organization has one with that address.
pub(super) async fn add_user(
    connection: &mut AsyncPgConnection,
    new: &NewUser,
    event: &AuditEvent,
) -> Result<bool, StoreError> {
    let added = diesel::insert_into(principals::table)
        .values((
            principals::id.eq(new.id.uuid()),
            principals::organization_id.eq(new.organization_id.uuid()),
            principals::kind.eq(columns::principal_kind_text(PrincipalKind::User)),
            principals::role.eq(columns::role_text(new.role)),
            principals::name.eq(&new.name),
            principals::email.eq(&new.email),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    if added == 1 {
        audit::insert(connection, event).await?;
    }
    Ok(added == 1)
}

impl Store {
    /// Makes the first organization if there is none, and returns the first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn organization_ensure(&self, name: &str) -> Result<OrganizationId, StoreError> {
        writing!(self, async |connection| -> Result<OrganizationId, StoreError> {
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('latchkey first organization'))")
                .execute(connection)
                .await?;
            let known: Option<Uuid> = organizations::table
                .order((organizations::created_at, organizations::id))
                .select(organizations::id)
                .first(connection)
                .await
                .optional()?;
            if let Some(id) = known {
                return Ok(id.into());
            }
            let id = OrganizationId::generate();
            diesel::insert_into(organizations::table)
                .values((organizations::id.eq(id.uuid()), organizations::name.eq(name)))
                .execute(connection)
                .await?;
            Ok(id)
        })
    }

    /// Adds a user. False if the organization has one with that address.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn user_create(&self, new: &NewUser, event: &AuditEvent) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> { add_user(connection, new, event).await })
    }

    /// The admin that an organization has had for longest, of those that can act.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn first_admin(&self, organization: OrganizationId) -> Result<Option<PrincipalRecord>, StoreError> {
        let row: Option<PrincipalRow> = reading!(self, |connection| {
            principals::table
                .filter(principals::organization_id.eq(organization.uuid()))
                .filter(principals::role.eq(columns::role_text(Role::Admin)))
                .filter(principals::status.eq("active"))
                .order((principals::created_at, principals::id))
                .select(PrincipalRow::as_select())
                .first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        row.map(PrincipalRow::record).transpose()
    }

    /// Adds a service account. False if who does it is no admin any more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn service_account_create(
        &self,
        new: &NewServiceAccount,
        event: &AuditEvent,
    ) -> Result<bool, StoreError> {
        writing!(self, async |connection| -> Result<bool, StoreError> {
            if !is_admin_still(connection, event).await? {
                return Ok(false);
            }
            diesel::insert_into(principals::table)
                .values((
                    principals::id.eq(new.id.uuid()),
                    principals::organization_id.eq(new.organization_id.uuid()),
                    principals::kind.eq(columns::principal_kind_text(PrincipalKind::ServiceAccount)),
                    principals::role.eq(columns::role_text(new.role)),
                    principals::name.eq(&new.name),
                ))
                .execute(connection)
                .await?;
            audit::insert(connection, event).await?;
            Ok(true)
        })
    }

    /// A principal of an organization.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn principal_get(
        &self,
        organization: OrganizationId,
        id: PrincipalId,
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        let row: Option<PrincipalRow> = reading!(self, |connection| {
            principals::table
                .filter(principals::id.eq(id.uuid()))
                .filter(principals::organization_id.eq(organization.uuid()))
                .select(PrincipalRow::as_select())
                .first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        row.map(PrincipalRow::record).transpose()
    }

    /// The user of an organization with an address, however it is written.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn user_by_email(
        &self,
        organization: OrganizationId,
        email: &str,
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        diesel::define_sql_function!(fn lower(text: diesel::sql_types::Nullable<diesel::sql_types::Text>) -> diesel::sql_types::Nullable<diesel::sql_types::Text>);
        let row: Option<PrincipalRow> = reading!(self, |connection| {
            principals::table
                .filter(principals::organization_id.eq(organization.uuid()))
                .filter(lower(principals::email).eq(lower(email)))
                .select(PrincipalRow::as_select())
                .first(connection)
        })
        .map(Some)
        .or_else(not_found)?;
        row.map(PrincipalRow::record).transpose()
    }
}
