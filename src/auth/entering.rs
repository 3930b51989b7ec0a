//! A request at the layer, and how it goes on.

use std::net::IpAddr;

use axum::body::Body;
use http::{HeaderMap, Request, Uri, header, request::Parts};
use tracing::Span;

use super::{
    caller::Caller,
    headers,
    policy::{self, Policy, Who},
    refusal::Refusal,
};
use crate::domain::{
    ids::{EnvironmentId, RequestId},
    principal::Origin,
};

/// The address of who is at the other end of the connection; set on each request by who accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Where a request comes from.
#[must_use]
pub fn origin(Parts { headers, extensions, .. }: &Parts) -> Origin {
    Origin {
        peer: extensions.get::<Peer>().map(|peer| peer.0),
        user_agent: headers.get(header::USER_AGENT).and_then(|text| headers::user_agent(text.as_bytes())),
        request_id: extensions.get::<RequestId>().copied().unwrap_or_else(RequestId::generate),
    }
}

/// A caller, nobody (for public RPCs), or why not.
pub(super) type Decided = Result<Option<Caller>, Refusal>;

/// What was let through, and by which policy.
pub(super) struct Passed {
    pub(super) policy: &'static Policy,
    pub(super) caller: Caller,
}

/// A request that nothing is decided of yet.
pub(super) struct Entering {
    parts: Parts,
    /// What it is held to; none for what does not exist.
    pub(super) policy: Option<&'static Policy>,
    /// The environment whose own URL it came to.
    pub(super) environment: Option<EnvironmentId>,
    /// Its verification, in traces.
    pub(super) verifying: Span,
}

impl Entering {
    /// Apart from its body, which nobody looks at here.
    pub(super) fn new(request: Request<Body>) -> (Self, Body) {
        let (mut parts, body) = request.into_parts();
        // Only the layer says who calls.
        parts.extensions.remove::<Caller>();
        parts.extensions.remove::<Refusal>();
        let environment = address_environment(&mut parts);
        let policy = policy::of_request(&parts.method, parts.uri.path())
            // An environment's own URL serves its operations, and nothing else.
            .filter(|policy| environment.is_none() || policy.who == Who::EnvironmentHolder);
        let is_verified = policy.is_some_and(|policy| policy.who != Who::Public);
        let verifying = if is_verified { tracing::debug_span!("verify") } else { Span::none() };
        (Self { parts, policy, environment, verifying }, body)
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn origin(&self) -> Origin {
        origin(&self.parts)
    }

    /// The request with what was decided, and emptied if it was refused.
    pub(super) fn go_on(self, body: Body, decided: Decided) -> (Request<Body>, Option<Passed>) {
        let Self { mut parts, policy, .. } = self;
        let (body, passed) = match decided {
            Ok(caller) => {
                let passed = policy.zip(caller).map(|(policy, caller)| Passed { policy, caller });
                if let Some(Passed { caller, .. }) = &passed {
                    parts.extensions.insert(caller.clone());
                }
                (body, passed)
            }
            Err(refusal) => {
                parts.extensions.insert(refusal);
                (Body::empty(), None)
            }
        };
        (Request::from_parts(parts, body), passed)
    }
}

/// Takes the prefix of an environment's own URL off the path, and says which environment it named.
fn address_environment(request: &mut Parts) -> Option<EnvironmentId> {
    let (id, rpc) = policy::split_environment(request.uri.path())?;
    let path: Uri = rpc.parse().ok()?;
    request.uri = path;
    Some(id)
}
