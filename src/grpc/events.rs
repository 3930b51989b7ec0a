//! `gitpod.v1.EventService`.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status};

use super::{caller, convert, watch};
use crate::domain::{
    audit::{AuditFilter, SubjectType},
    page::{Order, Page},
    principal::PrincipalKind,
};
use crate::pb::gitpod::v1::{
    ListAuditLogsRequest, ListAuditLogsResponse, Principal, ResourceType, Sort, WatchEventsRequest,
    WatchEventsResponse, event_service_server::EventService, list_audit_logs_request,
};
use crate::service::{AuditLogs, Events, ServiceError};

/// Serves the use cases of events and of the audit log.
#[derive(Clone)]
pub struct EventApi {
    events: Events,
    audit_logs: AuditLogs,
}

impl EventApi {
    /// On use cases.
    #[must_use]
    pub const fn new(events: Events, audit_logs: AuditLogs) -> Self {
        Self { events, audit_logs }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    type WatchEventsStream = BoxStream<'static, Result<WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = caller(&request)?;
        let filter = watch::event_filter(request.into_inner())?;
        let rpc = "gitpod.v1.EventService/WatchEvents";
        let watching = self.events.watch(caller.actor(), filter, rpc).await?;
        let events = stream::unfold(Some(watching), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(event) => Some((Ok(watch::told(event)), Some(watching))),
                Err(end) => Some((Err(end.into()), None)),
            }
        });
        Ok(Response::new(watch::kept_alive(events.boxed())))
    }

    async fn list_audit_logs(
        &self,
        request: Request<ListAuditLogsRequest>,
    ) -> Result<Response<ListAuditLogsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = convert::page_request(request.pagination)?;
        let order = order(request.sort.as_ref())?;
        let entries = match filter(request.filter.unwrap_or_default())? {
            Some(filter) => self.audit_logs.list(caller.actor(), filter, order, &page).await?,
            None => Page { entries: Vec::new(), next: None },
        };
        let (entries, pagination) = convert::page(entries, convert::audit_entry);
        Ok(Response::new(ListAuditLogsResponse { entries, pagination }))
    }
}

/// A filter, or none when it asks for kinds alone of which there are no entries.
fn filter(filter: list_audit_logs_request::Filter) -> Result<Option<AuditFilter>, ServiceError> {
    let actor_kinds = convert::distinct(&filter.actor_principals, principal)?;
    let subject_types = convert::distinct(&filter.subject_types, subject_type)?;
    let lacks = |known: usize, asked: usize| asked > 0 && known == 0;
    let matching = AuditFilter {
        actor_ids: convert::ids("filter.actor_ids", &filter.actor_ids)?,
        actor_kinds: actor_kinds.iter().copied().flatten().collect(),
        subject_ids: convert::ids::<uuid::Uuid>("filter.subject_ids", &filter.subject_ids)?,
        subject_types: subject_types.iter().copied().flatten().collect(),
        from: filter.from.map(|from| convert::time("filter.from", from)).transpose()?,
        to: filter.to.map(|to| convert::time("filter.to", to)).transpose()?,
    };
    let matches_none = lacks(matching.actor_kinds.len(), actor_kinds.len())
        || lacks(matching.subject_types.len(), subject_types.len());
    Ok((!matches_none).then_some(matching))
}

/// A kind of those who act; none for one of the contract's that nobody here is of.
fn principal(number: i32) -> Result<Option<PrincipalKind>, ServiceError> {
    match Principal::try_from(number) {
        Ok(Principal::Unspecified) | Err(_) => Err(ServiceError::Invalid {
            field: "filter.actor_principals",
            problem: format!("{number} is no kind of those who act"),
        }),
        Ok(asked) => Ok([PrincipalKind::User, PrincipalKind::ServiceAccount]
            .into_iter()
            .find(|kind| convert::principal(*kind) == asked)),
    }
}

/// A kind of what is acted on; none for one of the contract's that nothing here is of.
fn subject_type(number: i32) -> Result<Option<SubjectType>, ServiceError> {
    match ResourceType::try_from(number) {
        Ok(ResourceType::Unspecified) | Err(_) => Err(ServiceError::Invalid {
            field: "filter.subject_types",
            problem: format!("{number} is no type of resource"),
        }),
        Ok(asked) => {
            let found = convert::SUBJECT_TYPES.into_iter().find(|(_, resource)| *resource == asked);
            Ok(found.map(|(subject_type, _)| subject_type))
        }
    }
}

/// The log is in the order of time: newest first, or oldest first.
fn order(sort: Option<&Sort>) -> Result<Order, ServiceError> {
    let Some(sort) = sort else { return Ok(Order::default()) };
    if !matches!(sort.field.as_str(), "" | "created_at" | "createdAt") {
        let asked: String = sort.field.chars().take(100).collect();
        let problem = format!("{asked:?} is nothing that the log can be sorted by; use created_at");
        return Err(ServiceError::Invalid { field: "sort.field", problem });
    }
    convert::order(sort.order)
}
