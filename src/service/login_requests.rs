//! What programs ask for that want to act for somebody: asking, deciding, and getting the token.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{CreatedToken, ServiceError};
use crate::auth::{Begun, Cache, Guesses};
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    credential::Ended,
    ids::LoginRequestId,
    login::{CodeChallenge, DeviceCodes, LoginAsk, LoginProof, LoopbackRedirect, PendingLogin},
    principal::{Actor, Origin},
    secret::Secret,
    token::{CredentialKind, Presented, SigningKeys, TagError, UserCode},
};
use crate::store::{
    LoginCreateError, LoginDecision, LoginRedemption, MintError, NewAuthorization, Store, TokenCreateError, Unsettled,
};

/// How often codes are drawn anew that another request has by chance.
const DRAWS: u32 = 3;
/// When to come again where too many wait: some of them wait no longer by then.
const COME_AGAIN: Duration = Duration::from_secs(60);

/// What came of asking to be answered on another machine.
#[derive(Debug)]
pub enum LoginBegin {
    /// It waits to be answered.
    Waits(DeviceCodes),
    /// Too much is asked for.
    TooMany {
        /// What there is too much of.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
}

/// What came of a code that a program brought.
#[derive(Debug)]
pub enum Login {
    /// Its token, which is told this once.
    Done(CreatedToken),
    /// Nobody has said anything.
    Pending,
    /// The same, and it was asked too soon.
    TooSoon,
    /// Somebody has said no; or yes, and may not any more, or has as many tokens as may be: which.
    Denied(String),
    /// Too late.
    Expired,
    /// It is no code that was given out, or it has been brought before, or by another than who asked.
    NoSuchCode,
    /// The same, and not for the first time.
    TooManyTries {
        /// When to try again.
        retry_after: Duration,
    },
}

/// A wider network asks for no more than one peer: what is asked for waits, and of all that waits there is an end.
const PEERS_OF_NETWORK: NonZeroU32 = NonZeroU32::MIN;
/// How long somebody waits for their turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// The use cases of signing a program in.
#[derive(Clone)]
pub struct LoginRequests {
    store: Store,
    keys: Arc<SigningKeys>,
    cache: Arc<Cache>,
    guesses: Arc<Guesses>,
    begun: Arc<Begun>,
    /// Each holds on to all others while it counts them: they wait here, and not on the connections that everybody needs.
    beginning: Arc<Semaphore>,
    tokens_per_user: u32,
}

impl LoginRequests {
    /// What is no code counts like what is no token, whichever door it comes to. What is revoked here, the cache forgets at once. So many
    /// live tokens a principal, at the most.
    #[must_use]
    pub fn new(
        store: Store,
        keys: Arc<SigningKeys>,
        cache: Arc<Cache>,
        guesses: Arc<Guesses>,
        tokens_per_user: u32,
    ) -> Self {
        Self {
            store,
            keys,
            cache,
            guesses,
            begun: Arc::new(Begun::new(PEERS_OF_NETWORK)),
            beginning: Arc::new(Semaphore::new(1)),
            tokens_per_user,
        }
    }

    /// Takes down what a program asks for, to be answered by a person on another machine.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when it cannot be taken down now.
    pub async fn begin(&self, origin: &Origin, asked: &LoginAsk) -> Result<LoginBegin, ServiceError> {
        if let Some(retry_after) = origin.peer.and_then(|peer| self.begun.count(peer)) {
            let message = "too much has been asked for from your address; come again later".to_owned();
            return Ok(LoginBegin::TooMany { message, retry_after });
        }
        let Ok(Ok(_place)) = tokio::time::timeout(PATIENCE, self.beginning.acquire()).await else {
            let message = "too many ask at this moment; come again".to_owned();
            return Ok(LoginBegin::TooMany { message, retry_after: COME_AGAIN });
        };
        let mut drawn = 1;
        loop {
            match self.store.login_request_create(LoginRequestId::generate(), asked, origin, &self.keys).await {
                Ok(codes) => return Ok(LoginBegin::Waits(codes)),
                Err(LoginCreateError::Limit(limit)) => {
                    let message = format!("{limit} logins wait for an answer already; come again when some have one");
                    return Ok(LoginBegin::TooMany { message, retry_after: COME_AGAIN });
                }
                Err(LoginCreateError::Mint(MintError::Store(error)))
                    if drawn < DRAWS && error.constraint() == Some("login_requests_user_code") =>
                {
                    drawn += 1;
                }
                Err(LoginCreateError::Mint(error)) => return Err(error.into()),
            }
        }
    }

    /// What waits under a code that a person has typed.
    ///
    /// # Errors
    /// [`ServiceError`]: invalid if no program shows it (any more), exhausted after a few that none has shown.
    pub async fn find(&self, actor: &Actor, typed: &str, rpc: &'static str) -> Result<PendingLogin, ServiceError> {
        self.decide(actor, typed, None, rpc).await
    }

    /// Says yes to it, or no: for whoever types the code, and once. Who says the same again is answered the same.
    ///
    /// # Errors
    /// The same.
    pub async fn answer(
        &self,
        actor: &Actor,
        typed: &str,
        approves: bool,
        rpc: &'static str,
    ) -> Result<PendingLogin, ServiceError> {
        self.decide(actor, typed, Some(approves), rpc).await
    }

