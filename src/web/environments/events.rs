//! What becomes of environments, as it happens: for the script of a page, which then asks for the page anew (server-sent events, WHATWG
//! HTML).

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, extract::State};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use tonic::Code;

use crate::{
    domain::event::{EventCondition, EventFilter},
    service::Watching,
    web::{Pages, answer, failure::Failure, visit::Visit},
};

/// How often something is sent at the least, so that nobody in between takes the connection for dead; nor the script, which hears of events
/// alone, and not of comments.
const KEPT_ALIVE: Duration = Duration::from_secs(15);
const ALIVE: Bytes = Bytes::from_static(b"event: alive\ndata:\n\n");

/// `/environments/events`
pub(in crate::web) async fn events(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let own = EventCondition { environment_ids: Vec::new(), creator_ids: vec![visit.actor().principal_id] };
    let (scope, conditions) = match visit.query("environment") {
        "" => (None, vec![own]),
        id => (Some(id.parse().map_err(|_| Failure::not_found())?), Vec::new()),
    };
    let watching = pages.events.watch(visit.actor(), EventFilter { scope, conditions }, "environments/events").await?;
    // At once, so that the browser knows that it is there.
    let begun = stream::once(async { Ok::<_, Infallible>(ALIVE) });
    let told = stream::unfold(Some(watching), |watching: Option<Watching>| async move {
        let mut watching = watching?;
        match tokio::time::timeout(KEPT_ALIVE, watching.next()).await {
            Err(_) => Some((Ok(ALIVE), Some(watching))),
            Ok(Ok(event)) => Some((Ok(Bytes::from(format!("data: {}\n\n", event.environment_id))), Some(watching))),
            // The browser comes again by itself, and is told then what there is to be told.
            Ok(Err(_)) => None,
        }
    });
    let body = Body::from_stream(futures::StreamExt::chain(begun, told));
    let mut response = answer::respond(StatusCode::OK, Code::Ok, body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // For proxies that may keep what is short until there is more of it: nginx has this name for it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
