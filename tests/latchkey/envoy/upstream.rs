//! A service behind Envoy that keeps what reaches it: HTTP/1.1, HTTP/2 and, whoever speaks it, gRPC.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{net::TcpListener, task::AbortHandle};

/// A request that has reached a service.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reached {
    /// Everything in it that is named for us: names, however they are spelt, and values.
    pub(super) fn of_latchkey(&self) -> Vec<(String, String)> {
        let all = self.headers.iter().chain(&self.trailers);
        let ours = all.filter(|(name, _)| name.as_str().contains("latchkey"));
        let mut ours: Vec<_> =
            ours.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        ours.sort();
        ours
    }
}

/// The service. It ends with this value.
pub(super) struct Upstream {
    address: SocketAddr,
    reached: Arc<Mutex<Vec<Reached>>>,
    task: AbortHandle,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&reached);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request| serve(request, Arc::clone(&kept)));
                // It ends with Envoy.
                tokio::spawn(async move {
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        Self { address, reached, task: task.abort_handle() }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has reached it since this was last asked.
    pub(super) fn take(&self) -> Vec<Reached> {
        std::mem::take(&mut *self.reached.lock().unwrap())
    }

    /// The one request that has reached it since.
    #[track_caller]
    pub(super) fn take_one(&self) -> Reached {
        let mut reached = self.take();
        assert_eq!(reached.len(), 1, "{reached:#?}");
        reached.remove(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn serve(request: Request<Incoming>, kept: Arc<Mutex<Vec<Reached>>>) -> Result<Response<Body>, hyper::Error> {
    let (Parts { method, uri, version, headers, .. }, body) = request.into_parts();
    let body = body.collect().await?;
    let (trailers, body) = (body.trailers().cloned().unwrap_or_default(), body.to_bytes());
    let is_grpc = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    kept.lock().unwrap().push(Reached { method: method.to_string(), path, version, headers, trailers, body });
    let (kind, frames) = if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        ("application/grpc", vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))])
    } else {
        ("text/plain", vec![Ok(Frame::data(Bytes::from_static(b"served")))])
    };
    let body = StreamBody::new(futures::stream::iter(frames));
    Ok(Response::builder().header("content-type", kind).body(body).unwrap())
}
