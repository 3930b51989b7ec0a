//! Whether a presented token is good now, and whose it is: asked of Latchkey, and remembered for as long as that says.

use std::{fmt, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::{
    caller::Caller,
    introspection::{Answer, Introspection, OwnToken, Presented},
};
use crate::{
    domain::{clock::boot_time, token},
    lookups::{Lookups, Source, SourceUnavailable},
    pb::gitpod::v1::token_service_client::TokenServiceClient,
};

/// Good tokens that are remembered.
const GOOD: usize = 100_000;
/// Others that are remembered, apart from those: nobody's guesses put a good one out.
const BAD: usize = 10_000;
/// How long it is remembered that a token is not good. It may become so: its holder was suspended, and is no more.
const NOT_GOOD: Duration = Duration::from_secs(1);
/// How often it is asked about a token whose answers come too late to count.
const TRIES: usize = 2;
/// What a connection may take to come about, or to answer a ping.
const CONNECTING: Duration = Duration::from_secs(2);

/// Why nobody is let in with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is none, or none that is good now, or another organization's.
    #[error("this is no token that is good now")]
    NotActive,
    /// Latchkey cannot be asked; the log says why.
    #[error("tokens cannot be verified right now")]
    Unavailable,
}

/// Why there is no verifier.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL.
    #[error("Latchkey's URL is to be 'https://HOST' or 'http://HOST:PORT': {0}")]
    Url(#[source] tonic::transport::Error),
    /// The service's own token.
    #[error("the service's own token has characters that no token has")]
    OwnToken,
}

/// Asks Latchkey. Cheap to clone; all clones remember together.
#[derive(Clone)]
pub struct RemoteVerifier {
    lookups: Arc<Lookups<Presented, Answer>>,
    own_token: Arc<OwnToken>,
    good: Arc<Cache<[u8; 32], Answer>>,
    bad: Arc<Cache<[u8; 32], Duration>>,
}

impl RemoteVerifier {
    /// Asks the Latchkey at a URL, with the token of a service account of the role `service`. Certificates of `https://` are checked
    /// against the machine's roots. It connects when it first has to, and again whenever that is lost. To be called in a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ConnectError`]; not if nobody answers there.
    pub fn connect(url: &str, own_token: &str) -> Result<Self, ConnectError> {
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(ConnectError::Url)?;
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(ConnectError::Url)?;
        }
        let endpoint = endpoint
            .connect_timeout(CONNECTING)
            .tcp_nodelay(true)
            // What has become silent is noticed, and replaced.
            .http2_keep_alive_interval(CONNECTING)
            .keep_alive_timeout(CONNECTING);
        Self::with_channel(endpoint.connect_lazy(), own_token)
    }

    /// The same over a channel that somebody else has made: with roots of its own, a client's certificate, or several servers.
    ///
    /// # Errors
    /// [`ConnectError::OwnToken`]
    pub fn with_channel(channel: Channel, own_token: &str) -> Result<Self, ConnectError> {
        let own_token = OwnToken::header(own_token).ok_or(ConnectError::OwnToken)?;
        let own_token = Arc::new(OwnToken::new(own_token));
        let introspection =
            Introspection { client: TokenServiceClient::new(channel), own_token: Arc::clone(&own_token) };
        Ok(Self::asking(introspection, own_token))
    }

    fn asking(source: impl Source<Key = Presented, Found = Answer>, own_token: Arc<OwnToken>) -> Self {
        Self {
            lookups: Arc::new(Lookups::start(source)),
            own_token,
            good: Arc::new(Cache::new(GOOD)),
            bad: Arc::new(Cache::new(BAD)),
        }
    }

    /// Asks with another token from now on: tokens expire, and services run on.
    ///
    /// # Errors
    /// [`ConnectError::OwnToken`]; then the old one stays.
    pub fn replace_own_token(&self, own_token: &str) -> Result<(), ConnectError> {
        self.own_token.replace(OwnToken::header(own_token).ok_or(ConnectError::OwnToken)?);
        Ok(())
    }

    /// Whose token a text is.
    ///
    /// # Errors
    /// [`VerifyError`]
    pub async fn verify(&self, text: &str) -> Result<Caller, VerifyError> {
        // What nobody would have made into a token is not worth a question.
        let written = token::Presented::parse(text).map_err(|_| VerifyError::NotActive)?;
        match written.kind() {
            token::CredentialKind::PersonalAccessToken => {}
            token::CredentialKind::EnvironmentToken
            | token::CredentialKind::Session
            | token::CredentialKind::SignInLink
            | token::CredentialKind::LoginCode => return Err(VerifyError::NotActive),
        }
        let presented = Presented::new(text);
        let fingerprint = presented.fingerprint;
        if let Some(Answer { caller: Some(caller), until, .. }) = self.good.get(&fingerprint)
            && boot_time() < until
        {
            return Ok(caller);
        }
        if self.bad.get(&fingerprint).is_some_and(|until| boot_time() < until) {
            return Err(VerifyError::NotActive);
        }
        for _ in 0..TRIES {
            let found = self.lookups.find(presented.clone()).await;
            match found.map_err(|SourceUnavailable| VerifyError::Unavailable)? {
                Some(Answer { is_undecided: true, .. }) => return Err(VerifyError::Unavailable),
                Some(answer @ Answer { caller: Some(caller), until, counts_until, .. }) => {
                    let now = boot_time();
                    if now < until {
                        self.good.insert(fingerprint, answer);
                    }
                    // The process may have stood still since the answer came: it may have ceased to be true.
                    if now < counts_until {
                        return Ok(caller);
                    }
                }
                Some(Answer { caller: None, .. }) | None => {
                    self.good.remove(&fingerprint);
                    self.bad.insert(fingerprint, boot_time() + NOT_GOOD);
                    return Err(VerifyError::NotActive);
                }
            }
        }
        tracing::warn!("Latchkey's answers about a token come too late to count");
        Err(VerifyError::Unavailable)
    }
}

