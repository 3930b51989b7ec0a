//! The services as the server has them, behind the verification of tokens: once with the layer of the protocols, once without.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use latchkey::{
    auth::{AuthLayer, Cache, Peer, QueueFull, Recorder, Verifier},
    config::Limits,
    connect::{Connect, NativeGrpc},
    domain::{
        audit::Observation,
        principal::{Credential, Origin},
        site::Site,
        token::SigningKeys,
    },
    embedded::Role,
    grpc::{EnvironmentApi, IdentityApi},
    pb::{
        self,
        gitpod::v1::{
            environment_service_server::EnvironmentServiceServer, identity_service_server::IdentityServiceServer,
        },
    },
    service::{CredentialChanges, Environments, Standing, StoredCredentials},
    store::{Store, StoreConfig},
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::{Layer, Service};

use super::ground::Postgres;

/// Where the services are reached.
pub(super) struct Stack {
    /// In every protocol.
    pub(super) layered: SocketAddr,
    /// In every protocol, each through the engine, gRPC as well.
    pub(super) through_engine: SocketAddr,
    /// gRPC, straight into tonic.
    pub(super) straight: SocketAddr,
}

/// Writes nothing down: that is the same whatever the protocol, and would only hide what differs.
struct Silent;

impl Recorder for Silent {
    fn has_room(&self) -> bool {
        true
    }

    async fn room(&self) -> Result<(), QueueFull> {
        Ok(())
    }

    fn observe(&self, _seen: Observation) {}

    fn used(&self, _credential: Credential, _at: OffsetDateTime, _origin: &Origin) {}
}

impl Stack {
    pub(super) async fn start(postgres: &Postgres, cached: bool) -> Self {
        let text = std::fs::read_to_string(postgres.directory().join("signing-keys")).unwrap();
        let keys: Arc<SigningKeys> = Arc::new(SigningKeys::parse(&text).unwrap());
        let limits = Limits::default();
        let store = Store::new(StoreConfig::parse(&postgres.url(Role::Serving)).unwrap()).unwrap();
        let source = Arc::new(StoredCredentials::new(store.clone()));
        let bound = if cached { limits.revocation_bound } else { Duration::ZERO };
        let cache = Arc::new(Cache::new(bound, limits.cached_tokens));
        tokio::spawn(CredentialChanges::new(Arc::clone(&cache), [store.clone()]).run(CancellationToken::new()));
        let verifier = Arc::new(Verifier::start(Arc::clone(&keys), source, Arc::clone(&cache)));
        let site = Arc::new(Site::new("http://127.0.0.1:8080", [127, 0, 0, 1].into()).unwrap());
        let auth = AuthLayer::new(verifier, Arc::new(Silent), Arc::default(), site);
        let environments = Environments::new(
            store.clone(),
            Standing::new(store, limits.revocation_bound),
            keys,
            cache,
            None,
            limits.environments,
        );
        let environments = EnvironmentApi::new(environments, "http://localhost".into());
        let routes =
            Routes::new(IdentityServiceServer::new(IdentityApi).max_decoding_message_size(limits.request_bytes))
                .add_service(
                    EnvironmentServiceServer::new(environments).max_decoding_message_size(limits.request_bytes),
                );
        let connect = Connect::new(routes.clone(), [pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET]);
        let connect = connect.unwrap().with_message_limit(limits.request_bytes);
        let engine = connect.clone().with_native_grpc(NativeGrpc::Engine);
        Self {
            through_engine: serve(auth.layer(Router::new().fallback_service(engine))).await,
            layered: serve(auth.layer(Router::new().fallback_service(connect))).await,
            straight: serve(auth.layer(routes.prepare().into_axum_router())).await,
        }
    }
}

/// Serves connections as the server does, as long as the runtime is there.
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
