//! A server from its beginning to its end: what it stands on is made, what it serves is put on the listener, and what is under way is ended
//! in good order.

use std::{future::Future, sync::Arc};

use futures::FutureExt;

use super::{
    AppError, Listeners,
    background::Background,
    environments,
    gauges::Gauges,
    housekeeping, http, in_front, listen,
    pages::{self, Place},
    prepare::Prepared,
    readiness,
    services::{Foundation, Services},
};
use crate::{
    auth::{Cache, Guesses, Verifier},
    config::Config,
    domain::{
        clock::{SystemClock, boot_time},
        secret::Secret,
    },
    service::{CredentialChanges, Events, QueuedRecorder, Standing, StoredCredentials, check_signing_keys},
    store::Store,
    telemetry,
    web::oidc::Providers,
};

/// Serves what has been prepared, until `shutdown` is ready. `started` is told when requests are answered, with a link to sign in by if
/// there is one.
///
/// # Errors
/// [`AppError`]
pub(super) async fn serve(
    config: Config,
    Listeners { address, api, metrics: metrics_listener }: Listeners,
    Prepared { serving_urls, organization, signing_keys: (_, keys), client_secrets, runner }: Prepared,
    started: impl FnOnce(Option<Secret>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let metrics = telemetry::metrics();
    let limits = config.limits;
    let place = Place::new(address, config.public_url, config.oidc_providers.is_empty())?;
    let providers =
        Providers::new(config.oidc_providers, &client_secrets, &place.public_url, &(Arc::new(SystemClock) as _))
            .map_err(|error| AppError::Refused(error.to_string()))?;
    let mut serving = serving_urls.config()?;
    let store = Store::new(serving.clone())?;
    // Connections of its own: nobody's long lists keep tokens from being verified. One more than there are batches under way at
    // once, for heartbeats.
    serving.connections = 5;
    let verifying = Store::new(serving)?;
    let missing = check_signing_keys(&store, &keys).await?;
    let cache = Arc::new(Cache::new(limits.revocation_bound, limits.cached_tokens));
    let source = Arc::new(StoredCredentials::new(verifying.clone()));
    let verifier = Arc::new(Verifier::start(Arc::clone(&keys), source, Arc::clone(&cache)));
    let recorder = QueuedRecorder::new(store.clone(), organization, limits.sessions.idle);

    let mut background = Background::start(recorder.clone());
    background.spawn(housekeeping::run(store.clone(), background.stop()));
    let runner = environments::start(runner, organization, &store, &mut background).await?;
    background.spawn(pages::be_seen(store.clone(), place.running(), background.stop()));
    let standing = Standing::new(verifying.clone(), limits.revocation_bound);
    background.spawn(standing.clone().run(background.stop()));
    let events = Events::new(store.clone(), standing.clone(), recorder.clone());
    // Whoever watches is let go as soon as the server is told to end: it waits for requests under way.
    let watched = background.stop().child_token();
    background.spawn({
        let (events, watched, stop) = (events.clone(), watched.clone(), background.stop());
        async move {
            events.run(watched).await;
            stop.cancelled().await;
        }
    });
    let changes = CredentialChanges::new(Arc::clone(&cache), [verifying.clone(), store.clone()]);
    background.spawn({
        let (changes, stop) = (changes.clone(), background.stop());
        async move { changes.run(stop).await }
    });
    let (readiness, health, draining) =
        // By the connections of verification: long lists, however many, do not make a server that can verify unready.
        readiness::watch(verifying.clone(), Arc::clone(&keys), missing, changes, &mut background).await;

    let foundation = Foundation {
        store,
        keys,
        cache,
        verifier,
        // What is no token counts for its peer, whichever door it comes to.
        guesses: Arc::new(Guesses::default()),
        recorder,
        organization,
        limits,
    };
    let Services { grpc, oauth, pages } = foundation.services(&place, providers, standing, events, runner);
    let Foundation { store, keys, cache, verifier, guesses, recorder, limits, .. } = foundation;
    let connect = http::connect(grpc, health, &limits);
    let errors = connect.errors();
    let service = http::router(connect, oauth, pages, readiness);
    let gauges = Gauges { serving: store.clone(), verifying, recorder: recorder.clone(), cache, started: boot_time() };
    let (site, recorder) = (Arc::clone(&place.site), Arc::new(recorder));
    let (proxies, origins) = (config.trusted_proxies, &config.cors_allowed_origins);
    let service = in_front(service, errors, verifier, recorder, guesses, site, &limits, proxies, origins);

    if let Some(listener) = metrics_listener {
        let (limits, stop) = (limits.clone(), background.stop());
        background.spawn(async move {
            listen::serve(listener, http::metrics(metrics, gauges), &limits, stop.cancelled()).await;
        });
    }
    // Whoever reads the announcement may ask for the end at once: that is heard from here on.
    let shutdown = shutdown.shared();
    let _ = shutdown.clone().now_or_never();
    started(pages::first_link(&store, &keys, &place, organization).await);
    let end = async {
        shutdown.await;
        watched.cancel();
        draining.drain().await;
    };
    let outcome = tokio::select! {
        () = listen::serve(api, service, &limits, end) => Ok(()),
        () = telemetry::upkeep(metrics) => Ok(()),
        broken = background.broken_off() => Err(broken),
    };
    background.end(limits.shutdown).await;
    outcome
}
