//! The text of a token, read before anything else is known of it.

use std::fmt;

use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::base62::{self, DecodeError};
use super::signing_keys::Generation;
use crate::domain::secret::Secret;

/// Bytes that only the holder knows.
pub const SECRET_LENGTH: usize = 24;
/// Bytes of a token's body: generation (1), ID (16), secret, tag (8).
pub const TOKEN_BODY_LENGTH: usize = TAGGED_LENGTH + TAG_LENGTH;

/// Bytes of the body that the tag is computed over: all before it.
pub(super) const TAGGED_LENGTH: usize = 1 + 16 + SECRET_LENGTH;
pub(super) const TAG_LENGTH: usize = 8;
/// Digits of the body: the least number of digits that holds every number of 49 bytes.
const BODY_DIGITS: usize = 66;
/// Digits of the CRC: the least number of digits that holds every number of 4 bytes.
const CRC_DIGITS: usize = 6;

/// The kinds of credential that are written in this format. Each has a prefix and key labels of its own, so that one
/// is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A personal access token.
    PersonalAccessToken,
    /// A token for the operations of one environment.
    EnvironmentToken,
    /// A session of somebody in a browser, as its cookie holds it.
    Session,
    /// What a link holds that opens a session, once. It goes with no request but that one.
    SignInLink,
    /// What a program brings to get the token that somebody has said yes to, once. It goes with no request but that one.
    LoginCode,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::PersonalAccessToken, Self::EnvironmentToken, Self::Session, Self::SignInLink, Self::LoginCode];

    /// What the text begins with; known to secret scanners.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::PersonalAccessToken => "gitpod_pat_",
            Self::EnvironmentToken => "gitpod_env_",
            Self::Session => "gitpod_ses_",
            Self::SignInLink => "gitpod_lnk_",
            Self::LoginCode => "gitpod_cod_",
        }
    }

    /// Whether rows are removed once they have ended: then there is nothing of what was genuine.
    #[must_use]
    pub const fn is_cleared_away(self) -> bool {
        match self {
            Self::PersonalAccessToken => false,
            Self::EnvironmentToken | Self::Session | Self::SignInLink | Self::LoginCode => true,
        }
    }

    /// Characters of the whole text.
    #[must_use]
    pub const fn length(self) -> usize {
        self.prefix().len() + BODY_DIGITS + CRC_DIGITS
    }
}

/// Why a text is not a token, without any key: what a client can tell by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins like no kind of token.
    #[error("it does not begin with gitpod_pat_")]
    Prefix,
    /// It is too short or too long.
    #[error("it has {found} characters instead of {expected}")]
    Length {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A character after the prefix is neither a letter nor a digit.
    #[error("a character in it is neither a letter nor a digit")]
    Alphabet,
    /// The check digits do not match: a character is wrong or missing.
    #[error("its check digits do not match the rest")]
    Checksum,
    /// Its digits stand for no body.
    #[error("its digits stand for no token")]
    Spelling,
}

/// A text in the format of a token: whole and well spelled, not yet known to be genuine.
#[derive(Clone)]
pub struct Presented<'a> {
    kind: CredentialKind,
    text: &'a str,
    body: Zeroizing<[u8; TOKEN_BODY_LENGTH]>,
}

impl<'a> Presented<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it; see [`Malformed`].
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let kind =
            CredentialKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix())).ok_or(Malformed::Prefix)?;
        if text.len() != kind.length() {
            return Err(Malformed::Length { found: text.chars().count(), expected: kind.length() });
        }
        let (checked, crc_digits) = text.as_bytes().split_at(kind.length() - CRC_DIGITS);
        let crc: Result<[u8; 4], DecodeError> = base62::decode(crc_digits);
        if !crc.is_ok_and(|crc| u32::from_be_bytes(crc) == crc32fast::hash(checked)) {
            // What is most likely wrong comes first.
            let has_others = !text[kind.prefix().len()..].bytes().all(|byte| byte.is_ascii_alphanumeric());
            return Err(match crc {
                _ if has_others => Malformed::Alphabet,
                Ok(_) => Malformed::Checksum,
                Err(error) => Self::undecodable(error),
            });
        }
        let body = base62::decode(&checked[kind.prefix().len()..]).map_err(Self::undecodable)?;
        Ok(Self { kind, text, body: Zeroizing::new(body) })
    }

    const fn undecodable(error: DecodeError) -> Malformed {
        match error {
            DecodeError::Alphabet => Malformed::Alphabet,
            DecodeError::Overflow => Malformed::Spelling,
        }
    }

    /// Writes a body in the format of its kind.
    pub(super) fn write(kind: CredentialKind, body: &[u8; TOKEN_BODY_LENGTH]) -> Secret {
        let mut text = String::with_capacity(kind.length());
        text.push_str(kind.prefix());
        base62::encode(body, BODY_DIGITS, &mut text);
        let crc = crc32fast::hash(text.as_bytes());
        base62::encode(&crc.to_be_bytes(), CRC_DIGITS, &mut text);
        Secret::new(text)
    }

    /// What kind of credential it says it is.
    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// The signing key it says it was made with.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation::new(self.body[0])
    }

    /// The ID it says it has.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let mut id = [0; 16];
        id.copy_from_slice(&self.body[1..17]);
        Uuid::from_bytes(id)
    }

    /// The whole text: what the digest is computed over.
    pub(super) const fn text(&self) -> &str {
        self.text
    }

    pub(super) fn tagged(&self) -> &[u8] {
        &self.body[..TAGGED_LENGTH]
    }

    pub(super) fn tag(&self) -> &[u8] {
        &self.body[TAGGED_LENGTH..]
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Presented").field("kind", &self.kind).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// A text for people, without the tokens in it, wherever they came from: an argument in the wrong place, or a server's words.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut text = text.to_owned();
    for prefix in CredentialKind::ALL.map(CredentialKind::prefix) {
        let mut parts = text.split(prefix);
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            shown.push_str(prefix);
            shown.push_str(if rest.len() < part.len() { "[redacted]" } else { "" });
            shown.push_str(rest);
        }
        text = shown;
    }
    text
}

