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
        clock::boot_time,
        credential::{Ended, StoredCredential},
        principal::{Credential, Role},
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

/// What counts as late where nothing is remembered: a question takes its time.
const SHORTEST: Duration = Duration::from_secs(1);

/// What is stored of one kind.
struct OfKind<S>(CredentialKind, Arc<S>);

impl<S: CredentialSource> Source for OfKind<S> {
    const BATCH: usize = 500;
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
    /// No signing key made it, or nothing like it is stored though rows of its kind stay.
    Forged,
    /// A signing key made it, and nothing is stored of it any more: what has ended of most kinds is cleared away.
    Unknown,
    /// It is genuine, and good no more.
    Ended(Box<StoredCredential>, Ended),
    /// This server lacks its signing key, which another server has.
    KeyNotHere(Generation),
    /// It cannot be looked up now.
    Unavailable,
}

impl VerifyError {
    /// Whether it may have been guessed.
    #[must_use]
    pub const fn is_guess(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Forged)
    }

    /// What strangers' tries are counted under in the audit log: guesses of any kind as one.
    #[must_use]
    pub const fn tally(&self) -> &'static str {
        if self.is_guess() { "malformed or forged" } else { self.reason() }
    }

    /// A few words for logs, metrics and the audit log.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::Ended(_, ended) => ended.reason(),
            Self::KeyNotHere(_) => "signing key not here",
            Self::Unavailable => "database unavailable",
        }
    }
}

/// A credential that is good now, or why there is none.
type Verified = Result<StoredCredential, VerifyError>;

/// What somebody else has to be asked about a text.
enum Question<'a> {
    /// What is stored of it: its tag is genuine.
    Stored(Presented<'a>),
    /// Whether another server has its signing key.
    Key(Generation),
}

