//! Principals as they are listed.

use std::collections::HashMap;

use diesel::{ExpressionMethods, QueryDsl, SelectableHelper, dsl::sql, sql_types::Bool};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    Store, StoreError, columns,
    keyset::{from_page, key_of, sorting},
    organizations::PrincipalRow,
    reading,
    schema::principals,
};
use crate::domain::{
    ids::{OrganizationId, PrincipalId},
    page::{Order, Page, PageRequest},
    principal::{PrincipalKind, PrincipalRecord},
};

impl Store {
    /// A page of an organization's principals of a kind, newest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn principal_list(
        &self,
        organization: OrganizationId,
        kind: PrincipalKind,
        page: &PageRequest,
    ) -> Result<Page<PrincipalRecord>, StoreError> {
        let (in_order, later) = sorting("created_at", "id", Order::Descending);
        let rows: Vec<PrincipalRow> = reading!(self, |connection| {
            let query = principals::table
                .filter(principals::organization_id.eq(organization.uuid()))
                .filter(principals::kind.eq(columns::principal_kind_text(kind)))
                .order(sql::<Bool>(&in_order))
                .limit(page.fetch())
                .select(PrincipalRow::as_select())
                .into_boxed();
            from_page!(query, &later, page).load(connection)
        })?;
        let found = rows.into_iter().map(PrincipalRow::record).collect::<Result<Vec<_>, _>>()?;
        Ok(page.page(found, |principal| key_of(principal.created_at, principal.id.uuid())))
    }

    /// What people call these principals of an organization, as far as they are there.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn principal_names(
        &self,
        organization: OrganizationId,
        ids: &[PrincipalId],
    ) -> Result<HashMap<PrincipalId, String>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows: Vec<(Uuid, String)> = reading!(self, |connection| {
            principals::table
                .filter(principals::organization_id.eq(organization.uuid()))
                .filter(principals::id.eq_any(&ids))
                .select((principals::id, principals::name))
                .load(connection)
        })?;
        Ok(rows.into_iter().map(|(id, name)| (id.into(), name)).collect())
    }
}
