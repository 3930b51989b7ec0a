//! Tokens that no RPC makes: with a server's own key, or with a stranger's.

use latchkey::domain::token::{CredentialKind, Generation, Minted, SigningKeys};

use super::{ServerOptions, TestDatabase, TestServer};

/// The line of a new key for a file of signing keys.
pub fn key_line(generation: u8) -> String {
    SigningKeys::generate_line(Generation::new(generation)).unwrap().expose().to_owned()
}

/// A token made with a key of the text of a file of signing keys.
pub fn mint(keys: &str, generation: u8) -> (uuid::Uuid, Minted) {
    mint_with_id(keys, generation, latchkey::domain::ids::TokenId::generate().uuid())
}

/// The same, with a token ID.
pub fn mint_with_id(keys: &str, generation: u8, id: uuid::Uuid) -> (uuid::Uuid, Minted) {
    let keys = SigningKeys::parse(keys).unwrap();
    let minted = keys.mint(CredentialKind::PersonalAccessToken, Generation::new(generation), id).unwrap().unwrap();
    (id, minted)
}

/// A token that looks like one of ours in every respect but the key it was made with.
pub fn forged() -> String {
    mint(&key_line(1), 1).1.text.expose().to_owned()
}

/// The token ID that a token's text names.
pub fn token_id(text: &str) -> String {
    latchkey::domain::token::Presented::parse(text).unwrap().id().to_string()
}

impl TestServer {
    /// Another server on the same database, with the same keys.
    pub async fn start_beside(other: &Self, database: &TestDatabase) -> Self {
        let options = ServerOptions { signing_keys: Some(other.keys()), ..ServerOptions::default() };
        Self::start_with(database, options).await
    }

    /// The text of its file of signing keys.
    pub fn keys(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("signing-keys")).unwrap()
    }

    /// An organization of its own with one user, an admin if asked for, and a token of theirs. Returns the
    /// organization's ID, the user's, and the token.
    pub async fn stranger(&self, database: &TestDatabase, role: &str) -> (String, String, String) {
        let (id, minted) = mint(&self.keys(), 1);
        let owner = database.owner().await;
        let made = owner
            .query_one(
                "WITH o AS (INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'Theirs') RETURNING id),
                 p AS (INSERT INTO principals (id, organization_id, kind, role, name, email)
                     SELECT gen_random_uuid(), id, 'user', $1, 'Stranger', 'stranger@example.com' FROM o
                     RETURNING id, organization_id),
                 t AS (INSERT INTO personal_access_tokens
                     (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, expires_at)
                     SELECT $2::text::uuid, organization_id, id, id, 1, $3, 'theirs', false, now() + interval '1 day' FROM p)
                 SELECT organization_id::text, id::text FROM p",
                &[&role, &id.to_string(), &minted.digest.as_bytes().as_slice()],
            )
            .await
            .unwrap();
        (made.get(0), made.get(1), minted.text.expose().to_owned())
    }
}
