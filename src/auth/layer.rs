//! The tower layer in front of everything. It reads headers alone: nobody's body is touched before it is known who sends it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response};
use tonic::Code;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use super::{
    browser::{self, Foreign},
    caller::Caller,
    entering::{Decided, Entering, Passed},
    guesses::Guesses,
    headers::{self, Given},
    policy::{Access, Door, Policy, Who},
    recorder::{QueueFull, Recorder},
    refusal::Refusal,
    verifier::{CredentialSource, Verifier, VerifyError},
};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    bearer::NoToken,
    credential::StoredCredential,
    ids::EnvironmentId,
    principal::{Actor, Credential, Origin, Role},
    site::Site,
};

/// Puts [`AuthService`] in front of a service.
pub struct AuthLayer<S, R>(Arc<Shared<S, R>>);

struct Shared<S, R> {
    verifier: Arc<Verifier<S>>,
    recorder: Arc<R>,
    guesses: Arc<Guesses>,
    site: Arc<Site>,
}

impl<S, R> AuthLayer<S, R> {
    /// Verifies with one, tells another, and counts what is no token with the third, which is the same for every door. Pages are asked
    /// for at the last.
    pub fn new(verifier: Arc<Verifier<S>>, recorder: Arc<R>, guesses: Arc<Guesses>, site: Arc<Site>) -> Self {
        Self(Arc::new(Shared { verifier, recorder, guesses, site }))
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
        let (entering, body) = Entering::new(request);
        // Mostly nothing has to be put aside for it.
        if let Some(decided) = shared.decide_at_once(&entering) {
            let (request, passed) = entering.go_on(body, decided);
            let answering = self.inner.call(request);
            return Box::pin(async move { Ok(shared.answered(passed, answering.await?)) });
        }
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            let decided = shared.decide(&entering).await;
            let (request, passed) = entering.go_on(body, decided);
            Ok(shared.answered(passed, inner.call(request).await?))
        })
    }
}

impl<S: CredentialSource, R: Recorder> Shared<S, R> {
    /// What becomes of a request, if nobody has to be asked or waited for.
    fn decide_at_once(&self, entering: &Entering) -> Option<Decided> {
        let Some(policy) = entering.policy else { return Some(Err(Refusal::UnknownRpc)) };
        if policy.who == Who::Public {
            return Some(self.admit_anybody(policy, entering));
        }
        let verified = entering.verifying.in_scope(|| match self.given(policy, entering) {
            Ok(given) => self.verifier.recall(given.token()).map(|verified| named(&given, verified)),
            Err(unverified) => Some(Err(unverified)),
        })?;
        if verified.is_ok() && !self.recorder.has_room() {
            return None;
        }
        Some(self.conclude(policy, entering, verified))
    }

    /// The same of any request, however long it takes.
    async fn decide(&self, entering: &Entering) -> Decided {
        let Some(policy) = entering.policy else { return Err(Refusal::UnknownRpc) };
        let verify = || self.verify(policy, entering).instrument(entering.verifying.clone());
        let mut verified = verify().await;
        if verified.is_ok() && !self.recorder.has_room() {
            self.recorder.room().await.map_err(|QueueFull| Refusal::unavailable())?;
            // It may have ended while it waited.
            verified = verify().await;
        }
        self.conclude(policy, entering, verified)
    }

    fn conclude(
        &self,
        policy: &'static Policy,
        entering: &Entering,
        verified: Result<StoredCredential, Unverified>,
    ) -> Decided {
        let origin = entering.origin();
        let stored = match verified {
            Ok(stored) => stored,
            Err(unverified) => return Err(self.refuse(unverified, policy, origin)),
        };
        note(&stored);
        // What keeps a page up to date while nobody does anything keeps no session open.
        if policy.door != Door::Page || browser::is_looked_at(entering.headers()) {
            self.recorder.used(stored.credential, stored.read_at, &origin);
        }
        let caller = Caller::new(&stored, origin);
        if let Err(why) = permit(policy, &stored, entering.environment) {
            tracing::info!(rpc = policy.rpc, principal = %stored.principal_id, reason = why, "permission denied");
            self.recorder.observe(observation(policy, caller.actor(), Action::PermissionDeny, Outcome::Denied, why));
            return Err(Refusal::PermissionDenied(why.to_owned()));
        }
        Ok(Some(caller))
    }

