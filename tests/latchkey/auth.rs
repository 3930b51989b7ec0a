//! Who is let in, who is not, and what they are told.

mod forwarded;
mod guessing;
mod holders;
mod identity;
mod late;
mod permissions;
mod public;
mod strangers;

use std::fs;

use latchkey::domain::token::{CredentialKind, Generation, SigningKeys};
use uuid::Uuid;

use crate::support::TestServer;

/// The signing keys of a server.
fn keys_of(server: &TestServer) -> SigningKeys {
    SigningKeys::parse(&fs::read_to_string(server.data_dir().join("signing-keys")).unwrap()).unwrap()
}

/// Makes a token with a key that may be the server's own, and says nothing of it to the database.
fn minted(keys: &SigningKeys, generation: Generation, id: Uuid) -> String {
    let minted = keys.mint(CredentialKind::PersonalAccessToken, generation, id).unwrap();
    minted.expect("the key is there").text.expose().to_owned()
}
