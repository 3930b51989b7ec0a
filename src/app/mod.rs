//! The composition root: everything is made here, and put in front of each other in the order that is written here.

pub mod admin;
mod database;
mod environments;
mod housekeeping;
mod http;
mod listen;
mod readiness;
mod signing_keys;
mod trace;

use std::{future::Future, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower::Layer;

use crate::{
    auth::{AuthLayer, Verifier},
    config::Config,
    grpc::{EnvironmentApi, EnvironmentOpsApi, EventApi, IdentityApi, RefusalLayer, TokenApi, UserApi},
    service::{AuditLogs, Environments, QueuedRecorder, StoredCredentials, Tokens, Users, check_signing_keys},
    store::Store,
    telemetry,
};

pub use database::{Database, FIRST_USER};
pub use signing_keys::SigningKeyError;

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}; is another server running? --listen takes another address")]
    Listen(SocketAddr, std::io::Error),
    /// The embedded PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] crate::embedded::EmbeddedError),
    /// The database URL.
    #[error("the database URL {0}")]
    DatabaseUrl(#[from] crate::store::InvalidDatabaseUrl),
    /// The migrations.
    #[error(transparent)]
    Migrate(#[from] crate::store::MigrateError),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The file of signing keys.
    #[error(transparent)]
    SigningKeys(#[from] SigningKeyError),
    /// The signing keys and the database do not go together.
    #[error(transparent)]
    KeyCheck(#[from] crate::service::KeyCheckError),
    /// The local runner.
    #[error("environments cannot run on this machine: {0}")]
    Runner(String),
    /// What the operator asked for cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// Listens where the configuration says.
///
/// # Errors
/// [`AppError::Listen`]
pub async fn listen(config: &Config) -> Result<TcpListener, AppError> {
    TcpListener::bind(config.listen).await.map_err(|error| AppError::Listen(config.listen, error))
}

/// Serves on a listener until `shutdown` is ready, then ends what is under way in good order. Calls `started` once
/// requests are answered.
///
/// # Errors
/// [`AppError`], before anything is served.
pub async fn run(
    config: Config,
    listener: TcpListener,
    started: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let address = listener.local_addr().map_err(|error| AppError::Listen(config.listen, error))?;
    let metrics = telemetry::metrics();
    let database = Database::open(&config.data, config.owner_database_url.as_deref()).await?;
    let outcome = serve(config, address, listener, &database, metrics, started, shutdown).await;
    database.close().await?;
    outcome
}

async fn serve(
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    database: &Database,
    metrics: Option<&'static metrics_exporter_prometheus::PrometheusHandle>,
    started: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    crate::store::migrate(database.owner()).await?;
    let organization = database.first_organization().await?;
    let store = Store::new(database.serving().clone())?;
    let keys = Arc::new(signing_keys::load(&config.data, database.directory(), database.is_embedded(), &store).await?);
    let missing = check_signing_keys(&store, &keys).await?;

    // Background tasks end in two steps: first those that make work, then the recorder that writes down what they did.
    let working = CancellationToken::new();
    let recording = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let recorder = QueuedRecorder::new(store.clone());
    let recorder_task = tokio::spawn({
        let (recorder, recording) = (recorder.clone(), recording.clone());
        async move { recorder.run(recording).await }
    });
    tasks.spawn(housekeeping::run(store.clone(), working.clone()));
    let operations = environments::start(&config, database, organization, &store, &working, &mut tasks).await?;

    let public_url: Arc<str> = config.public_url.clone().unwrap_or_else(|| format!("http://{address}")).into();
    let environments = Environments::new(store.clone(), Arc::clone(&keys), operations);
    let services = http::Services {
        tokens: TokenApi::new(Tokens::new(store.clone(), Arc::clone(&keys), config.limits.tokens_per_user)),
        users: UserApi::new(Users::new(store.clone())),
        identity: IdentityApi,
        events: EventApi::new(AuditLogs::new(store.clone())),
        environments: EnvironmentApi::new(environments.clone(), public_url),
        operations: EnvironmentOpsApi::new(environments),
    };
    let (readiness, health) = readiness::watch(store.clone(), Arc::clone(&keys), missing, &working, &mut tasks).await;
    let source = Arc::new(StoredCredentials::new(store.clone()));
    let verifier = Arc::new(Verifier::start(keys, source));

    // From the outside in. Trace first: refusals too are counted, and have a request ID. Then auth, which reads headers
    // alone. A refusal goes on, emptied, to where its protocol is known: in front of the services, behind nothing that
    // reads bodies.
    let service = http::router(services, health, readiness);
    let service = RefusalLayer.layer(service);
    let service = AuthLayer::new(verifier, Arc::new(recorder)).layer(service);
    let service = trace::TraceLayer.layer(service);

    if let Some(listen) = config.metrics_listen {
        http::serve_metrics(listen, metrics, &working, &mut tasks)
            .await
            .map_err(|error| AppError::Listen(listen, error))?;
    }
    started(address);
    tokio::select! {
        () = listen::serve(listener, service, &config.limits, shutdown) => {}
        () = database.keep_running() => {}
    }
    working.cancel();
    while tasks.join_next().await.is_some() {}
    recording.cancel();
    if let Err(error) = recorder_task.await {
        tracing::error!(%error, "the recorder broke off");
    }
    Ok(())
}
