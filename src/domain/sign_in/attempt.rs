//! One try to sign in: what binds the way to a provider and back to one browser.
//!
//! Nothing of it is kept on a server, where strangers could fill something up: the browser keeps it in a cookie, whose text one of our
//! servers has written, as its tag proves. What goes to the provider (`state`, `nonce`, and the verifier of PKCE) is not in it but made of
//! the whole text with a key of its own each: whoever reads one of them, in a log or a URL, knows none of the others, and whoever changes
//! the text changes all of them. That an attempt ends with the first answer to it is kept by PostgreSQL.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Landing, ProviderName};
use crate::domain::{
    ids::SignInAttemptId,
    secret::Secret,
    token::{Generation, SigningKeys},
};

/// How long somebody has to come back from a provider.
pub const ATTEMPT_LIFE: Duration = Duration::from_secs(10 * 60);
/// How far the clocks of two servers may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// Bytes that only the browser knows.
const SECRET_LENGTH: usize = 24;
const BODY_LENGTH: usize = 1 + 16 + SECRET_LENGTH;
/// The longest text: more is none of ours.
const LONGEST: usize = 1024;

const TAG: &str = "sign-in attempt tag";
const STATE: &str = "sign-in attempt state";
const NONCE: &str = "sign-in attempt nonce";
const VERIFIER: &str = "sign-in attempt verifier";

/// Why a text is no attempt that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// It is not written like one.
    #[error("it is no attempt to sign in")]
    Malformed,
    /// None of our servers has written it.
    #[error("it was not written here")]
    Forged,
    /// It was written with a key that this server does not have.
    #[error("it was written with the signing key {0}, which is not here")]
    KeyNotHere(Generation),
    /// It took too long.
    #[error("it is too old")]
    TooOld,
}

/// One try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Names it.
    pub id: SignInAttemptId,
    /// The signing key that it was written with.
    pub generation: Generation,
    /// By which provider.
    pub provider: ProviderName,
    /// Where to go afterwards.
    pub landing: Landing,
    /// By which an answer is known to be one to this try.
    pub state: Secret,
    /// By which a token is known to be made for this try.
    pub nonce: Secret,
    /// What proves to the provider that the code comes from who asked for it (RFC 7636).
    pub verifier: Secret,
}

impl Attempt {
    /// Begins one: the text for the browser, and the attempt. None when this server has no key of that generation.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn begin(
        keys: &SigningKeys,
        generation: Generation,
        provider: ProviderName,
        landing: Landing,
    ) -> Result<Option<(Secret, Self)>, ring::error::Unspecified> {
        let id = SignInAttemptId::generate();
        let secret: [u8; SECRET_LENGTH] = keys.draw()?;
        let mut body = Vec::with_capacity(BODY_LENGTH);
        body.push(generation.number());
        body.extend_from_slice(id.uuid().as_bytes());
        body.extend_from_slice(&secret);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut text = format!("{}.{provider}.{}", encode(&body), encode(landing.as_str().as_bytes()));
        let Some(tag) = keys.authenticate(generation, TAG, text.as_bytes()) else { return Ok(None) };
        text.push('.');
        text.push_str(&encode(&tag));
        Ok(Self::of(keys, generation, id, provider, landing, &text).map(|attempt| (Secret::new(text), attempt)))
    }

    /// Reads the text that a browser has brought back.
    ///
    /// # Errors
    /// [`AttemptError`]
    pub fn read(keys: &SigningKeys, text: &str, now: OffsetDateTime) -> Result<Self, AttemptError> {
        if text.len() > LONGEST {
            return Err(AttemptError::Malformed);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| AttemptError::Malformed);
        let (tagged, tag) = text.rsplit_once('.').ok_or(AttemptError::Malformed)?;
        let mut parts = tagged.split('.');
        let (Some(body), Some(provider), Some(landing), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AttemptError::Malformed);
        };
        let body: [u8; BODY_LENGTH] = decode(body)?.try_into().map_err(|_| AttemptError::Malformed)?;
        let generation = Generation::new(body[0]);
        let expected =
            keys.authenticate(generation, TAG, tagged.as_bytes()).ok_or(AttemptError::KeyNotHere(generation))?;
        if !bool::from(expected.ct_eq(decode(tag)?.as_slice())) {
            return Err(AttemptError::Forged);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&body[1..17]);
        let id = SignInAttemptId::from(Uuid::from_bytes(id));
        judge(id, now)?;
        let landing = String::from_utf8(decode(landing)?).map_err(|_| AttemptError::Malformed)?;
        let landing = Landing::parse(&landing).map_err(|_| AttemptError::Malformed)?;
        let provider = provider.parse().map_err(|_| AttemptError::Malformed)?;
        Self::of(keys, generation, id, provider, landing, text).ok_or(AttemptError::KeyNotHere(generation))
    }

    /// Whether an answer says that it is one to this try, in constant time.
    #[must_use]
    pub fn is_answered_by(&self, state: &str) -> bool {
        self.state.expose().as_bytes().ct_eq(state.as_bytes()).into()
    }

    fn of(
        keys: &SigningKeys,
        generation: Generation,
        id: SignInAttemptId,
        provider: ProviderName,
        landing: Landing,
        text: &str,
    ) -> Option<Self> {
        let derive = |purpose| {
            let code = keys.authenticate(generation, purpose, text.as_bytes())?;
            Some(Secret::new(URL_SAFE_NO_PAD.encode(code)))
        };
        Some(Self {
            id,
            generation,
            provider,
            landing,
            state: derive(STATE)?,
            nonce: derive(NONCE)?,
            verifier: derive(VERIFIER)?,
        })
    }
}

