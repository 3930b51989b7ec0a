//! The tower layer in front of everything. It reads headers alone: nobody's body is touched before it is known who sends it.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{HeaderMap, Request, Response, Uri, header, request::Parts};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use super::{
    caller::Caller,
    guesses::Guesses,
    headers,
    policy::{self, Access, Policy, Who},
    recorder::{QueueFull, Recorder},
    refusal::Refusal,
    verifier::{CredentialSource, Verifier, VerifyError},
};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    bearer::NoToken,
    credential::StoredCredential,
    ids::{EnvironmentId, RequestId},
    principal::{Actor, Credential, Origin, Role},
};

/// The address of who is at the other end of the connection; set on each request by who accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Puts [`AuthService`] in front of a service.
pub struct AuthLayer<S, R>(Arc<Shared<S, R>>);

struct Shared<S, R> {
    verifier: Arc<Verifier<S>>,
    recorder: Arc<R>,
    guesses: Arc<Guesses>,
}

impl<S, R> AuthLayer<S, R> {
    /// Verifies with one, tells another, and counts what is no token with the third, which is the same for every door.
    pub fn new(verifier: Arc<Verifier<S>>, recorder: Arc<R>, guesses: Arc<Guesses>) -> Self {
        Self(Arc::new(Shared { verifier, recorder, guesses }))
    }
}

impl<S, R> Clone for AuthLayer<S, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, R, Inner> Layer<Inner> for AuthLayer<S, R> {
    type Service = AuthService<S, R, Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        AuthService { shared: Arc::clone(&self.0), inner }
    }
}

/// Lets a request pass with a [`Caller`], with nothing (public RPCs), or emptied and with a [`Refusal`].
pub struct AuthService<S, R, Inner> {
    shared: Arc<Shared<S, R>>,
    inner: Inner,
}

impl<S, R, Inner: Clone> Clone for AuthService<S, R, Inner> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), inner: self.inner.clone() }
    }
}

impl<S, R, Inner> Service<Request<Body>> for AuthService<S, R, Inner>
where
    S: CredentialSource,
    R: Recorder,
    Inner: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    Inner::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            let (request, policy) = shared.admit(request).await;
            let caller = request.extensions().get::<Caller>().cloned();
            let response = inner.call(request).await?;
            if let (Some(policy), Some(caller)) = (policy, caller) {
                shared.take_down(policy, &caller, &response);
            }
            Ok(response)
        })
    }
}

impl<S: CredentialSource, R: Recorder> Shared<S, R> {
    /// The request as it goes on, and the policy that it was held to.
    async fn admit(&self, request: Request<Body>) -> (Request<Body>, Option<&'static Policy>) {
        let (mut parts, body) = request.into_parts();
        // Only this layer says who calls.
        parts.extensions.remove::<Caller>();
        parts.extensions.remove::<Refusal>();
        let environment = address_environment(&mut parts);
        let policy = policy::of_path(parts.uri.path())
            // An environment's own URL serves its operations, and nothing else.
            .filter(|policy| environment.is_none() || policy.who == Who::EnvironmentHolder);
        let decided = match policy {
            Some(policy) => self.decide(policy, &parts, environment).await,
            None => Err(Refusal::UnknownRpc),
        };
        let body = match decided {
            Ok(caller) => {
                if let Some(caller) = caller {
                    parts.extensions.insert(caller);
                }
                body
            }
            Err(refusal) => {
                parts.extensions.insert(refusal);
                Body::empty()
            }
        };
        (Request::from_parts(parts, body), policy)
    }

