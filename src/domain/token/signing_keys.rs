//! Signing keys: with which tokens are made and checked.
//!
//! Each key has a number, its generation. From a key come, by HKDF-SHA256 ([RFC 5869]) with a label for each kind of
//! credential and use: a tag key, a digest key, and a check value that tells whether two servers hold the same key.
//!
//! [RFC 5869]: https://www.rfc-editor.org/rfc/rfc5869

use std::{collections::BTreeMap, fmt};

use ring::{
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::format::{self, CredentialKind, Presented, SECRET_LENGTH, TAG_LENGTH, TAGGED_LENGTH};
use crate::domain::secret::Secret;

const KEY_LENGTH: usize = 32;

/// The number of a signing key: 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u8);

impl Generation {
    /// The generation of the first key.
    pub const FIRST: Self = Self(1);

    /// As the token body holds it.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// As the token body holds it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// HMAC-SHA256 of a whole token: all that PostgreSQL holds of its secret. Compared by [`SigningKeys::matches`] alone.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Digest[redacted]")
    }
}

/// Tells whether two servers hold the same key, without telling the key: HMAC-SHA256 under a key derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckValue([u8; 32]);

impl CheckValue {
    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The material of one key.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; KEY_LENGTH]>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey[redacted]")
    }
}

/// Why a file of signing keys is not taken. Names lines, never what is on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningKeys {
    /// No key in it.
    #[error("there is no signing key in it")]
    Empty,
    /// A line that is not `GENERATION KEY`.
    #[error("line {0} is not a generation (1 to 255), a space and a key of 64 hexadecimal digits")]
    Line(usize),
    /// Two keys of one generation.
    #[error("line {line} repeats generation {generation}")]
    Repeated {
        /// The later of the two.
        line: usize,
        /// The generation both have.
        generation: Generation,
    },
}

/// Why a presented token cannot have been made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagError {
    /// Made with a key that this server does not have: perhaps genuine, and another server can tell.
    UnknownGeneration,
    /// The tag is not what the key makes of the rest: nobody with that key made this.
    Forged,
}

/// A credential just made: its text, shown once, and what is kept of it.
#[derive(Debug)]
pub struct Minted {
    /// The text, for its holder.
    pub text: Secret,
    /// The digest, for PostgreSQL.
    pub digest: Digest,
}

struct Derived {
    tag: hmac::Key,
    digest: hmac::Key,
}

struct Key {
    extracted: hkdf::Prk,
    personal_access_token: Derived,
    environment_token: Derived,
    session: Derived,
    sign_in_link: Derived,
    login_code: Derived,
    user_code: hmac::Key,
    check_value: CheckValue,
}

/// The signing keys that this server has, and the random source of secrets.
pub struct SigningKeys {
    keys: BTreeMap<Generation, Key>,
    random: SystemRandom,
}