/// The one verifier, behind every door.
pub struct Verifier<S> {
    keys: Arc<SigningKeys>,
    source: Arc<S>,
    cache: Arc<Cache>,
    personal_access_tokens: Lookups<Uuid, StoredCredential>,
    environment_tokens: Lookups<Uuid, StoredCredential>,
    sessions: Lookups<Uuid, StoredCredential>,
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
            sessions: lookups(CredentialKind::Session),
            source,
            outcomes: Outcomes::new(),
        }
    }

    /// Verifies a text. In this order: its form; what is remembered of its ID, if that counts; else its tag (a forgery costs one HMAC
    /// and no query) and what is stored. The digest of either is compared in constant time. Last, whether the credential is good now.
    ///
    /// # Errors
    /// [`VerifyError`]
    pub async fn verify(&self, text: &str) -> Verified {
        let began = Instant::now();
        let (found, verified) = match self.know(text) {
            Ok(known) => known,
            Err(question) => self.ask(question).await,
        };
        self.outcomes.count(found, verified.as_ref().err(), began.elapsed());
        verified
    }

    /// The same, if it takes no question: most texts are decided on at once, for which nothing has to be put aside.
    pub(super) fn recall(&self, text: &str) -> Option<Verified> {
        let began = Instant::now();
        let (found, verified) = self.know(text).ok()?;
        self.outcomes.count(found, verified.as_ref().err(), began.elapsed());
        Some(verified)
    }

    /// What is known of a text, and where it was found; else what has to be asked.
    fn know<'a>(&self, text: &'a str) -> Result<(Found, Verified), Question<'a>> {
        let presented = match Presented::parse(text) {
            Ok(presented) => presented,
            Err(malformed) => return Ok((Found::Nowhere, Err(VerifyError::Malformed(malformed)))),
        };
        if let Some(stored) = self.cache.get(presented.kind(), presented.id()) {
            return Ok((Found::Cache, self.judge(&presented, stored)));
        }
        match self.keys.check_tag(&presented) {
            Ok(()) => Err(Question::Stored(presented)),
            Err(TagError::Forged) => Ok((Found::Nowhere, Err(VerifyError::Forged))),
            Err(TagError::UnknownGeneration) => Err(Question::Key(presented.generation())),
        }
    }

    async fn ask(&self, question: Question<'_>) -> (Found, Verified) {
        match question {
            Question::Stored(presented) => {
                let found = self.look_up(presented.kind(), presented.id()).await;
                let verified = found.map(|stored| self.judge(&presented, stored));
                (Found::Batch, verified.unwrap_or(Err(VerifyError::Unavailable)))
            }
            Question::Key(generation) => (Found::Nowhere, Err(self.why_unknown(generation).await)),
        }
    }

    /// Whether a text is the one that something is stored of, and that is good now.
    fn judge(&self, presented: &Presented<'_>, stored: Option<StoredCredential>) -> Verified {
        match stored {
            // That nothing is stored may be remembered of another text with its ID.
            None if presented.kind().is_cleared_away() && self.keys.check_tag(presented).is_ok() => {
                Err(VerifyError::Unknown)
            }
            Some(stored) if self.keys.matches(presented, &stored.digest) => match stored.judge(stored.read_at) {
                Ok(()) => Ok(stored),
                Err(ended) => Err(VerifyError::Ended(Box::new(stored), ended)),
            },
            // Another text has its ID: what is remembered stays.
            None | Some(_) => Err(VerifyError::Forged),
        }
    }

    /// The longest that a credential may be of use after it has ended.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.cache.bound()
    }

    /// Whether what was known at a time [since the machine was started](boot_time) is too old to let anybody in by it.
    #[must_use]
    pub fn is_late(&self, known_at: Duration) -> bool {
        boot_time().saturating_sub(known_at) >= self.bound().max(SHORTEST)
    }

    /// Whether a credential that was verified is good still, and its principal's role what it was: for whoever has waited since.
    ///
    /// # Errors
    /// [`VerifyError`]: never that it is malformed, nor of its key.
    pub async fn verify_again(&self, credential: Credential, role: Role) -> Result<(), VerifyError> {
        let (kind, id) = credential.key();
        let stored = match self.cache.get(kind, id) {
            Some(stored) => stored,
            None => self.look_up(kind, id).await.map_err(|SourceUnavailable| VerifyError::Unavailable)?,
        };
        match stored.map(|stored| (stored.judge(stored.read_at), stored)) {
            Some((Ok(()), stored)) if stored.role == role => Ok(()),
            Some((Err(ended), stored)) => Err(VerifyError::Ended(Box::new(stored), ended)),
            Some((Ok(()), _)) | None => Err(VerifyError::Unknown),
        }
    }

    /// What is to be said of a text whose signing key is not here.
    async fn why_unknown(&self, generation: Generation) -> VerifyError {
        match tokio::time::timeout(PATIENCE, self.source.knows(generation)).await {
            Ok(Ok(true)) => VerifyError::KeyNotHere(generation),
            Ok(Ok(false)) => VerifyError::Forged,
            Ok(Err(SourceUnavailable)) | Err(_) => VerifyError::Unavailable,
        }
    }

    /// What is stored of an ID. An answer that comes late is as good as none, and asked for once more: while this process stood still, or
    /// the PostgreSQL that it asked, another one may have been told what ended the credential.
    async fn look_up(&self, kind: CredentialKind, id: Uuid) -> Result<Option<StoredCredential>, SourceUnavailable> {
        let lookups = match kind {
            CredentialKind::PersonalAccessToken => &self.personal_access_tokens,
            CredentialKind::EnvironmentToken => &self.environment_tokens,
            CredentialKind::Session => &self.sessions,
            // Comes with no request: whoever opens a session with it, or gets a token for it, is asked there.
            CredentialKind::SignInLink | CredentialKind::LoginCode => return Ok(None),
        };
        for _ in 0..2 {
            let mark = self.cache.mark(kind, id);
            let found = lookups.find(id).await?;
            if !found.as_ref().is_some_and(|stored| self.is_late(stored.known_at)) {
                self.cache.put(kind, id, mark, found.clone());
                return Ok(found);
            }
        }
        Err(SourceUnavailable)
    }
}
