//! Proof that whoever brings an authorization code is who asked for it (RFC 7636).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use subtle::ConstantTimeEq;

use crate::domain::secret::Secret;

const LENGTH: usize = 32;

/// SHA-256 of a verifier: the method `S256`, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeChallenge([u8; LENGTH]);

impl CodeChallenge {
    /// Reads one, as it stands in a URL. None if it is no SHA-256 in base64url, or another spelling of it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// As it stands in a URL.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether it was made of this verifier.
    #[must_use]
    pub fn is_of(&self, verifier: &CodeVerifier) -> bool {
        verifier.challenge().0.ct_eq(&self.0).into()
    }
}

/// What whoever asks keeps until the code has come. Also good for a `state`: a text that nobody guesses.
#[derive(Debug, Clone)]
pub struct CodeVerifier(Secret);

impl CodeVerifier {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// When the system's random source fails.
    #[expect(clippy::disallowed_methods, reason = "for clients, which have no signing keys")]
    pub fn generate() -> Result<Self, Unspecified> {
        let mut bytes = zeroize::Zeroizing::new([0; LENGTH]);
        SystemRandom::new().fill(bytes.as_mut())?;
        Ok(Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
    }

    /// Takes what was presented, if it has the form that one has to have: 43 to 128 characters that URLs have unescaped (RFC 7636,
    /// section 4.1).
    #[must_use]
    pub fn parse(text: Secret) -> Option<Self> {
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_whole = (43..=128).contains(&text.expose().len()) && text.expose().bytes().all(is_one);
        is_whole.then_some(Self(text))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is sent in its place.
    #[must_use]
    pub fn challenge(&self) -> CodeChallenge {
        let mut challenge = [0; LENGTH];
        challenge.copy_from_slice(digest(&SHA256, self.0.expose().as_bytes()).as_ref());
        CodeChallenge(challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(text: &str) -> Option<CodeVerifier> {
        CodeVerifier::parse(Secret::new(text.to_owned()))
    }

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_challenge_is_of_one_verifier() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(challenge.is_of(&verifier(VERIFIER).unwrap()));
        assert!(!challenge.is_of(&verifier(CHALLENGE).unwrap()), "plain is no method here");
        assert_eq!(challenge.text(), CHALLENGE);
        let own = CodeVerifier::generate().unwrap();
        assert!(own.challenge().is_of(&verifier(own.expose()).unwrap()));
        assert_ne!(own.expose(), CodeVerifier::generate().unwrap().expose());
        assert!(!format!("{own:?}").contains(own.expose()));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            &CHALLENGE[1..],
            &format!("{CHALLENGE}="),
            &CHALLENGE.replace('-', "+"),
            &CHALLENGE.replace("cM", "cN"),
            VERIFIER,
        ] {
            assert!(CodeChallenge::parse(text).is_none() || text == VERIFIER, "{text}");
        }
        for text in ["", &VERIFIER[1..], &"a".repeat(129), &"a b".repeat(20), &"\u{e9}".repeat(30), &"+".repeat(43)] {
            assert!(verifier(text).is_none(), "{text}");
        }
        assert!(verifier(&"a".repeat(128)).is_some());
    }
}