/// Attempts are judged by when their ID was made.
fn judge(id: SignInAttemptId, now: OffsetDateTime) -> Result<(), AttemptError> {
    let made_at = id.made_at().ok_or(AttemptError::Malformed)?;
    let now = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let is_new = made_at <= now.saturating_add(LEEWAY.as_secs());
    let is_young = now < made_at.saturating_add(ATTEMPT_LIFE.as_secs());
    if is_new && is_young { Ok(()) } else { Err(AttemptError::TooOld) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(digit: &str) -> SigningKeys {
        SigningKeys::parse(&format!("1 {}\n2 {}\n", digit.repeat(64), "f".repeat(64))).unwrap()
    }

    fn begun(keys: &SigningKeys, landing: &str) -> (String, Attempt) {
        let landing = Landing::parse(landing).unwrap();
        let (text, attempt) =
            Attempt::begin(keys, Generation::FIRST, "acme".parse().unwrap(), landing).unwrap().unwrap();
        (text.expose().to_owned(), attempt)
    }

    fn now(attempt: &Attempt) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(attempt.id.made_at().unwrap().cast_signed()).unwrap()
    }

    #[test]
    fn what_was_begun_is_read_as_it_was() {
        let keys = keys("a");
        let (text, begun) = begun(&keys, "/settings?x=y");
        let read = Attempt::read(&keys, &text, now(&begun)).unwrap();
        assert_eq!((read.id, &read.provider, &read.landing), (begun.id, &begun.provider, &begun.landing));
        for (one, other) in
            [(&read.state, &begun.state), (&read.nonce, &begun.nonce), (&read.verifier, &begun.verifier)]
        {
            assert_eq!(one.expose(), other.expose());
            // What PKCE and cookies allow.
            assert!(one.expose().len() == 43 && !text.contains(one.expose()));
        }
        assert!(read.is_answered_by(begun.state.expose()));
        assert!(!read.is_answered_by(begun.nonce.expose()) && !read.is_answered_by(""));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    }

    #[test]
    fn everything_sent_is_another_for_each_use_and_each_try() {
        let keys = keys("a");
        let mut sent = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let (_, attempt) = begun(&keys, "/");
            for text in [&attempt.state, &attempt.nonce, &attempt.verifier] {
                assert!(sent.insert(text.expose().to_owned()));
            }
        }
    }

    #[test]
    fn whatever_is_changed_is_found() {
        let keys = keys("a");
        let (text, attempt) = begun(&keys, "/settings");
        for index in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(Attempt::read(&keys, &other, now(&attempt)).is_err(), "{index}");
        }
        for other in
            ["", ".", "...", "a.b.c.d", &text[1..], &format!("{text}A"), &format!("{text}."), &"a".repeat(2000)]
        {
            assert!(Attempt::read(&keys, other, now(&attempt)).is_err(), "{other}");
        }
        assert_eq!(Attempt::read(&self::keys("b"), &text, now(&attempt)).err(), Some(AttemptError::Forged));
        let without = SigningKeys::parse(&format!("2 {}", "f".repeat(64))).unwrap();
        let missing = AttemptError::KeyNotHere(Generation::FIRST);
        assert_eq!(Attempt::read(&without, &text, now(&attempt)).err(), Some(missing));
    }

    #[test]
    fn an_attempt_has_ten_minutes() {
        let keys = keys("a");
        let (text, attempt) = begun(&keys, "/");
        let at = |seconds| Attempt::read(&keys, &text, now(&attempt) + time::Duration::seconds(seconds)).err();
        assert_eq!((at(0), at(599), at(-60)), (None, None, None));
        assert_eq!((at(600), at(-61)), (Some(AttemptError::TooOld), Some(AttemptError::TooOld)));
    }
}
