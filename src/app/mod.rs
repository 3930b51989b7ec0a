//! The composition root: everything is made here; `layers.rs` says in which order it is put in front of each other.

pub mod admin;
mod answer_body;
mod body_deadline;
mod client_secrets;
mod cors;
mod database;
mod descriptors;
mod environments;
mod forwarded;
mod gauges;
mod housekeeping;
mod http;
mod layers;
mod listen;
mod operator;
mod pages;
mod paths;
mod prepare;
mod private_file;
mod privileges;
mod readiness;
mod refusal;
mod signing_keys;
mod strangers;
mod trace;
#[cfg(test)]
mod trickling;
mod unread;

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use futures::FutureExt;
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Cache, Guesses, Verifier},
    config::{Config, Traces},
    domain::{
        clock::{Clock, SystemClock, boot_time},
        secret::Secret,
    },
    grpc::{
        EnvironmentApi, EnvironmentOpsApi, EnvoyApi, EventApi, IdentityApi, RunnerApi, RunnerConfigurationApi,
        TokenApi, UserApi,
    },
    oauth::OAuthApi,
    service::{
        AuditLogs, CredentialChanges, Environments, Events, Introspection, Invitations, LoginRequests, ProxiedRequests,
        QueuedRecorder, Revocations, Runners, ServiceAccounts, Sessions, SignInLinks, SignInParts, SignIns, Standing,
        StoredCredentials, Tokens, Users, check_signing_keys,
    },
    store::{RunningServer, Store},
    telemetry,
    web::{self, Pages, oidc::Providers},
};

use prepare::Prepared;

