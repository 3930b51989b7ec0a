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
    lookups::{Lookups, SourceUnavailable},
    pb::gitpod::v1::token_service_client::TokenServiceClient,
};

/// Good tokens that are remembered.
const GOOD: usize = 100_000;
/// Others that are remembered, apart from those: nobody's guesses put a good one out.
const BAD: usize = 10_000;
/// How long it is remembered that a token is not good. It may become so: its holder was suspended, and is no more.
const NOT_GOOD: Duration = Duration::from_secs(1);
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
        Ok(Self {
            lookups: Arc::new(Lookups::start(introspection)),
            own_token,
            good: Arc::new(Cache::new(GOOD)),
            bad: Arc::new(Cache::new(BAD)),
        })
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
            token::CredentialKind::EnvironmentToken => return Err(VerifyError::NotActive),
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
        let found = self.lookups.find(presented).await.map_err(|SourceUnavailable| VerifyError::Unavailable)?;
        match found {
            Some(Answer { is_undecided: true, .. }) => Err(VerifyError::Unavailable),
            Some(answer @ Answer { caller: Some(caller), until, .. }) => {
                if boot_time() < until {
                    self.good.insert(fingerprint, answer);
                }
                Ok(caller)
            }
            Some(Answer { caller: None, .. }) | None => {
                self.good.remove(&fingerprint);
                self.bad.insert(fingerprint, boot_time() + NOT_GOOD);
                Err(VerifyError::NotActive)
            }
        }
    }
}

impl fmt::Debug for RemoteVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RemoteVerifier").field("remembered", &self.good.len()).finish_non_exhaustive()
    }
}