    /// A caller, nobody (for public RPCs), or why not.
    async fn decide(
        &self,
        policy: &'static Policy,
        request: &Parts,
        environment: Option<EnvironmentId>,
    ) -> Result<Option<Caller>, Refusal> {
        if policy.who == Who::Public {
            return Ok(None);
        }
        let origin = origin(request);
        let verify = || self.verify(policy, &request.headers).instrument(tracing::debug_span!("verify"));
        let mut verified = verify().await;
        if verified.is_ok() && !self.recorder.has_room() {
            self.recorder.room().await.map_err(|QueueFull| Refusal::unavailable())?;
            // It may have ended while it waited.
            verified = verify().await;
        }
        let stored = match verified {
            Ok(stored) => stored,
            Err(unverified) => return Err(self.refuse(unverified, policy, origin)),
        };
        note(&stored);
        self.recorder.used(stored.credential.token_id(), stored.read_at, &origin);
        let caller = Caller::new(&stored, origin);
        if let Err(why) = permit(policy, &stored, environment) {
            tracing::info!(rpc = policy.rpc, principal = %stored.principal_id, reason = why, "permission denied");
            self.recorder.observe(observation(policy, caller.actor(), Action::PermissionDeny, Outcome::Denied, why));
            return Err(Refusal::PermissionDenied(why.to_owned()));
        }
        Ok(Some(caller))
    }

    /// Takes down what came of a request that was let through: reads, what is not there for this caller (whoever tries
    /// others' IDs is seen), and what the use case refused. Acts are in the log already, with what they changed; where
    /// nothing was read for another reason, a mistake or an outage, there is nothing to log.
    fn take_down(&self, policy: &'static Policy, caller: &Caller, response: &Response<Body>) {
        // Left with the answer by whoever knows its protocol.
        let code = response.extensions().get::<Code>().copied().unwrap_or(Code::Unknown);
        let (action, outcome, why) = match (code, policy.access) {
            (Code::PermissionDenied, _) => (Action::PermissionDeny, Outcome::Denied, "not allowed to this caller"),
            (Code::Unauthenticated, _) => (Action::CredentialRefuse, Outcome::Denied, "ended meanwhile"),
            (Code::NotFound, Access::Read) => (Action::Read, Outcome::Denied, "not found"),
            (Code::NotFound, Access::Write) => (Action::PermissionDeny, Outcome::Denied, "not found"),
            (Code::Ok, Access::Read) => (Action::Read, Outcome::Succeeded, ""),
            _ => return,
        };
        self.recorder.observe(observation(policy, caller.actor(), action, outcome, why));
    }

    async fn verify(&self, policy: &Policy, headers: &HeaderMap) -> Result<StoredCredential, Unverified> {
        let given = headers::given(headers, policy.door).map_err(Unverified::NoToken)?;
        let stored = self.verifier.verify(given.token()).await.map_err(Unverified::Token)?;
        if given.names_holder(&stored) { Ok(stored) } else { Err(Unverified::OtherName(Box::new(stored))) }
    }

    fn refuse(&self, unverified: Unverified, policy: &'static Policy, origin: Origin) -> Refusal {
        let reason = unverified.reason();
        metrics::counter!("latchkey_refusals_total", "reason" => reason).increment(1);
        tracing::debug!(rpc = policy.rpc, peer = ?origin.peer, reason, "refused");
        match unverified {
            // A call without a credential is a mistake, and not worth a word in the audit log.
            Unverified::NoToken(_) => Refusal::stranger(),
            // Anybody can write such a number: it is no news each time, and /readyz has it.
            Unverified::Token(VerifyError::KeyNotHere(_) | VerifyError::Unavailable) => Refusal::unavailable(),
            Unverified::Token(VerifyError::Ended(stored, ended)) => {
                note(&stored);
                let caller = Caller::new(&stored, origin);
                let seen = observation(policy, caller.actor(), Action::CredentialRefuse, Outcome::Denied, reason);
                self.recorder.observe(seen);
                Refusal::Unauthenticated(ended.message())
            }
            // Whoever has the token has not guessed it.
            Unverified::OtherName(stored) => {
                let caller = Caller::new(&stored, origin);
                let seen = observation(policy, caller.actor(), Action::CredentialRefuse, Outcome::Denied, reason);
                self.recorder.observe(seen);
                let message = "the user name does not belong to the token that is the password; give the ID of its holder, or its own";
                Refusal::Unauthenticated(message.to_owned())
            }
            Unverified::Token(error @ (VerifyError::Malformed(_) | VerifyError::Forged | VerifyError::Unknown)) => {
                // One entry a peer and minute, whatever the stranger tries.
                self.recorder.observe(Observation {
                    organization_id: None,
                    principal: None,
                    token_id: None,
                    action: Action::CredentialRefuse,
                    rpc: "",
                    outcome: Outcome::Denied,
                    reason: if matches!(error, VerifyError::Unknown) { error.reason() } else { "malformed or forged" },
                    peer: origin.peer,
                    user_agent: origin.user_agent,
                    request_id: origin.request_id,
                });
                // What a signing key made was not guessed.
                let guesser = origin.peer.filter(|_| !matches!(error, VerifyError::Unknown));
                let wait = guesser.and_then(|peer| self.guesses.count(peer));
                wait.map_or_else(Refusal::stranger, |retry_after| {
                    metrics::counter!("latchkey_refusals_total", "reason" => "too many tries").increment(1);
                    Refusal::TooManyTries { retry_after }
                })
            }
        }
    }
}

