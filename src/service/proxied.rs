//! Whether requests to other services may go on: what a proxy asks that stands in front of them.

use std::sync::Arc;

use super::{Identity, QueuedRecorder, StoredCredentials};
use crate::auth::{Guesses, Recorder, Verifier, VerifyError};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    bearer::NoToken,
    credential::{StoredCredential, TOKEN_NEEDED},
    ids::TokenId,
    principal::{Actor, Credential, Origin},
    proxied::{Denial, RequestHead},
};

/// As the audit log has it.
const RPC: &str = "envoy.service.auth.v3.Authorization/Check";

/// A request that a proxy has got.
#[derive(Debug)]
pub struct ProxiedRequest<'a> {
    /// The token that came with it.
    pub token: Result<&'a str, NoToken>,
    /// What it does.
    pub head: RequestHead<'a>,
    /// RPCs of the service behind the proxy that read and nothing else; none where nothing is said of RPCs.
    pub read_methods: Option<&'a str>,
    /// Who sent it, as the proxy says.
    pub origin: Origin,
}

/// Whose request it is that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Who sent it.
    pub identity: Identity,
    /// With which token.
    pub token_id: TokenId,
    /// Whether that may but read.
    pub read_only: bool,
}

/// The use case of a proxy that asks.
#[derive(Clone)]
pub struct ProxiedRequests {
    verifier: Arc<Verifier<StoredCredentials>>,
    recorder: QueuedRecorder,
    guesses: Arc<Guesses>,
}

impl ProxiedRequests {
    /// By the one verifier there is; what is no token counts together with what comes to other doors.
    #[must_use]
    pub const fn new(
        verifier: Arc<Verifier<StoredCredentials>>,
        recorder: QueuedRecorder,
        guesses: Arc<Guesses>,
    ) -> Self {
        Self { verifier, recorder, guesses }
    }

    /// Lets a request go on that comes with one good personal access token of the actor's organization, and, where that is read-only,
    /// reads. The use of the token is noted, and so is that a token is refused; the request itself is an act of neither.
    ///
    /// # Errors
    /// [`Denial`]
    pub async fn admit(&self, actor: &Actor, request: ProxiedRequest<'_>) -> Result<Admitted, Denial> {
        let decided = self.decide(actor, request).await;
        let outcome = decided.as_ref().map_or_else(Denial::outcome, |_| "allowed");
        metrics::counter!("latchkey_proxied_requests_total", "outcome" => outcome).increment(1);
        decided
    }

    async fn decide(&self, actor: &Actor, request: ProxiedRequest<'_>) -> Result<Admitted, Denial> {
        let ProxiedRequest { token, head, read_methods, origin } = request;
        let text = token.map_err(no_token)?;
        let stored = match self.verifier.verify(text).await {
            Ok(stored) => stored,
            Err(error) => return Err(self.refuse(actor, error, origin)),
        };
        if stored.organization_id != actor.organization_id {
            // Another organization's is no more to this one than what is no token, but it was not guessed.
            return Err(stranger("another organization's"));
        }
        let Credential::PersonalAccessToken { id, read_only } = stored.credential else {
            let reason = "an environment token";
            self.observe(&stored, Action::CredentialRefuse, reason, origin);
            count(reason);
            let message =
                "an environment token is good for the operations of its environment alone; use a personal access token";
            return Err(Denial::InvalidToken(message.to_owned()));
        };
        self.recorder.used(stored.credential, stored.read_at, &origin);
        if read_only && !head.is_read(read_methods) {
            self.observe(&stored, Action::PermissionDeny, "this token is read-only", origin);
            return Err(Denial::ReadOnly("this token is read-only; use one that may write".to_owned()));
        }
        let identity =
            Identity { principal_id: stored.principal_id, kind: stored.kind, organization_id: stored.organization_id };
        Ok(Admitted { identity, token_id: id, read_only })
    }

    fn refuse(&self, actor: &Actor, error: VerifyError, origin: Origin) -> Denial {
        match error {
            VerifyError::Ended(stored, _) if stored.organization_id != actor.organization_id => {
                stranger("another organization's")
            }
            VerifyError::Ended(stored, ended) => {
                count(ended.reason());
                self.observe(&stored, Action::CredentialRefuse, ended.reason(), origin);
                Denial::InvalidToken(ended.message())
            }
            error @ (VerifyError::Malformed(_) | VerifyError::Forged | VerifyError::Unknown) => {
                // One entry a peer and minute, whatever the stranger tries.
                self.recorder.observe(Observation {
                    organization_id: Some(actor.organization_id),
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
                let denial = stranger(error.reason());
                let guesser = origin.peer.filter(|_| error.is_guess());
                let wait = guesser.and_then(|peer| self.guesses.count(peer));
                wait.map_or(denial, |retry_after| {
                    count("too many tries");
                    Denial::TooManyTries { retry_after }
                })
            }
            error @ (VerifyError::KeyNotHere(_) | VerifyError::Unavailable) => {
                count(error.reason());
                tracing::debug!(reason = error.reason(), "a proxied request cannot be decided on");
                let message = "tokens cannot be verified right now; try again".to_owned();
                Denial::Unavailable { message, retry_after: RETRY_AFTER }
            }
        }
    }

    /// Takes down that the holder of a token was refused.
    fn observe(&self, stored: &StoredCredential, action: Action, reason: &'static str, origin: Origin) {
        self.recorder.observe(Observation {
            organization_id: Some(stored.organization_id),
            principal: Some((stored.principal_id, stored.kind)),
            token_id: stored.credential.token_id(),
            session_id: stored.credential.session_id(),
            action,
            rpc: RPC,
            outcome: Outcome::Denied,
            reason,
            peer: origin.peer,
            user_agent: origin.user_agent,
            request_id: origin.request_id,
        });
    }
}

/// When to try again what could not be decided.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

fn count(reason: &'static str) {
    metrics::counter!("latchkey_refusals_total", "reason" => reason).increment(1);
}

fn no_token(error: NoToken) -> Denial {
    count(error.reason());
    match error {
        NoToken::Missing | NoToken::Scheme => Denial::NoToken(TOKEN_NEEDED.to_owned()),
        NoToken::Repeated => Denial::Repeated("there is more than one authorization header; send one".to_owned()),
    }
}

fn stranger(reason: &'static str) -> Denial {
    count(reason);
    Denial::InvalidToken(TOKEN_NEEDED.to_owned())
}
