//! `gitpod.v1.EventService`.

use std::time::Duration;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::domain::{
    audit::{AuditFilter, SubjectType},
    event::{Event, EventCondition, EventFilter, Operation},
    principal::PrincipalKind,
};
use crate::pb::gitpod::v1::{
    ListAuditLogsRequest, ListAuditLogsResponse, Principal, ResourceOperation, ResourceType, Sort, SortOrder,
    WatchEventsRequest, WatchEventsResponse,
    event_service_server::EventService,
    list_audit_logs_request,
    watch_events_request::{ResourceTypeFilter, Scope},
};
use crate::service::{AuditLogs, Events, ServiceError};

/// How long a stream says nothing: proxies cut off what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The most filters of one stream.
const MAX_FILTERS: usize = 100;

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
        let filter = event_filter(request.into_inner())?;
        let watching = self.events.watch(caller.actor(), filter).await?;
        let events = stream::unfold(Some(watching), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(event) => Some((Ok(told(event)), Some(watching))),
                Err(end) => Some((Err(end.into()), None)),
            }
        });
        Ok(Response::new(kept_alive(events.boxed())))
    }

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

/// The same, with a message that says nothing whenever there was none for a while.
fn kept_alive<E: Send + 'static>(
    events: BoxStream<'static, Result<WatchEventsResponse, E>>,
) -> BoxStream<'static, Result<WatchEventsResponse, E>> {
    let told = stream::unfold(events, |mut events| async {
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(event) => Some((event?, events)),
            Err(_silence) => Some((Ok(WatchEventsResponse::default()), events)),
        }
    });
    told.boxed()
}

fn event_filter(request: WatchEventsRequest) -> Result<EventFilter, ServiceError> {
    let scope = match request.scope {
        None | Some(Scope::Organization(true)) => None,
        Some(Scope::Organization(false)) => {
            return Err(ServiceError::Invalid { field: "organization", problem: "must be true, or absent".to_owned() });
        }
        Some(Scope::EnvironmentId(id)) => Some(convert::id("environment_id", &id)?),
    };
    if request.resource_type_filters.len() > MAX_FILTERS {
        let problem = format!("has {} filters, the most are {MAX_FILTERS}", request.resource_type_filters.len());
        return Err(ServiceError::Invalid { field: "resource_type_filters", problem });
    }
    let conditions = request.resource_type_filters.iter().map(event_condition).collect::<Result<_, _>>()?;
    Ok(EventFilter { scope, conditions })
}

fn event_condition(filter: &ResourceTypeFilter) -> Result<EventCondition, ServiceError> {
    match ResourceType::try_from(filter.resource_type) {
        Ok(ResourceType::Unspecified | ResourceType::Environment) => {}
        _ => {
            return Err(ServiceError::Invalid {
                field: "resource_type_filters.resource_type",
                problem: "must be RESOURCE_TYPE_ENVIRONMENT: of nothing else is told what happens".to_owned(),
            });
        }
    }
    Ok(EventCondition {
        environment_ids: convert::ids("resource_type_filters.resource_ids", &filter.resource_ids)?,
        creator_ids: convert::ids("resource_type_filters.creator_ids", &filter.creator_ids)?,
    })
}

fn told(event: Event) -> WatchEventsResponse {
    let operation = match event.operation {
        Operation::Create => ResourceOperation::Create,
        Operation::Update => ResourceOperation::Update,
        Operation::UpdateStatus => ResourceOperation::UpdateStatus,
        Operation::Delete => ResourceOperation::Delete,
    };
    WatchEventsResponse {
        operation: operation.into(),
        resource_type: ResourceType::Environment.into(),
        resource_id: event.environment_id.to_string(),
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_kept_alive() {
        let event = WatchEventsResponse { resource_id: "1".to_owned(), ..Default::default() };
        let events = stream::iter([Ok::<_, Infallible>(event.clone())]).chain(stream::pending());
        let mut told = kept_alive(events.boxed());
        assert_eq!(told.next().await, Some(Ok(event)));
        for _ in 0..2 {
            let began = tokio::time::Instant::now();
            assert_eq!(told.next().await, Some(Ok(WatchEventsResponse::default())));
            assert_eq!(began.elapsed(), KEEP_ALIVE);
        }
    }
}