impl SigningKeys {
    /// Reads the text of a file of signing keys: a line for each key, `GENERATION KEY`, the key in 64 hexadecimal
    /// digits; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is wrong.
    #[expect(clippy::disallowed_methods, reason = "owns the random source of secrets")]
    pub fn parse(text: &str) -> Result<Self, InvalidSigningKeys> {
        let mut keys = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (generation, key) = parse_line(line).ok_or(InvalidSigningKeys::Line(number))?;
            if keys.insert(generation, Key::derive(&key)).is_some() {
                return Err(InvalidSigningKeys::Repeated { line: number, generation });
            }
        }
        if keys.is_empty() { Err(InvalidSigningKeys::Empty) } else { Ok(Self { keys, random: SystemRandom::new() }) }
    }

    /// A line for a file of signing keys, with a new key.
    ///
    /// # Errors
    /// When the system's random source fails.
    #[expect(clippy::disallowed_methods, reason = "owns the random source of secrets")]
    pub fn generate_line(generation: Generation) -> Result<Secret, ring::error::Unspecified> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        SystemRandom::new().fill(key.as_mut())?;
        let mut line = format!("{generation} ");
        for byte in key.iter() {
            line.push_str(&format!("{byte:02x}"));
        }
        line.push('\n');
        Ok(Secret::new(line))
    }

    /// The generations that this server has, with their check values.
    pub fn check_values(&self) -> impl Iterator<Item = (Generation, CheckValue)> {
        self.keys.iter().map(|(generation, key)| (*generation, key.check_value))
    }

    /// Whether this server has the key of a generation.
    #[must_use]
    pub fn has(&self, generation: Generation) -> bool {
        self.keys.contains_key(&generation)
    }

    /// Makes a credential. None when this server has no key of that generation.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn mint(
        &self,
        kind: CredentialKind,
        generation: Generation,
        id: Uuid,
    ) -> Result<Option<Minted>, ring::error::Unspecified> {
        let Some(key) = self.keys.get(&generation) else { return Ok(None) };
        let mut secret = [0; SECRET_LENGTH];
        self.random.fill(&mut secret)?;
        let mut body = format::body(generation, id, secret);
        let derived = key.of(kind);
        let tag = hmac::sign(&derived.tag, &body[..TAGGED_LENGTH]);
        body[TAGGED_LENGTH..].copy_from_slice(&tag.as_ref()[..TAG_LENGTH]);
        let text = Presented::write(kind, &body);
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&derived.digest, text.expose().as_bytes()).as_ref());
        Ok(Some(Minted { text, digest: Digest(digest) }))
    }

    /// Fills with randomness from the system's source.
    pub(super) fn fill(&self, bytes: &mut [u8]) -> Result<(), ring::error::Unspecified> {
        self.random.fill(bytes)
    }

    /// The key that digests of user codes are made with.
    pub(super) fn user_code_key(&self, generation: Generation) -> Option<&hmac::Key> {
        self.keys.get(&generation).map(|key| &key.user_code)
    }

    /// Checks that the key of its generation made the tag: turns forgeries away for the price of one HMAC.
    ///
    /// # Errors
    /// [`TagError`]
    pub fn check_tag(&self, presented: &Presented<'_>) -> Result<(), TagError> {
        let key = self.keys.get(&presented.generation()).ok_or(TagError::UnknownGeneration)?;
        let expected = hmac::sign(&key.of(presented.kind()).tag, presented.tagged());
        if bool::from(expected.as_ref()[..TAG_LENGTH].ct_eq(presented.tag())) { Ok(()) } else { Err(TagError::Forged) }
    }

    /// What proves that one of our servers has written something: HMAC-SHA256 with a key for this purpose alone. None when this server
    /// has no key of that generation.
    #[must_use]
    pub fn authenticate(&self, generation: Generation, purpose: &'static str, text: &[u8]) -> Option<[u8; 32]> {
        let key = self.keys.get(&generation)?;
        let mut code = [0; 32];
        // No kind of credential is called that.
        let key = expand(&key.extracted, &["latchkey v1 purpose ", purpose]);
        code.copy_from_slice(hmac::sign(&key, text).as_ref());
        Some(code)
    }

    /// Bytes that nobody can guess.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N], ring::error::Unspecified> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether a presented token is the very one that a digest was made of, in constant time.
    #[must_use]
    pub fn matches(&self, presented: &Presented<'_>, digest: &Digest) -> bool {
        self.keys.get(&presented.generation()).is_some_and(|key| {
            hmac::verify(&key.of(presented.kind()).digest, presented.text().as_bytes(), &digest.0).is_ok()
        })
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.keys.keys()).finish()
    }
}

impl Key {
    fn derive(key: &SigningKey) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"latchkey signing key").extract(key.0.as_ref());
        let kind = |name: &str| Derived {
            tag: expand(&extracted, &["latchkey v1 ", name, " tag"]),
            digest: expand(&extracted, &["latchkey v1 ", name, " digest"]),
        };
        let check = hmac::sign(&expand(&extracted, &["latchkey v1 check value"]), b"latchkey");
        let mut check_value = [0; 32];
        check_value.copy_from_slice(check.as_ref());
        Self {
            personal_access_token: kind("personal access token"),
            environment_token: kind("environment token"),
            session: kind("session"),
            sign_in_link: kind("sign-in link"),
            login_code: kind("login code"),
            user_code: expand(&extracted, &["latchkey v1 user code digest"]),
            check_value: CheckValue(check_value),
            extracted,
        }
    }

    const fn of(&self, kind: CredentialKind) -> &Derived {
        match kind {
            CredentialKind::PersonalAccessToken => &self.personal_access_token,
            CredentialKind::EnvironmentToken => &self.environment_token,
            CredentialKind::Session => &self.session,
            CredentialKind::SignInLink => &self.sign_in_link,
            CredentialKind::LoginCode => &self.login_code,
        }
    }
}

