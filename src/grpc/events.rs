//! `gitpod.v1.EventService`.

use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::domain::{
    audit::{AuditFilter, SubjectType},
    principal::PrincipalKind,
};
use crate::pb::gitpod::v1::{
    ListAuditLogsRequest, ListAuditLogsResponse, Principal, ResourceType, Sort, SortOrder,
    event_service_server::EventService, list_audit_logs_request,
};
use crate::service::{AuditLogs, ServiceError};

/// Serves the use cases of the audit log.
#[derive(Debug, Clone)]
pub struct EventApi {
    audit_logs: AuditLogs,
}

impl EventApi {
    /// On use cases.
    #[must_use]
    pub const fn new(audit_logs: AuditLogs) -> Self {
        Self { audit_logs }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    async fn list_audit_logs(
        &self,
        request: Request<ListAuditLogsRequest>,
    ) -> Result<Response<ListAuditLogsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = convert::page_request(request.pagination)?;
        check_sort(request.sort.as_ref())?;
        let filter = filter(request.filter.unwrap_or_default())?;
        let entries = self.audit_logs.list(caller.actor(), filter, &page).await?;
        let (entries, pagination) = convert::page(entries, convert::audit_entry);
        Ok(Response::new(ListAuditLogsResponse { entries, pagination }))
    }
}

fn filter(filter: list_audit_logs_request::Filter) -> Result<AuditFilter, ServiceError> {
    Ok(AuditFilter {
        actor_ids: convert::ids("filter.actor_ids", &filter.actor_ids)?,
        actor_kinds: convert::distinct(&filter.actor_principals, principal)?,
        subject_ids: convert::ids::<uuid::Uuid>("filter.subject_ids", &filter.subject_ids)?,
        subject_types: convert::distinct(&filter.subject_types, subject_type)?,
        from: filter.from.map(|from| convert::time("filter.from", from)).transpose()?,
        to: filter.to.map(|to| convert::time("filter.to", to)).transpose()?,
    })
}

fn principal(number: i32) -> Result<PrincipalKind, ServiceError> {
    [PrincipalKind::User, PrincipalKind::ServiceAccount]
        .into_iter()
        .find(|kind| Ok(convert::principal(*kind)) == Principal::try_from(number))
        .ok_or(ServiceError::Invalid {
            field: "filter.actor_principals",
            problem: "must be PRINCIPAL_USER or PRINCIPAL_SERVICE_ACCOUNT".to_owned(),
        })
}

fn subject_type(number: i32) -> Result<SubjectType, ServiceError> {
    convert::SUBJECT_TYPES
        .into_iter()
        .find(|(_, resource)| Ok(*resource) == ResourceType::try_from(number))
        .map(|(subject_type, _)| subject_type)
        .ok_or(ServiceError::Invalid {
            field: "filter.subject_types",
            problem: format!("{number} is no type of resource that the audit log has entries of"),
        })
}

/// The log has one order.
fn check_sort(sort: Option<&Sort>) -> Result<(), ServiceError> {
    let Some(sort) = sort else { return Ok(()) };
    if !matches!(sort.field.as_str(), "" | "created_at" | "createdAt") {
        return Err(ServiceError::Invalid { field: "sort.field", problem: "must be created_at".to_owned() });
    }
    match SortOrder::try_from(sort.order) {
        Ok(SortOrder::Unspecified | SortOrder::Desc) => Ok(()),
        Ok(SortOrder::Asc) | Err(_) => Err(ServiceError::Invalid {
            field: "sort.order",
            problem: "must be SORT_ORDER_DESC: newest first".to_owned(),
        }),
    }
}
