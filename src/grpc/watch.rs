//! What is watched for, and how it is told.

use std::time::Duration;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::convert;
use crate::domain::event::{Event, EventCondition, EventFilter, Operation};
use crate::pb::gitpod::v1::{
    ResourceOperation, ResourceType, WatchEventsRequest, WatchEventsResponse,
    watch_events_request::{ResourceTypeFilter, Scope},
};
use crate::service::ServiceError;

/// How long a stream says nothing: proxies cut off what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The most filters of one stream.
const MAX_FILTERS: usize = 100;
/// The most IDs in all of its filters: each event is compared with them, and what is named is looked up and told of first.
const MAX_NAMES: usize = 100;

/// The same, with a message that says nothing whenever there was none for a while.
pub(super) fn kept_alive<E: Send + 'static>(
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

pub(super) fn event_filter(request: WatchEventsRequest) -> Result<EventFilter, ServiceError> {
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
    let names: usize =
        request.resource_type_filters.iter().map(|filter| filter.resource_ids.len() + filter.creator_ids.len()).sum();
    if names > MAX_NAMES {
        let problem = format!("have {names} IDs in all, the most are {MAX_NAMES}");
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

pub(super) fn told(event: Event) -> WatchEventsResponse {
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