    async fn decide(
        &self,
        actor: &Actor,
        typed: &str,
        approves: Option<bool>,
        rpc: &'static str,
    ) -> Result<PendingLogin, ServiceError> {
        let code = UserCode::parse(typed).ok_or_else(|| {
            ServiceError::invalid(
                "user_code",
                "is no code: it has eight letters, such as BCDF-GHJK, none of them a vowel",
            )
        })?;
        match self.store.login_request_decide(actor, &code, approves, &self.keys, rpc).await? {
            LoginDecision::Known(pending) => Ok(*pending),
            LoginDecision::Over => Err(ServiceError::invalid(
                "user_code",
                "is over: it has its answer, or there was none for five minutes; run `gitpod login` again if it still waits",
            )),
            LoginDecision::NoSuchCode => Err(ServiceError::invalid(
                "user_code",
                "is not shown by any program that waits for an answer; look at it again, or run `gitpod login` again",
            )),
            LoginDecision::TooManyCodes => Err(ServiceError::Exhausted(
                "too many codes were typed that no program shows; wait ten minutes, and look closely".to_owned(),
            )),
            LoginDecision::ActorEnded => Err(ended()),
        }
    }

    /// Says yes to a program on the machine of the browser: the code that it is to get.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn authorize(
        &self,
        actor: &Actor,
        asked: &LoginAsk,
        redirect: &LoopbackRedirect,
        challenge: &CodeChallenge,
        rpc: &'static str,
    ) -> Result<Secret, ServiceError> {
        let new = NewAuthorization { id: LoginRequestId::generate(), asked, redirect, challenge };
        self.store.authorization_create(actor, &new, &self.keys, rpc).await?.ok_or_else(ended)
    }

    /// Says no to it.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn refuse(&self, actor: &Actor, rpc: &'static str) -> Result<(), ServiceError> {
        // Nothing is kept of what was not made; the entry has a subject of its own all the same.
        let subject = Subject { subject_type: SubjectType::LoginRequest, id: LoginRequestId::generate().uuid() };
        Ok(self.store.audit_act(&AuditEvent::of(actor, Action::LoginDeny, rpc, subject)).await?)
    }

    /// Gives a program its token for the code that it brings.
    ///
    /// # Errors
    /// [`ServiceError`]: unavailable when it cannot be decided now, in doubt when it may have been.
    pub async fn redeem(
        &self,
        origin: &Origin,
        code: &Secret,
        proof: LoginProof<'_>,
        rpc: &'static str,
    ) -> Result<Login, ServiceError> {
        let Ok(presented) = Presented::parse(code.expose()) else { return Ok(self.no_such_code(origin)) };
        if presented.kind() != CredentialKind::LoginCode {
            return Ok(self.no_such_code(origin));
        }
        match self.keys.check_tag(&presented) {
            Ok(()) => {}
            Err(TagError::Forged) => return Ok(self.no_such_code(origin)),
            Err(TagError::UnknownGeneration) => {
                let message = "codes cannot be verified right now; try again";
                return Err(ServiceError::unavailable(message, "signing key not here"));
            }
        }
        let redeemed =
            self.store.login_request_redeem(&presented, proof, origin, self.tokens_per_user, &self.keys, rpc).await;
        if let Err(Unsettled { touched: Some(token), .. }) = &redeemed {
            // If it is not known what came of it, it may have come to pass.
            self.cache.forget_token(token.uuid());
        }
        match redeemed.map_err(|unsettled| unsettled.error) {
            Ok(LoginRedemption::Redeemed(token, text)) => Ok(Login::Done(CreatedToken { token: *token, text })),
            Ok(LoginRedemption::Pending) => Ok(Login::Pending),
            Ok(LoginRedemption::TooSoon) => Ok(Login::TooSoon),
            Ok(LoginRedemption::Denied) => Ok(Login::Denied("the person who was asked has said no".to_owned())),
            Ok(LoginRedemption::Withdrawn) => {
                Ok(Login::Denied("whoever has said yes has signed out or may not any more".to_owned()))
            }
            Ok(LoginRedemption::Expired) => Ok(Login::Expired),
            // Made by a key of ours: not guessed.
            Ok(LoginRedemption::NoSuchCode | LoginRedemption::BroughtAgain(None)) => Ok(Login::NoSuchCode),
            Ok(LoginRedemption::BroughtAgain(Some(token))) => {
                // Before anybody is told of it.
                self.cache.forget_token(token.uuid());
                Ok(Login::NoSuchCode)
            }
            Err(TokenCreateError::Limit(limit)) => Ok(Login::Denied(format!(
                "whoever has said yes has {limit} tokens that are neither revoked nor expired, the most there may be; revoke one first"
            ))),
            // Everybody may make what they make for themselves.
            Err(TokenCreateError::NoSuchPrincipal | TokenCreateError::NotForOthers) => {
                Ok(Login::Denied("whoever has said yes is gone".to_owned()))
            }
            Err(TokenCreateError::Mint(error)) => Err(error.into()),
        }
    }

    /// What was presented is none: that counts for whoever goes on trying.
    fn no_such_code(&self, origin: &Origin) -> Login {
        match origin.peer.and_then(|peer| self.guesses.count(peer)) {
            None => Login::NoSuchCode,
            Some(retry_after) => Login::TooManyTries { retry_after },
        }
    }
}

/// The session has ended since the request was let in.
fn ended() -> ServiceError {
    ServiceError::Ended(Ended::Suspended.message())
}