/// Says whose request this is, in the logs and traces of whoever asked for them.
fn note(stored: &StoredCredential) {
    let (principal, token_id) = (field::display(stored.principal_id), field::display(stored.credential.token_id()));
    Span::current().record("principal", principal).record("token_id", token_id);
}

enum Unverified {
    NoToken(NoToken),
    Token(VerifyError),
    /// A good token, as the password of somebody else.
    OtherName(Box<StoredCredential>),
}

impl Unverified {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NoToken(no_token) => no_token.reason(),
            Self::Token(error) => error.reason(),
            Self::OtherName(_) => "another's user name",
        }
    }
}

/// Whether a good credential is good for this.
fn permit(policy: &Policy, stored: &StoredCredential, addressed: Option<EnvironmentId>) -> Result<(), &'static str> {
    match (policy.who, stored.credential) {
        (Who::Public, _) => Ok(()),
        (Who::Caller, Credential::PersonalAccessToken { read_only, .. }) => {
            if read_only && policy.access == Access::Write {
                Err("this token is read-only; use one that may write")
            } else {
                Ok(())
            }
        }
        (Who::Service, Credential::PersonalAccessToken { .. }) => {
            if stored.role == Role::Service {
                Ok(())
            } else {
                Err("only a service account that may ask about others' tokens calls this; ask your operator for one")
            }
        }
        (Who::Caller | Who::Service, Credential::EnvironmentToken { .. }) => {
            Err("an environment token is good for the operations of its environment alone; use a personal access token")
        }
        (Who::EnvironmentHolder, Credential::PersonalAccessToken { .. }) => {
            Err("operations of an environment take an environment token; get one with CreateEnvironmentAccessToken")
        }
        (Who::EnvironmentHolder, Credential::EnvironmentToken { environment_id, .. }) => {
            if addressed.is_none_or(|addressed| addressed == environment_id) {
                Ok(())
            } else {
                Err("this token is good for another environment")
            }
        }
    }
}

/// Takes the prefix of an environment's own URL off the path, and says which environment it named.
fn address_environment(request: &mut Parts) -> Option<EnvironmentId> {
    let (id, rpc) = policy::split_environment(request.uri.path())?;
    let path: Uri = rpc.parse().ok()?;
    request.uri = path;
    Some(id)
}

fn origin(request: &Parts) -> Origin {
    Origin {
        peer: request.extensions.get::<Peer>().map(|peer| peer.0),
        user_agent: request.headers.get(header::USER_AGENT).and_then(|text| headers::user_agent(text.as_bytes())),
        request_id: request.extensions.get::<RequestId>().copied().unwrap_or_else(RequestId::generate),
    }
}

fn observation(policy: &Policy, actor: &Actor, action: Action, outcome: Outcome, reason: &'static str) -> Observation {
    Observation {
        organization_id: Some(actor.organization_id),
        principal: Some((actor.principal_id, actor.kind)),
        token_id: Some(actor.credential.token_id()),
        action,
        rpc: policy.rpc,
        outcome,
        reason,
        peer: actor.origin.peer,
        user_agent: actor.origin.user_agent.clone(),
        request_id: actor.origin.request_id,
    }
}
