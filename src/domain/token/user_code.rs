//! Codes that a person types from one screen into another (RFC 8628, section 6.1).

use std::fmt;

use ring::{error::Unspecified, hmac};

use super::signing_keys::{Digest, Generation, SigningKeys};

/// Letters of the alphabet: consonants, so that no word comes about, in one case, none of them like a digit (RFC 8628, section 6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a code: 34.5 bits, which is enough for what is good for five minutes and may be tried five times.
const LENGTH: usize = 8;
/// Bytes below this are as many of each letter; the others are thrown away.
const EVEN: u8 = 240;

/// A code of 8 letters. Whoever types it says that they see the screen that shows it: a secret for as long as it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode([u8; LENGTH]);

impl UserCode {
    /// Reads what somebody typed, in any case and with hyphens or spaces anywhere. None if it is no such code.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let mut letters = typed.chars().filter(|character| !matches!(character, '-' | ' '));
        let mut code = [0; LENGTH];
        for place in &mut code {
            let letter = letters.next().and_then(|letter| u8::try_from(letter.to_ascii_uppercase()).ok())?;
            *place = ALPHABET.iter().find(|known| **known == letter).copied()?;
        }
        letters.next().is_none().then_some(Self(code))
    }

    /// As it is shown: `XXXX-XXXX`.
    #[must_use]
    pub fn expose(&self) -> String {
        let letters: String = self.0.iter().map(|letter| char::from(*letter)).collect();
        let (first, last) = letters.split_at(LENGTH / 2);
        format!("{first}-{last}")
    }

    fn draw(keys: &SigningKeys) -> Result<Self, Unspecified> {
        let mut code = [0; LENGTH];
        let mut drawn = 0;
        while drawn < LENGTH {
            let mut bytes = [0; LENGTH];
            keys.fill(&mut bytes)?;
            for byte in bytes.into_iter().filter(|byte| *byte < EVEN).take(LENGTH - drawn) {
                code[drawn] = ALPHABET[usize::from(byte) % ALPHABET.len()];
                drawn += 1;
            }
        }
        Ok(Self(code))
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserCode[redacted]")
    }
}

impl SigningKeys {
    /// Makes a code, and what is kept of it: so few letters would be found by trying if the key were not needed for that. None when
    /// this server has no key of that generation.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn user_code(&self, generation: Generation) -> Result<Option<(UserCode, Digest)>, Unspecified> {
        let code = UserCode::draw(self)?;
        Ok(self.user_code_key(generation).map(|key| {
            let digest = digest(key, &code);
            (code, digest)
        }))
    }

    /// What is kept of a code, by each key that this server has: a code does not say by which it was made.
    #[must_use]
    pub fn user_code_digests(&self, code: &UserCode) -> Vec<Digest> {
        self.check_values()
            .filter_map(|(generation, _)| self.user_code_key(generation))
            .map(|key| digest(key, code))
            .collect()
    }
}

fn digest(key: &hmac::Key, code: &UserCode) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(hmac::sign(key, &code.0).as_ref());
    Digest::from_bytes(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(letters: &str) -> SigningKeys {
        let lines: String =
            (1..).zip(letters.chars()).map(|(n, letter)| format!("{n} {}\n", letter.to_string().repeat(64))).collect();
        SigningKeys::parse(&lines).unwrap()
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        for typed in ["bcdfghjk", "BCDFGHJK", " bcdf ghjk ", "b-c-d-f-g-h-j-k", "Bcdf--Ghjk"] {
            assert_eq!(UserCode::parse(typed).as_ref(), Some(&code), "{typed}");
        }
        assert_eq!(code.expose(), "BCDF-GHJK");
        for typed in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ0", "BCDF_GHJK", "ＢCDF-GHJK", "BCDF\tGHJK"]
        {
            assert_eq!(UserCode::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn codes_are_drawn_from_all_letters_evenly() {
        let keys = keys("a");
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..5_000 {
            let (code, _) = keys.user_code(Generation::FIRST).unwrap().unwrap();
            assert_eq!(UserCode::parse(&code.expose()), Some(code.clone()));
            for letter in code.0 {
                *seen.entry(letter).or_insert(0) += 1;
            }
        }
        assert_eq!(seen.len(), 20);
        // 2,000 of each; ten standard deviations to either side.
        assert!(seen.values().all(|count| (1560..2440).contains(count)), "{seen:?}");
        assert!(keys.user_code(Generation::new(2)).unwrap().is_none());
    }

    #[test]
    fn what_is_kept_needs_the_key_and_is_found_by_whoever_has_it() {
        let both = keys("ab");
        let (code, kept) = both.user_code(Generation::new(2)).unwrap().unwrap();
        let is_among = |keys: &SigningKeys, code| {
            keys.user_code_digests(code).iter().any(|digest| digest.as_bytes() == kept.as_bytes())
        };
        assert!(is_among(&both, &code));
        assert!(!is_among(&keys("ac"), &code));
        let other = UserCode::parse(if code.expose() == "BCDF-GHJK" { "LMNP-QRST" } else { "BCDF-GHJK" }).unwrap();
        assert!(!is_among(&both, &other));
        assert_eq!(format!("{code:?}"), "UserCode[redacted]");
    }
}