fn expand(extracted: &hkdf::Prk, label: &[&str]) -> hmac::Key {
    let label: Vec<&[u8]> = label.iter().map(|part| part.as_bytes()).collect();
    extracted.expand(&label, hmac::HMAC_SHA256).expect("a key of 32 bytes is within what HKDF can expand to").into()
}

fn parse_line(line: &str) -> Option<(Generation, SigningKey)> {
    let (generation, digits) = line.split_once(' ')?;
    let generation = generation.parse().ok().filter(|number| *number > 0).map(Generation)?;
    let digits = digits.trim().as_bytes();
    if digits.len() != KEY_LENGTH * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((generation, SigningKey(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> SigningKeys {
        SigningKeys::parse(text).unwrap()
    }

    fn line(generation: u8, digit: &str) -> String {
        format!("{generation} {}\n", digit.repeat(64))
    }

    fn minted(keys: &SigningKeys, kind: CredentialKind, generation: u8) -> Minted {
        keys.mint(kind, Generation::new(generation), Uuid::from_u128(9)).unwrap().unwrap()
    }

    fn presented(minted: &Minted) -> Presented<'_> {
        Presented::parse(minted.text.expose()).unwrap()
    }

    #[test]
    fn a_minted_token_is_genuine_and_matches_its_digest_alone() {
        let keys = keys(&(line(1, "a") + &line(2, "b")));
        for kind in CredentialKind::ALL {
            let (one, two) = (minted(&keys, kind, 1), minted(&keys, kind, 2));
            assert_eq!(keys.check_tag(&presented(&one)), Ok(()));
            assert!(keys.matches(&presented(&one), &one.digest));
            assert!(!keys.matches(&presented(&one), &two.digest));
            assert!(!keys.matches(&presented(&two), &one.digest));
        }
    }

    #[test]
    fn another_key_of_the_same_generation_makes_forgeries() {
        let minted = minted(&keys(&line(1, "a")), CredentialKind::PersonalAccessToken, 1);
        assert_eq!(keys(&line(1, "b")).check_tag(&presented(&minted)), Err(TagError::Forged));
    }

    #[test]
    fn an_unknown_generation_is_not_called_forged() {
        let minted = minted(&keys(&line(2, "a")), CredentialKind::PersonalAccessToken, 2);
        assert_eq!(keys(&line(1, "a")).check_tag(&presented(&minted)), Err(TagError::UnknownGeneration));
    }

    #[test]
    fn kinds_do_not_share_keys() {
        let keys = keys(&line(1, "a"));
        let minted = minted(&keys, CredentialKind::PersonalAccessToken, 1);
        let token = presented(&minted);
        let body = Zeroizing::new({
            let mut body = [0; format::TOKEN_BODY_LENGTH];
            body[..TAGGED_LENGTH].copy_from_slice(token.tagged());
            body[TAGGED_LENGTH..].copy_from_slice(token.tag());
            body
        });
        let disguised = Presented::write(CredentialKind::EnvironmentToken, &body);
        let disguised = Presented::parse(disguised.expose()).unwrap();
        assert_eq!(keys.check_tag(&disguised), Err(TagError::Forged));
        assert!(!keys.matches(&disguised, &minted.digest));
    }

    #[test]
    fn check_values_tell_keys_apart() {
        let value = |text: &str| keys(text).check_values().next().unwrap().1;
        assert_eq!(value(&line(1, "a")), value(&line(1, "A")));
        assert_ne!(value(&line(1, "a")), value(&line(1, "b")));
    }

    #[test]
    fn files_with_mistakes_are_refused_by_line() {
        let error = |text: &str| SigningKeys::parse(text).err();
        assert_eq!(error("# none\n\n"), Some(InvalidSigningKeys::Empty));
        assert_eq!(error(&format!("# one\n{}", line(0, "a"))), Some(InvalidSigningKeys::Line(2)));
        assert_eq!(error("1 abc"), Some(InvalidSigningKeys::Line(1)));
        assert_eq!(error(&format!("256 {}", "a".repeat(64))), Some(InvalidSigningKeys::Line(1)));
        let repeated = Some(InvalidSigningKeys::Repeated { line: 2, generation: Generation::FIRST });
        assert_eq!(error(&(line(1, "a") + &line(1, "b"))), repeated);
        assert!(SigningKeys::parse(SigningKeys::generate_line(Generation::FIRST).unwrap().expose()).is_ok());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", keys(&line(1, "a"))), "{Generation(1)}");
    }
}
