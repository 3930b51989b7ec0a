//! The token: what it looks like, how it is made, how a presented one is checked, and what is kept of it.
//!
//! `gitpod_pat_` + base62(body) + base62(crc32), of fixed length, letters and digits only after the prefix. The body
//! has 49 bytes: generation of the signing key (1), token ID (16), secret (24), tag (8).

mod base62;
mod format;
mod record;
mod signing_keys;
mod user_code;

pub use format::{CredentialKind, Malformed, Presented, SECRET_LENGTH, TOKEN_BODY_LENGTH, redacted};
pub use record::{
    CreateToken, DEFAULT_VALID_FOR, DESCRIPTION_LIMIT, InvalidToken, LONGEST_VALID_FOR, LastUsed, SHORTEST_VALID_FOR,
    Token, TokenDescription, TokenState,
};
pub use signing_keys::{CheckValue, Digest, Generation, InvalidSigningKeys, Minted, SigningKey, SigningKeys, TagError};
pub use user_code::UserCode;