pub use database::{Database, FIRST_USER};
pub use layers::in_front;
pub use privileges::SUBCOMMAND as SERVE_PREPARED;
pub use signing_keys::SigningKeyError;

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another server running? {flag} takes another address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// What the operating system says.
        error: io::Error,
    },
    /// A part of the server that works in the background broke off.
    #[error("a background task broke off; the logs say more")]
    Task,
    /// The embedded PostgreSQL.
    #[error(transparent)]
    Embedded(#[from] crate::embedded::EmbeddedError),
    /// The database URL.
    #[error("the database URL {0}")]
    DatabaseUrl(#[from] crate::store::InvalidDatabaseUrl),
    /// The one besides.
    #[error("the URL of --database-direct-url {0}")]
    DirectDatabaseUrl(crate::store::InvalidDatabaseUrl),
    /// Where they lead.
    #[error(transparent)]
    SelfTest(#[from] crate::store::SelfTestError),
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
    /// The server, a process of its own when root starts it.
    #[error("the server ended ({0}); the logs say more")]
    Server(std::process::ExitStatus),
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
    bind(config.listen, "--listen").await
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Listen { address, flag, error })
}

/// Serves on a listener until `shutdown` is ready, then ends what is under way in good order. The announcement is announced
/// once requests are answered. Started by root, the server is a process of its own, which is not root: see
/// [`run_prepared`].
///
/// # Errors
/// [`AppError`], before anything is served.
pub async fn run(
    config: Config,
    listener: TcpListener,
    announcement: String,
    announce: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let mut config = config;
    config.limits.connections = descriptors::connections(config.limits.connections);
    let address =
        listener.local_addr().map_err(|error| AppError::Listen { address: config.listen, flag: "--listen", error })?;
    // Before the database is started, so that a taken port is found at once.
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(bind(address, "--metrics-listen").await?),
        None => None,
    };
    environments::make_way(&config);
    let database = Database::open(&config.data).await?;
    let listeners = Listeners { address, api: listener, metrics: metrics_listener };
    let outcome = match prepare::prepare(&config, &database).await {
        Ok(prepared) if rustix::process::geteuid().is_root() => {
            privileges::serve(config, listeners, &database, prepared, announcement, shutdown).await
        }
        Ok(prepared) => {
            let serving = serve(config, listeners, prepared, |link| announce(&with_link(announcement, link)), shutdown);
            tokio::select! {
                outcome = serving => outcome,
                () = database.keep_running() => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

/// What another process has prepared for this one to serve.
pub struct Handover(privileges::Taken);

impl Handover {
    /// Takes it, and gives up the rights of root for good: before anything else, while the process has one thread.
    ///
    /// # Errors
    /// What is wrong: nothing that can be mended here.
    pub fn take(number: &str) -> io::Result<Self> {
        privileges::take_over(number).map(Self)
    }

    /// Where traces go.
    #[must_use]
    pub fn traces(&self) -> Option<Traces> {
        self.0.config.traces.clone()
    }
}

/// Serves what another process has prepared: [`run`], for a server that root started.
///
/// # Errors
/// [`AppError`]
pub async fn run_prepared(
    Handover(taken): Handover,
    announce: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let privileges::Taken { config, listeners, prepared, announcement } = taken;
    let listeners = listeners.into_tokio().map_err(|error| AppError::Refused(error.to_string()))?;
    serve(config, listeners, prepared, |link| announce(&with_link(announcement, link)), shutdown).await
}

/// What is announced, with the link by which people sign in, if there is one.
fn with_link(announcement: String, link: Option<Secret>) -> String {
    match link {
        Some(link) => format!(
            "{announcement}\nTo sign in, open this within ten minutes; it can be used once:\n  {}",
            link.expose()
        ),
        None => announcement,
    }
}

struct Listeners {
    address: SocketAddr,
    api: TcpListener,
    metrics: Option<TcpListener>,
}

async fn serve(
    config: Config,
    Listeners { address, api, metrics: metrics_listener }: Listeners,
    Prepared { serving_urls, organization, signing_keys: (_, keys), client_secrets, runner }: Prepared,
    started: impl FnOnce(Option<Secret>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let metrics = telemetry::metrics();
    let mut serving = serving_urls.config()?;
    let store = Store::new(serving.clone())?;
    // Connections of its own: nobody's long lists keep tokens from being verified. One more than there are batches under way at
    // once, for heartbeats.
    serving.connections = 5;
    let verifying = Store::new(serving)?;
    let missing = check_signing_keys(&store, &keys).await?;
    let cache = Arc::new(Cache::new(config.limits.revocation_bound, config.limits.cached_tokens));

    // Background tasks end in two steps: first those that make work, then the recorder that writes down what they did.
    let working = CancellationToken::new();
    let recording = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let recorder = QueuedRecorder::new(store.clone(), organization, config.limits.sessions.idle);
    let mut recorder_task = tokio::spawn({
        let (recorder, recording) = (recorder.clone(), recording.clone());
        async move { recorder.run(recording).await }
    });
    tasks.spawn(housekeeping::run(store.clone(), working.clone()));
    let operations = environments::start(runner, organization, &store, &working, &mut tasks).await?;

    let public_url: Arc<str> = config.public_url.clone().unwrap_or_else(|| format!("http://{address}")).into();
    let site = pages::site(&public_url)?;
    let takes_links = pages::is_for_this_machine(address, &site) && config.oidc_providers.is_empty();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let providers = Providers::new(config.oidc_providers, &client_secrets, &public_url, &clock)
        .map_err(|error| AppError::Refused(error.to_string()))?;
    let server = RunningServer { public_url: public_url.to_string(), takes_links };
    tasks.spawn(pages::be_seen(store.clone(), server, working.clone()));
    let own_runner = operations.as_ref().map(|(runner, _)| *runner);
    let standing = Standing::new(verifying.clone(), config.limits.revocation_bound);
    tasks.spawn(standing.clone().run(working.clone()));
    let events = Events::new(store.clone(), standing.clone(), recorder.clone());
    // Whoever watches is let go as soon as the server is told to end: it waits for requests under way.
    let watched = working.child_token();
    tasks.spawn({
        let (events, watched, working) = (events.clone(), watched.clone(), working.clone());
        async move {
            events.run(watched).await;
            working.cancelled().await;
        }
    });
    let environments = Environments::new(
        store.clone(),
        standing,
        Arc::clone(&keys),
        Arc::clone(&cache),
        operations,
        config.limits.environments,
    );
    let tokens = Tokens::new(store.clone(), Arc::clone(&keys), Arc::clone(&cache), config.limits.tokens_per_user);
    let source = Arc::new(StoredCredentials::new(verifying.clone()));
    let verifier = Arc::new(Verifier::start(Arc::clone(&keys), source, Arc::clone(&cache)));
    // What is no token counts for its peer, whichever door it comes to.
    let guesses = Arc::new(Guesses::default());
    let proxied = ProxiedRequests::new(Arc::clone(&verifier), recorder.clone(), Arc::clone(&guesses));
    let introspection = Introspection::new(Arc::clone(&verifier));
    let revocations = Revocations::new(tokens.clone(), Arc::clone(&verifier));
    let login_requests = LoginRequests::new(
        store.clone(),
        Arc::clone(&keys),
        Arc::clone(&cache),
        Arc::clone(&guesses),
        config.limits.tokens_per_user,
    );
    let oauth = OAuthApi::new(
        introspection.clone(),
        revocations,
        login_requests.clone(),
        Arc::clone(&public_url),
        config.limits.request_bytes,
    );
    let users = Users::new(store.clone(), Arc::clone(&cache));
    let pages = Pages::new(web::Parts {
        site: Arc::clone(&site),
        users: users.clone(),
        invitations: Invitations::new(store.clone()),
        service_accounts: ServiceAccounts::new(store.clone()),
        tokens: tokens.clone(),
        sessions: Sessions::new(store.clone(), Arc::clone(&cache), Arc::clone(&verifier)),
        environments: environments.clone(),
        events: events.clone(),
        audit_logs: AuditLogs::new(store.clone()),
        sign_in_links: SignInLinks::new(
            store.clone(),
            Arc::clone(&keys),
            Arc::clone(&guesses),
            config.limits.sessions,
            takes_links,
        ),
        providers,
        sign_ins: SignIns::new(SignInParts {
            store: store.clone(),
            keys: Arc::clone(&keys),
            cache: Arc::clone(&cache),
            guesses: Arc::clone(&guesses),
            recorder: recorder.clone(),
            organization,
            limits: config.limits.sessions,
            clock,
        }),
        login_requests,
        session_limits: config.limits.sessions,
        request_bytes: config.limits.request_bytes,
    });
    let tokens = TokenApi::new(tokens, introspection);
    let services = http::Services {
        users: UserApi::new(users, tokens.clone()),
        tokens,
        identity: IdentityApi,
        events: EventApi::new(events, AuditLogs::new(store.clone())),
        environments: EnvironmentApi::new(environments.clone(), Arc::clone(&public_url)),
        runners: RunnerApi::new(Runners::new(store.clone(), own_runner)),
        runner_configuration: RunnerConfigurationApi::new(environments.clone()),
        operations: EnvironmentOpsApi::new(environments),
        envoy: EnvoyApi::new(proxied),
    };
    let changes = CredentialChanges::new(Arc::clone(&cache), [verifying.clone(), store.clone()]);
    tasks.spawn({
        let (changes, working) = (changes.clone(), working.clone());
        async move { changes.run(working).await }
    });
    let (readiness, health, draining) =
        // By the connections of verification: long lists, however many, do not make a server that can verify unready.
        readiness::watch(verifying.clone(), Arc::clone(&keys), missing, changes, &working, &mut tasks).await;

    let connect = http::connect(services, health, &config.limits);
    let errors = connect.errors();
    let service = http::router(connect, oauth, pages, readiness);
    let links = store.clone();
    let gauges = gauges::Gauges { serving: store, verifying, recorder: recorder.clone(), cache, started: boot_time() };
    let recorder = Arc::new(recorder);
    let (proxies, origins) = (config.trusted_proxies, &config.cors_allowed_origins);
    let service = in_front(service, errors, verifier, recorder, guesses, site, &config.limits, proxies, origins);

    if let Some(listener) = metrics_listener {
        let (limits, working) = (config.limits.clone(), working.clone());
        tasks.spawn(async move {
            listen::serve(listener, http::metrics(metrics, gauges), &limits, working.cancelled()).await
        });
    }
    // Whoever reads the announcement may ask for the end at once: that is heard from here on.
    let shutdown = shutdown.shared();
    let _ = shutdown.clone().now_or_never();
    let link = if takes_links { pages::first_link(&links, &keys, &public_url, organization).await } else { None };
    started(link);
    let outcome = tokio::select! {
        () = listen::serve(api, service, &config.limits, async { shutdown.await; watched.cancel(); draining.drain().await }) => Ok(()),
        () = telemetry::upkeep(metrics) => Ok(()),
        // None of them ends before it is told to; without one of them the server would be half a server.
        Some(ended) = tasks.join_next() => broken(&ended),
        ended = &mut recorder_task => broken(&ended),
    };
    working.cancel();
    let ending = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(config.limits.shutdown, ending).await.is_err() {
        tracing::warn!("some background tasks did not end in time and are broken off");
        tasks.shutdown().await;
    }
    recording.cancel();
    if !recorder_task.is_finished() && tokio::time::timeout(config.limits.shutdown, &mut recorder_task).await.is_err() {
        tracing::warn!("what was seen last could not be written in time");
        recorder_task.abort();
    }
    outcome
}

fn broken(ended: &Result<(), JoinError>) -> Result<(), AppError> {
    tracing::error!(?ended, "a background task broke off");
    Err(AppError::Task)
}
