//! One handler in this process, with authentication in front of it and without.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use latchkey::{
    auth::{AuthLayer, Cache, Caller, Peer, Verifier},
    config::Limits,
    connect::Connect,
    domain::{ids::RequestId, site::Site, token::SigningKeys},
    embedded::Role,
    grpc::IdentityApi,
    pb::{self, gitpod::v1::identity_service_server::IdentityServiceServer},
    service::{CredentialChanges, QueuedRecorder, StoredCredentials},
    store::{Store, StoreConfig},
    telemetry,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::{Layer, Service, ServiceExt};

use super::{ground::Postgres, pin};

/// Where it is reached.
pub(super) struct Handler {
    pub(super) authenticated: String,
    /// With a caller that was verified once, whoever calls.
    pub(super) open: String,
    /// The thread that serves both.
    thread: i32,
}

impl Handler {
    /// Serves on a core of its own, in one thread, as long as this process is there. The first authenticated request has to come
    /// before the first one without.
    pub(super) async fn start(postgres: &Postgres, organization: uuid::Uuid) -> Self {
        let text = std::fs::read_to_string(postgres.directory().join("signing-keys")).unwrap();
        let (url, (told, addresses)) = (postgres.url(Role::Serving), tokio::sync::oneshot::channel());
        std::thread::spawn(move || {
            pin::this_thread_to_servers();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // As in the server: what is counted and timed is for somebody, and costs something.
                let metrics = telemetry::metrics();
                assert!(metrics.is_some(), "nobody else collects here");
                tokio::spawn(telemetry::upkeep(metrics));
                let store = Store::new(StoreConfig::parse(&url).unwrap()).unwrap();
                let limits = Limits::default();
                let cache = Arc::new(Cache::new(limits.revocation_bound, limits.cached_tokens));
                tokio::spawn(CredentialChanges::new(Arc::clone(&cache), [store.clone()]).run(CancellationToken::new()));
                let keys = Arc::new(SigningKeys::parse(&text).unwrap());
                let source = Arc::new(StoredCredentials::new(store.clone()));
                let recorder = QueuedRecorder::new(store, organization.into(), limits.sessions.idle);
                tokio::spawn({
                    let recorder = recorder.clone();
                    async move { recorder.run(CancellationToken::new()).await }
                });
                let site = Arc::new(Site::new("http://127.0.0.1:8080", [127, 0, 0, 1].into()).unwrap());
                let verifier = Arc::new(Verifier::start(keys, source, cache));
                let auth = AuthLayer::new(verifier, Arc::new(recorder), Arc::default(), site);
                let routes = Routes::new(IdentityServiceServer::new(IdentityApi));
                let connect =
                    Connect::new(routes, [pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET]).unwrap();
                let service = Router::new().fallback_service(connect);
                let known = Arc::new(OnceLock::<Caller>::new());
                let keeps = {
                    let known = Arc::clone(&known);
                    service.clone().map_request(move |request: Request<Body>| {
                        known.get_or_init(|| request.extensions().get::<Caller>().expect("it was verified").clone());
                        request
                    })
                };
                let open = service.map_request(move |mut request: Request<Body>| {
                    request.extensions_mut().insert(known.get().expect("somebody was verified before").clone());
                    request
                });
                let addresses = (serve(auth.layer(keeps)).await, serve(open).await);
                told.send((addresses, nix::unistd::gettid().as_raw())).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let ((authenticated, open), thread) = addresses.await.unwrap();
        Self { authenticated: authenticated.to_string(), open: open.to_string(), thread }
    }

    /// How long it has used its core.
    pub(super) fn used(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread)).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

async fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service.clone();
            let with_peer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer.ip()));
                // As the layer in front of both has it done.
                request.extensions_mut().insert(RequestId::generate());
                service.clone().call(request)
            });
            tokio::spawn(async move {
                // It ends with its client.
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), with_peer).await;
            });
        }
    });
    address
}