/// Puts a body together; the tag is written by the caller.
pub(super) fn body(
    generation: Generation,
    id: Uuid,
    mut secret: [u8; SECRET_LENGTH],
) -> Zeroizing<[u8; TOKEN_BODY_LENGTH]> {
    let mut body = Zeroizing::new([0; TOKEN_BODY_LENGTH]);
    body[0] = generation.number();
    body[1..17].copy_from_slice(id.as_bytes());
    body[17..TAGGED_LENGTH].copy_from_slice(&secret);
    secret.zeroize();
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: CredentialKind) -> String {
        let body = body(Generation::new(3), Uuid::from_u128(0x0190_0000), [0xAB; SECRET_LENGTH]);
        Presented::write(kind, &body).expose().to_owned()
    }

    #[test]
    fn what_is_written_is_read() {
        for kind in CredentialKind::ALL {
            let text = written(kind);
            assert_eq!(text.len(), 83);
            let presented = Presented::parse(&text).unwrap();
            assert_eq!(presented.kind(), kind);
            assert_eq!(presented.generation(), Generation::new(3));
            assert_eq!(presented.id(), Uuid::from_u128(0x0190_0000));
        }
    }

    #[test]
    fn one_changed_character_anywhere_is_noticed() {
        let text = written(CredentialKind::PersonalAccessToken);
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'x' { b'y' } else { b'x' };
            assert!(Presented::parse(std::str::from_utf8(&changed).unwrap()).is_err(), "position {position}");
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        let text = written(CredentialKind::PersonalAccessToken);
        let error = |text: &str| Presented::parse(text).err();
        assert_eq!(error(""), Some(Malformed::Prefix));
        assert_eq!(error(&text.to_uppercase()), Some(Malformed::Prefix));
        assert_eq!(error(&text[..82]), Some(Malformed::Length { found: 82, expected: 83 }));
        assert_eq!(error(&format!("{text} ")), Some(Malformed::Length { found: 84, expected: 83 }));
        assert_eq!(error(&text.replacen("_0", "_-", 1)), Some(Malformed::Alphabet));
        let swapped: String = text
            .char_indices()
            .map(|(index, c)| if index < 11 || c.is_ascii_digit() { c } else { (c as u8 ^ 0x20) as char })
            .collect();
        assert_eq!(error(&swapped), Some(Malformed::Checksum));
    }

    #[test]
    fn a_second_spelling_is_refused() {
        let body = "z".repeat(BODY_DIGITS);
        let mut text = format!("gitpod_pat_{body}");
        let crc = crc32fast::hash(text.as_bytes());
        base62::encode(&crc.to_be_bytes(), CRC_DIGITS, &mut text);
        assert_eq!(Presented::parse(&text).err(), Some(Malformed::Spelling));
    }

    #[test]
    fn a_redacted_text_shows_no_token() {
        assert_eq!(
            redacted("a 'gitpod_pat_0Az' b gitpod_env_1,"),
            "a 'gitpod_pat_[redacted]' b gitpod_env_[redacted],"
        );
        assert_eq!(redacted("it does not begin with gitpod_pat_"), "it does not begin with gitpod_pat_");
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = written(CredentialKind::PersonalAccessToken);
        let shown = format!("{:?}", Presented::parse(&text).unwrap());
        assert!(!shown.contains(&text[11..40]), "{shown}");
    }
}
