//! What every request passes on its way to the services. Here, and not where all is made, so that the same can be put in front
//! of other services: a fuzzer's.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use futures::FutureExt;
use http::{Request, Response};
use tower::{Layer, Service};

use super::{body_deadline, cors, forwarded, paths, refusal, trace, unread};
use crate::{
    auth::{AuthLayer, Caller, CredentialSource, Guesses, Recorder, Refusal, Verifier, VerifyError},
    config::{Limits, TrustedProxies},
    connect::Errors,
    domain::site::Site,
};

/// Puts everything in front of the services that has nothing to do with what they are.
///
/// From the outside in. First who sees to bodies that nobody reads, whoever refuses them. Paths: what is counted, permitted and called is one and the same. CORS: a browser that asks
/// whether it may call has no token yet, and does not call yet. Forwarded: who asks is settled before anybody counts them, writes them
/// down or holds something for them. Trace: refusals too are counted, and have a request ID.
/// Then auth, which reads headers alone. A refusal goes on, emptied, to where its protocol is known: in front of all
/// protocols, behind nothing that reads bodies. Then the deadline for bodies, which nobody reads before; last the
/// protocols, with the services behind them.
#[expect(clippy::too_many_arguments, reason = "each comes from somewhere else, and is used once")]
pub fn in_front<S, R, Inner>(
    service: Inner,
    errors: Errors,
    verifier: Arc<Verifier<S>>,
    recorder: Arc<R>,
    guesses: Arc<Guesses>,
    site: Arc<Site>,
    limits: &Limits,
    trusted_proxies: TrustedProxies,
    cors_allowed_origins: &[String],
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + use<S, R, Inner>
where
    S: CredentialSource,
    R: Recorder,
    Inner: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let service = body_deadline::BodyDeadlineLayer::new(limits, again(&verifier)).layer(service);
    let service = refusal::RefusalLayer::new(errors).layer(service);
    let service = AuthLayer::new(verifier, recorder, guesses, site).layer(service);
    let service = trace::TraceLayer.layer(service);
    let service = forwarded::ForwardedLayer::new(trusted_proxies).layer(service);
    let service = cors::layer(cors_allowed_origins).layer(service);
    let service = paths::PathLayer.layer(service);
    unread::UnreadLayer.layer(service)
}

/// Looks at a caller again by the one verifier.
fn again<S: CredentialSource>(verifier: &Arc<Verifier<S>>) -> body_deadline::Again {
    let verifier = Arc::clone(verifier);
    Arc::new(move |caller: &Caller| {
        if !verifier.is_late(caller.known_at()) {
            return None;
        }
        let (verifier, actor) = (Arc::clone(&verifier), caller.actor());
        let (credential, role) = (actor.credential, actor.role);
        let looking = async move {
            verifier.verify_again(credential, role).await.map_err(|error| match error {
                VerifyError::Ended(_, ended) => Refusal::Unauthenticated(ended.message()).into(),
                VerifyError::Unavailable | VerifyError::KeyNotHere(_) => Refusal::unavailable().into(),
                VerifyError::Unknown | VerifyError::Forged | VerifyError::Malformed(_) => {
                    let message = "what this token was good for has changed since the request began; send it again";
                    Refusal::Unauthenticated(message.to_owned()).into()
                }
            })
        };
        Some(looking.boxed())
    })
}
