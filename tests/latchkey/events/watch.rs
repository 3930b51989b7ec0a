//! Somebody who watches.

use std::time::Duration;

use latchkey::{
    domain::clock::boot_time,
    pb::gitpod::v1::{
        ResourceOperation, ResourceType, WatchEventsRequest, WatchEventsResponse,
        watch_events_request::{ResourceTypeFilter, Scope},
    },
};
use tonic::{Status, Streaming};

use crate::support::{Api, SOON};

/// A request for all that one may see.
pub(super) fn everything() -> WatchEventsRequest {
    WatchEventsRequest { scope: Some(Scope::Organization(true)), ..Default::default() }
}

/// A request for what becomes of some environments of some creators; no names mean all.
pub(super) fn of(environments: &[&str], creators: &[&str]) -> WatchEventsRequest {
    let owned = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
    let filter = ResourceTypeFilter {
        resource_type: ResourceType::Environment.into(),
        resource_ids: owned(environments),
        creator_ids: owned(creators),
    };
    WatchEventsRequest { resource_type_filters: vec![filter], ..everything() }
}

/// A request for what becomes of one environment alone.
pub(super) fn of_one(environment: &str) -> WatchEventsRequest {
    WatchEventsRequest { scope: Some(Scope::EnvironmentId(environment.to_owned())), ..Default::default() }
}

pub(super) struct Watch(Streaming<WatchEventsResponse>);

impl Api {
    pub(super) async fn watch(&self, request: WatchEventsRequest) -> Result<Watch, Status> {
        Ok(Watch(self.events.clone().watch_events(request).await?.into_inner()))
    }
}

impl Watch {
    /// The next event: what happened, and to which environment.
    pub(super) async fn next(&mut self) -> Result<(ResourceOperation, String), Status> {
        tokio::time::timeout(SOON, self.read()).await.expect("something is told in time")
    }

    /// What says nothing is passed over, and is no sign that something will come.
    async fn read(&mut self) -> Result<(ResourceOperation, String), Status> {
        loop {
            let event = self.0.message().await?.expect("a stream of events ends with an error");
            if event.operation() != ResourceOperation::Unspecified {
                assert_eq!(event.resource_type(), ResourceType::Environment);
                return Ok((event.operation(), event.resource_id));
            }
        }
    }

    /// Checks what comes next.
    #[track_caller]
    pub(super) fn tells<'a>(
        &'a mut self,
        operation: ResourceOperation,
        environment: &'a str,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let told = self.next().await.unwrap();
            assert_eq!(told, (operation, environment.to_owned()), "{caller}");
        }
    }

    /// Waits for the end.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// The same. It comes within the bound after what brings it about was acknowledged.
    pub(super) async fn end_within(&mut self, bound: Duration, acknowledged: Duration) -> Status {
        let end = self.end().await;
        let took = boot_time().saturating_sub(acknowledged);
        assert!(took < bound, "{took:?}: {end}");
        end
    }
}
