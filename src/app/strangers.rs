//! Streams that need no token: so many in all, so many of one peer, and none for ever. Whoever opens them is known by nothing
//! but an address.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use tokio::time::Sleep;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    auth::{
        Peer,
        policy::{self, Streams},
    },
    config::Limits,
    domain::principal::network,
    service::ServiceError,
};

/// The places for them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Strangers(Arc<Places>);

#[derive(Debug)]
struct Places {
    of_all: usize,
    of_peer: usize,
    life: Duration,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One place; free again when this is gone.
struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Strangers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Places {
            of_all: limits.public_streams,
            of_peer: limits.public_streams_of_peer,
            life: limits.public_stream_life,
            taken: Mutex::default(),
        }))
    }

    /// The service, whose streams take places.
    pub(super) fn bound<S>(&self, service: S) -> Bounded<S> {
        Bounded { service, strangers: self.clone() }
    }

    fn take(&self, peer: IpAddr) -> Result<Place, ServiceError> {
        let peer = network(peer);
        let Places { of_all, of_peer, .. } = *self.0;
        let mut taken = self.0.taken();
        // One's own limit first: there one can do something about it.
        if taken.by_peer.get(&peer).is_some_and(|own| *own >= of_peer) {
            let message =
                format!("{of_peer} streams without a token come from your address, the most; end one of them");
            return Err(ServiceError::Exhausted(message));
        }
        if taken.all >= of_all {
            let message = format!("there are {of_all} streams without a token in all, the most; try again later");
            return Err(ServiceError::Exhausted(message));
        }
        taken.all += 1;
        *taken.by_peer.entry(peer).or_default() += 1;
        Ok(Place { places: Arc::clone(&self.0), peer })
    }
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(own) = taken.by_peer.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

/// A service of tonic's whose streams are bounded. It is behind all protocols, so that a refusal, and the end, are told in each.
#[derive(Debug, Clone)]
pub(super) struct Bounded<S> {
    service: S,
    strangers: Strangers,
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match policy::of_path(request.uri().path()).map_or(Streams::Nothing, |policy| policy.streams) {
            Streams::Nothing => return self.service.call(request).boxed(),
            Streams::Answers | Streams::Both => {}
        }
        let peer = request.extensions().get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
        let place = match self.strangers.take(peer) {
            Ok(place) => place,
            Err(full) => return std::future::ready(Ok(Status::from(full).into_http())).boxed(),
        };
        let timer = Box::pin(tokio::time::sleep(self.strangers.0.life));
        let answer = self.service.call(request);
        async move { Ok(answer.await?.map(|body| Body::new(BoundedBody { open: Some((body, place)), timer }))) }.boxed()
    }
}

/// A stream of answers that ends when its time is over. The place is held until then, or until nobody listens any more.
struct BoundedBody {
    open: Option<(Body, Place)>,
    timer: Pin<Box<Sleep>>,
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First, since whoever asks all the while never has to be waited for.
        let is_over = self.timer.poll_unpin(context).is_ready();
        let Some((body, _place)) = &mut self.open else { return Poll::Ready(None) };
        if !is_over {
            return Pin::new(body).poll_frame(context);
        }
        self.open = None;
        let mut trailers = HeaderMap::new();
        let ended = Status::unavailable("a stream without a token lasts no longer; ask again");
        Poll::Ready(Some(ended.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|(body, _place)| body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tonic::service::Routes;

    use super::*;
    use crate::connect::Connect;

    fn strangers() -> Strangers {
        let (public_streams, public_streams_of_peer) = (3, 2);
        Strangers::new(&Limits { public_streams, public_streams_of_peer, ..Limits::default() })
    }

    #[test]
    fn places_are_counted_in_all_and_for_each_network() {
        let strangers = strangers();
        let take = |peer: &str| {
            strangers.take(peer.parse().unwrap()).map_err(|full| {
                let ServiceError::Exhausted(message) = full else { panic!("{full:?}") };
                if message.starts_with("2 streams") { "of the peer" } else { "in all" }
            })
        };
        let (first, second) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert_eq!(take("2001:db8::ffff:3").err(), Some("of the peer"), "a /64 is one");
        let third = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.2").err(), Some("in all"));
        assert_eq!(take("2001:db8::1").err(), Some("of the peer"), "what one can do something about is said first");
        drop(first);
        let fourth = take("192.0.2.2").unwrap();
        assert_eq!(take("2001:db8::1").err(), Some("in all"));
        drop(third);
        let fifth = take("2001:db8::1").unwrap();
        drop((fourth, fifth, second));
        let taken = strangers.0.taken();
        assert_eq!((taken.all, taken.by_peer.len()), (0, 0), "nothing is kept of who left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_time_is_over_in_every_protocol() {
        let (proto, json): (&[u8], &[u8]) = (b"\0\0\0\0\0", b"\0\0\0\0\x02{}");
        for (content_type, body, code) in [
            ("application/grpc", proto, "\"grpc-status\": \"14\""),
            ("application/grpc-web", proto, "grpc-status: 14\r\n"),
            ("application/connect+proto", proto, r#""code":"unavailable""#),
            ("application/connect+json", json, r#""code":"unavailable""#),
        ] {
            let strangers = strangers();
            let (_reporter, health) = tonic_health::server::health_reporter();
            let routes = Routes::new(strangers.bound(health));
            let mut connect = Connect::new(routes, [tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
            let request = Request::post("/grpc.health.v1.Health/Watch").header("content-type", content_type);
            let Ok(answer) = connect.call(request.body(Full::new(Bytes::from_static(body))).unwrap()).await;
            let mut answer = answer.into_body();
            answer.frame().await.expect("it has begun").unwrap();
            assert_eq!(strangers.0.taken().all, 1, "{content_type}");
            let end = answer.collect().await.unwrap();
            let trailers = format!("{:?}", end.trailers());
            let said = format!("{}{trailers}", String::from_utf8_lossy(&end.to_bytes()));
            assert!(said.contains(code), "{content_type}: {said}");
            assert_eq!(strangers.0.taken().all, 0, "{content_type}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_all_the_while_is_not_answered_for_ever() {
        let strangers = strangers();
        let answers = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"answer")), ()))
        });
        let body = Body::new(axum::body::Body::from_stream(answers));
        let place = strangers.take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let timer = Box::pin(tokio::time::sleep(Duration::from_secs(10)));
        let bounded = BoundedBody { open: Some((body, place)), timer };
        let said = bounded.collect().await.unwrap();
        assert_eq!(said.trailers().unwrap()["grpc-status"], "14");
        assert_eq!(strangers.0.taken().all, 0);
    }
}