impl fmt::Debug for RemoteVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RemoteVerifier").field("remembered", &self.good.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::{
        domain::{
            ids::{OrganizationId, PrincipalId, TokenId},
            token::{CredentialKind, Generation, SigningKeys},
        },
        lookups::{Answers, PATIENCE},
        pb::gitpod::v1::{Principal, Subject, TokenIntrospection},
    };

    /// Answers, each of which has been on its way for so long, and may be kept for so long.
    struct Late(Arc<Mutex<VecDeque<(Duration, Duration)>>>);

    impl Source for Late {
        const BATCH: usize = 10;
        type Key = Presented;
        type Found = Answer;

        async fn find(&self, presented: Vec<Presented>) -> Answers<Presented, Answer> {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let (age, fresh_for) = next.ok_or(SourceUnavailable)?;
            let subject = Subject { id: PrincipalId::generate().to_string(), principal: Principal::User.into() };
            let said = TokenIntrospection {
                active: true,
                token_id: TokenId::generate().to_string(),
                subject: Some(subject),
                organization_id: OrganizationId::generate().to_string(),
                expires_at: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
                fresh_for: Some(fresh_for.try_into().unwrap()),
                ..TokenIntrospection::default()
            };
            let answer = Answer::read(&said, boot_time().checked_sub(age).unwrap());
            Ok(presented.into_iter().map(|one| (one, answer)).collect())
        }
    }

    /// What comes of such answers, and how many are left.
    async fn verified(answers: &[(f64, f64)]) -> (Result<(), VerifyError>, usize) {
        let keys = SigningKeys::parse(&format!("1 {}\n", "a".repeat(64))).unwrap();
        let id = TokenId::generate().uuid();
        let minted = keys.mint(CredentialKind::PersonalAccessToken, Generation::FIRST, id).unwrap().unwrap();
        let seconds =
            |(age, fresh_for): &(f64, f64)| (Duration::from_secs_f64(*age), Duration::from_secs_f64(*fresh_for));
        let answers = Arc::new(Mutex::new(answers.iter().map(seconds).collect()));
        let own = OwnToken::new(OwnToken::header("x").unwrap());
        let verifier = RemoteVerifier::asking(Late(Arc::clone(&answers)), Arc::new(own));
        let verified = verifier.verify(minted.text.expose()).await.map(drop);
        let left = answers.lock().unwrap().len();
        (verified, left)
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_does_not_count() {
        let (bound, in_time, late) = (30.0, 0.0, 31.0);
        // One that has been lying there, whoever stood still meanwhile, is asked for again, and no more than once.
        assert_eq!(verified(&[(in_time, bound)]).await, (Ok(()), 0));
        assert_eq!(verified(&[(late, bound), (in_time, bound), (in_time, bound)]).await, (Ok(()), 1));
        assert_eq!(verified(&[(late, bound); 3]).await, (Err(VerifyError::Unavailable), 1));
        // Nor where the bound is shorter than what a lookup may take.
        assert_eq!(verified(&[(1.5, 1.0); 2]).await, (Err(VerifyError::Unavailable), 0));
    }

    #[tokio::test]
    async fn an_answer_that_may_not_be_kept_counts_for_as_long_as_a_lookup_may_take() {
        let (in_time, late) = (PATIENCE.as_secs_f64() / 2.0, PATIENCE.as_secs_f64() + 1.0);
        assert_eq!(verified(&[(in_time, 0.0)]).await, (Ok(()), 0));
        assert_eq!(verified(&[(late, 0.0), (in_time, 0.0)]).await, (Ok(()), 0));
        assert_eq!(verified(&[(late, 0.0); 2]).await, (Err(VerifyError::Unavailable), 0));
    }
}
