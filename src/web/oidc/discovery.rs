//! What a provider says of itself: where it has what, and with which keys it signs (OpenID Connect Discovery 1.0).
//!
//! Asked for when somebody signs in, and kept for a while. Who waits for an answer waits together with all others, and once it did not
//! come, nobody waits for the next one for a moment: so a provider that swallows what is sent holds up nobody for longer than one answer
//! may take. It is asked for in a task of its own: whoever was the first to want it may leave, and the others go on waiting for the same.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use openidconnect::IssuerUrl;
use tokio::sync::Mutex;
use tracing::Instrument;
use url::Url;

use super::{
    error::ProviderError,
    http_client::{HttpClient, whole},
    wire::Metadata,
};
use crate::domain::sign_in::is_loopback;

/// How long it is taken to be as it was.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// How long it is used when it cannot be asked for anew.
const USABLE: Duration = Duration::from_secs(60 * 60);
/// How long nobody asks again after there was no answer.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is asked for because a token names a key that is not known: so often at once, and then one more in each time.
const KEY_LOOKUPS: NonZeroU32 = NonZeroU32::new(5).expect("it is not zero");
const KEY_LOOKUP: Duration = Duration::from_secs(30);

/// What a provider has said of itself, and when it was asked.
#[derive(Debug, Clone)]
pub(super) struct Discovered {
    pub(super) metadata: Arc<Metadata>,
    asked_at: Instant,
}

/// Asks for it, and remembers it.
pub(super) struct Discovery(Arc<Asked>);

struct Asked {
    issuer: IssuerUrl,
    http: HttpClient,
    state: Mutex<State>,
    key_lookups: DefaultDirectRateLimiter,
}

#[derive(Default)]
struct State {
    found: Option<Discovered>,
    failed: Option<(Instant, ProviderError)>,
}

impl Discovery {
    /// Of an issuer.
    pub(super) fn new(issuer: IssuerUrl, http: HttpClient) -> Self {
        let quota = Quota::with_period(KEY_LOOKUP).expect("it is not zero").allow_burst(KEY_LOOKUPS);
        let key_lookups = RateLimiter::direct(quota);
        Self(Arc::new(Asked { issuer, http, state: Mutex::default(), key_lookups }))
    }

    /// What is known, or is found out now.
    pub(super) async fn discovered(&self) -> Result<Discovered, ProviderError> {
        let asked = Arc::clone(&self.0);
        by_itself(async move { asked.discovered().await }).await
    }

    /// The same after a token has named a key that `known` does not have: a provider may have changed its keys since. None if it was asked
    /// too often for that.
    pub(super) async fn newer_than(&self, known: &Discovered) -> Result<Option<Discovered>, ProviderError> {
        let (asked, known) = (Arc::clone(&self.0), known.clone());
        by_itself(async move { asked.newer_than(&known).await }).await
    }
}

/// Goes on also when nobody waits for it any more.
async fn by_itself<T: Send + 'static>(
    asking: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
) -> Result<T, ProviderError> {
    let asking = tokio::spawn(asking.in_current_span());
    asking.await.unwrap_or_else(|error| Err(ProviderError::Unavailable(error.to_string())))
}

impl Asked {
    async fn discovered(&self) -> Result<Discovered, ProviderError> {
        let mut state = self.state.lock().await;
        match &state.found {
            Some(found) if found.asked_at.elapsed() < FRESH => return Ok(found.clone()),
            Some(_) | None => {}
        }
        let asked = self.ask(&mut state).await;
        match (&state.found, asked) {
            (_, Ok(found)) => Ok(found),
            (Some(found), Err(error)) if found.asked_at.elapsed() < USABLE => {
                tracing::warn!(issuer = %self.issuer.as_str(), %error, "what a provider says of itself is not new, and is used as it was");
                Ok(found.clone())
            }
            (Some(_) | None, Err(error)) => Err(error),
        }
    }

    async fn newer_than(&self, known: &Discovered) -> Result<Option<Discovered>, ProviderError> {
        let mut state = self.state.lock().await;
        match &state.found {
            // Somebody else was first.
            Some(found) if found.asked_at > known.asked_at => return Ok(Some(found.clone())),
            Some(_) | None => {}
        }
        if self.key_lookups.check().is_err() {
            return Ok(None);
        }
        self.ask(&mut state).await.map(Some)
    }

    async fn ask(&self, state: &mut State) -> Result<Discovered, ProviderError> {
        if let Some((at, error)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let asked_at = Instant::now();
        match self.fetch().await {
            Ok(metadata) => {
                let found = Discovered { metadata: Arc::new(metadata), asked_at };
                *state = State { found: Some(found.clone()), failed: None };
                Ok(found)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Metadata, ProviderError> {
        let asked = Metadata::discover_async(self.issuer.clone(), &self.http).await;
        let metadata = asked.map_err(|error| ProviderError::Unavailable(whole(&error)))?;
        // The URLs of a document are followed with secrets: none of them leads to where others could read them.
        let endpoints = [
            Some(metadata.authorization_endpoint().url()),
            metadata.token_endpoint().map(|url| url.url()),
            metadata.userinfo_endpoint().map(|url| url.url()),
            Some(metadata.jwks_uri().url()),
        ];
        let in_cleartext = is_cleartext(self.issuer.url());
        if let Some(url) = endpoints.into_iter().flatten().find(|url| !is_safe(url, in_cleartext)) {
            return Err(ProviderError::Unavailable(format!("it names {url}, where others could read what is sent")));
        }
        Ok(metadata)
    }
}

/// Whether an issuer is on this machine, without TLS.
pub(super) fn is_cleartext(issuer: &Url) -> bool {
    issuer.scheme() == "http"
}

fn is_safe(url: &Url, in_cleartext: bool) -> bool {
    if in_cleartext { url.scheme() == "http" && is_loopback(url) } else { url.scheme() == "https" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_by_tls_or_stay_on_this_machine() {
        let safe = |url: &str, in_cleartext| is_safe(&Url::parse(url).unwrap(), in_cleartext);
        assert!(safe("https://a.example/token", false) && safe("http://127.0.0.1:1/token", true));
        for (url, in_cleartext) in [
            ("http://a.example/token", false),
            ("http://127.0.0.1/token", false),
            ("http://a.example/token", true),
            ("http://169.254.169.254/", true),
            ("file:///etc/passwd", false),
        ] {
            assert!(!safe(url, in_cleartext), "{url}");
        }
    }
}