    fn answered(&self, passed: Option<Passed>, response: Response<Body>) -> Response<Body> {
        if let Some(Passed { policy, caller }) = passed {
            self.take_down(policy, &caller, &response);
        }
        response
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

    /// What a request brings to be let in.
    fn given<'a>(&self, policy: &Policy, entering: &'a Entering) -> Result<Given<'a>, Unverified> {
        match policy.door {
            Door::Rpc | Door::OAuth => headers::given(entering.headers(), policy.door).map_err(Unverified::NoToken),
            Door::Page => {
                let session = browser::session(entering.parts(), &self.site).map_err(Unverified::Foreign)?;
                session.map(Given::Cookie).map_err(Unverified::NoToken)
            }
        }
    }

    /// Whether what is public is for whoever asks: of pages, what browsers send for others is not.
    fn admit_anybody(&self, policy: &'static Policy, entering: &Entering) -> Decided {
        let admitted = match policy.door {
            Door::Rpc => Ok(()),
            Door::OAuth => browser::admit_program(entering.parts(), &self.site),
            Door::Page => browser::admit_anybody(entering.parts(), &self.site),
        };
        admitted.map_err(|foreign| self.refuse(Unverified::Foreign(foreign), policy, entering.origin()))?;
        Ok(None)
    }

    async fn verify(&self, policy: &Policy, entering: &Entering) -> Result<StoredCredential, Unverified> {
        let given = self.given(policy, entering)?;
        named(&given, self.verifier.verify(given.token()).await)
    }

    fn refuse(&self, unverified: Unverified, policy: &'static Policy, origin: Origin) -> Refusal {
        let reason = unverified.reason();
        metrics::counter!("latchkey_refusals_total", "reason" => reason).increment(1);
        tracing::debug!(rpc = policy.rpc, peer = ?origin.peer, reason, "refused");
        match unverified {
            // A call without a credential is a mistake, and not worth a word in the audit log.
            Unverified::NoToken(_) => Refusal::stranger(),
            Unverified::Foreign(foreign) => Refusal::PermissionDenied(foreign.message().to_owned()),
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
                    session_id: None,
                    action: Action::CredentialRefuse,
                    rpc: "",
                    outcome: Outcome::Denied,
                    reason: error.tally(),
                    peer: origin.peer,
                    user_agent: origin.user_agent,
                    request_id: origin.request_id,
                });
                // What a signing key made was not guessed.
                let guesser = origin.peer.filter(|_| error.is_guess());
                let wait = guesser.and_then(|peer| self.guesses.count(peer));
                wait.map_or_else(Refusal::stranger, |retry_after| {
                    metrics::counter!("latchkey_refusals_total", "reason" => "too many tries").increment(1);
                    Refusal::TooManyTries { retry_after }
                })
            }
        }
    }
}

/// What was verified, if it was given as its holder's.
fn named(given: &Given<'_>, verified: Result<StoredCredential, VerifyError>) -> Result<StoredCredential, Unverified> {
    let stored = verified.map_err(Unverified::Token)?;
    if given.names_holder(&stored) { Ok(stored) } else { Err(Unverified::OtherName(Box::new(stored))) }
}

/// Says whose request this is, in the logs and traces of whoever asked for them.
fn note(stored: &StoredCredential) {
    let span = Span::current();
    span.record("principal", field::display(stored.principal_id));
    if let Some(id) = stored.credential.token_id() {
        span.record("token_id", field::display(id));
    }
    if let Some(id) = stored.credential.session_id() {
        span.record("session_id", field::display(id));
    }
}

enum Unverified {
    NoToken(NoToken),
    /// A browser sent it for somebody else's page, or by somebody else's name.
    Foreign(Foreign),
    Token(VerifyError),
    /// A good token, as the password of somebody else.
    OtherName(Box<StoredCredential>),
}

impl Unverified {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NoToken(no_token) => no_token.reason(),
            Self::Foreign(foreign) => foreign.reason(),
            Self::Token(error) => error.reason(),
            Self::OtherName(_) => "another's user name",
        }
    }
}

/// Whether a good credential is good for this.
fn permit(policy: &Policy, stored: &StoredCredential, addressed: Option<EnvironmentId>) -> Result<(), &'static str> {
    let is_session = matches!(stored.credential, Credential::Session { .. });
    if is_session != (policy.door == Door::Page) {
        return Err(if is_session {
            "a session is good for pages alone; use a personal access token"
        } else {
            "pages take a session alone; sign in"
        });
    }
    match (policy.who, stored.credential) {
        (Who::Public, _) | (Who::Caller, Credential::Session { .. }) => Ok(()),
        (Who::Caller, Credential::PersonalAccessToken { read_only, .. }) => {
            if read_only && policy.access == Access::Write {
                Err("this token is read-only; use one that may write")
            } else {
                Ok(())
            }
        }
        (Who::Service, Credential::PersonalAccessToken { .. } | Credential::Session { .. }) => {
            if stored.role == Role::Service {
                Ok(())
            } else {
                Err("only a service account that may ask about others' tokens calls this; ask your operator for one")
            }
        }
        (Who::Caller | Who::Service, Credential::EnvironmentToken { .. }) => {
            Err("an environment token is good for the operations of its environment alone; use a personal access token")
        }
        (Who::EnvironmentHolder, Credential::PersonalAccessToken { .. } | Credential::Session { .. }) => {
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

fn observation(policy: &Policy, actor: &Actor, action: Action, outcome: Outcome, reason: &'static str) -> Observation {
    Observation {
        organization_id: Some(actor.organization_id),
        principal: Some((actor.principal_id, actor.kind)),
        token_id: actor.credential.token_id(),
        session_id: actor.credential.session_id(),
        action,
        rpc: policy.rpc,
        outcome,
        reason,
        peer: actor.origin.peer,
        user_agent: actor.origin.user_agent.clone(),
        request_id: actor.origin.request_id,
    }
}
