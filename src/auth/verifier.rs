//! Whether a presented token is good now, and whose it is.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    cache::Cache,
    outcomes::{Found, Outcomes},
};
use crate::{
    domain::{
        credential::{Ended, StoredCredential},
        token::{CredentialKind, Generation, Malformed, Presented, SigningKeys, TagError},
    },
    lookups::{Answers, Lookups, PATIENCE, Source, SourceUnavailable},
};

/// Where stored credentials are looked up.
pub trait CredentialSource: Send + Sync + 'static {
    /// Looks credentials of one kind up by ID, as of now. Unknown ones are missing in the answer.
    ///
    /// # Errors
    /// [`SourceUnavailable`]
    fn find(
        &self,
        kind: CredentialKind,
        ids: Vec<Uuid>,
    ) -> impl Future<Output = Result<Vec<(Uuid, StoredCredential)>, SourceUnavailable>> + Send;

    /// Whether tokens are made with a signing key of that generation somewhere, though not here.
    ///
    /// # Errors
    /// [`SourceUnavailable`]
    fn knows(&self, generation: Generation) -> impl Future<Output = Result<bool, SourceUnavailable>> + Send;
}

/// What is stored of one kind.
struct OfKind<S>(CredentialKind, Arc<S>);

impl<S: CredentialSource> Source for OfKind<S> {
    const BATCH: usize = 128;
    type Key = Uuid;
    type Found = StoredCredential;

    async fn find(&self, ids: Vec<Uuid>) -> Answers<Uuid, StoredCredential> {
        self.1.find(self.0, ids).await
    }
}

/// Why a presented text is not a credential that is good now. For logs, metrics and the audit log: a stranger is told
/// nothing of it.
#[derive(Debug, Clone)]
pub enum VerifyError {
    /// It is not written as a token is.
    Malformed(Malformed),
    /// No signing key made it, or nothing like it is stored.
    Forged,
    /// It is genuine, and good no more.
    Ended(Box<StoredCredential>, Ended),
    /// This server lacks its signing key, which another server has.
    KeyNotHere(Generation),
    /// It cannot be looked up now.
    Unavailable,
}

impl VerifyError {
    /// A few words for logs, metrics and the audit log.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Forged => "forged",
            Self::Ended(_, ended) => ended.reason(),
            Self::KeyNotHere(_) => "signing key not here",
            Self::Unavailable => "database unavailable",
        }
    }
}

/// The one verifier, behind every door.
pub struct Verifier<S> {
    keys: Arc<SigningKeys>,
    source: Arc<S>,
    cache: Arc<Cache>,
    personal_access_tokens: Lookups<Uuid, StoredCredential>,
    environment_tokens: Lookups<Uuid, StoredCredential>,
    outcomes: Outcomes,
}

impl<S: CredentialSource> Verifier<S> {
    /// Starts the tasks that look credentials up; they end with the verifier.
    pub fn start(keys: Arc<SigningKeys>, source: Arc<S>, cache: Arc<Cache>) -> Self {
        let lookups = |kind| Lookups::start(OfKind(kind, Arc::clone(&source)));
        Self {
            keys,
            cache,
            personal_access_tokens: lookups(CredentialKind::PersonalAccessToken),
            environment_tokens: lookups(CredentialKind::EnvironmentToken),
            source,
            outcomes: Outcomes::new(),
        }
    }

    /// Verifies a text. In this order: its form; what is remembered of its ID, if that counts; else its tag (a forgery costs one HMAC
    /// and no query) and what is stored. The digest of either is compared in constant time. Last, whether the credential is good now.
    ///
    /// # Errors
    /// [`VerifyError`]
    pub async fn verify(&self, text: &str) -> Result<StoredCredential, VerifyError> {
        let began = Instant::now();
        let (found, verified) = self.find_out(text).await;
        self.outcomes.count(found, verified.as_ref().err(), began.elapsed());
        verified
    }

    /// The same, and where it was found.
    async fn find_out(&self, text: &str) -> (Found, Result<StoredCredential, VerifyError>) {
        let presented = match Presented::parse(text) {
            Ok(presented) => presented,
            Err(malformed) => return (Found::Nowhere, Err(VerifyError::Malformed(malformed))),
        };
        let (stored, found) = match self.cache.get(presented.kind(), presented.id()) {
            Some(stored) => (stored, Found::Cache),
            None => match self.keys.check_tag(&presented) {
                Ok(()) => match self.look_up(&presented).await {
                    Ok(stored) => (stored, Found::Batch),
                    Err(SourceUnavailable) => return (Found::Batch, Err(VerifyError::Unavailable)),
                },
                Err(TagError::Forged) => return (Found::Nowhere, Err(VerifyError::Forged)),
                Err(TagError::UnknownGeneration) => {
                    return (Found::Nowhere, Err(self.why_unknown(presented.generation()).await));
                }
            },
        };
        // Nothing like it is stored, or another text has its ID: then what is remembered stays.
        let verified = match stored.filter(|stored| self.keys.matches(&presented, &stored.digest)) {
            None => Err(VerifyError::Forged),
            Some(stored) => match stored.judge(stored.read_at) {
                Ok(()) => Ok(stored),
                Err(ended) => Err(VerifyError::Ended(Box::new(stored), ended)),
            },
        };
        (found, verified)
    }

    /// The longest that a credential may be of use after it has ended.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.cache.bound()
    }

    /// What is to be said of a text whose signing key is not here.
    async fn why_unknown(&self, generation: Generation) -> VerifyError {
        match tokio::time::timeout(PATIENCE, self.source.knows(generation)).await {
            Ok(Ok(true)) => VerifyError::KeyNotHere(generation),
            Ok(Ok(false)) => VerifyError::Forged,
            Ok(Err(SourceUnavailable)) | Err(_) => VerifyError::Unavailable,
        }
    }

    /// What is stored of the ID of a text that was made here.
    async fn look_up(&self, presented: &Presented<'_>) -> Result<Option<StoredCredential>, SourceUnavailable> {
        let (kind, id) = (presented.kind(), presented.id());
        let lookups = match kind {
            CredentialKind::PersonalAccessToken => &self.personal_access_tokens,
            CredentialKind::EnvironmentToken => &self.environment_tokens,
        };
        let mark = self.cache.mark(kind, id);
        let found = lookups.find(id).await?;
        self.cache.put(kind, id, mark, found.clone());
        Ok(found)
    }
}
