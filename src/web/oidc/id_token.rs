//! Whether an ID token proves who somebody is (OpenID Connect Core 1.0, section 3.1.3.7).

use std::time::{Duration, SystemTime};

use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IdTokenVerifier, Nonce,
    SignatureVerificationError,
    core::{CoreJsonWebKey, CoreJwsSigningAlgorithm},
};
use time::OffsetDateTime;

use super::{
    error::ProviderError,
    http_client::whole,
    wire::{Metadata, Token, TokenClaims},
};
use crate::domain::sign_in::ATTEMPT_LIFE;

/// Only what a provider alone can make: with a shared secret, or with none, others can.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// How far a provider's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(60);

/// Why a token proves nothing.
pub(super) enum Unproven {
    /// It names a key that the provider did not have when it was asked.
    UnknownKey,
    /// Anything else.
    For(ProviderError),
}

/// What a token has to be.
pub(super) struct Expected<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) client_id: &'a ClientId,
    /// What was sent with this attempt.
    pub(super) nonce: &'a Nonce,
    /// What came with it.
    pub(super) access_token: &'a AccessToken,
    pub(super) now: OffsetDateTime,
}

/// Holds a token against what it has to be: signature, issuer, audience, time and attempt.
pub(super) fn prove<'a>(token: &'a Token, expected: &Expected<'_>) -> Result<&'a TokenClaims, Unproven> {
    let unproven = |problem: String| Unproven::For(ProviderError::Proof(problem));
    let verifier = verifier(expected);
    const UNKNOWN_KEY: ClaimsVerificationError =
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey);
    let claims = token
        .claims(&verifier, expected.nonce)
        .map_err(|error| if error == UNKNOWN_KEY { Unproven::UnknownKey } else { unproven(whole(&error)) })?;
    // The crate leaves these to whoever uses it.
    if claims.authorized_party().is_some_and(|party| party != expected.client_id) {
        return Err(unproven("it was made for somebody else, by its azp".to_owned()));
    }
    if let Some(hash) = claims.access_token_hash() {
        let key = token.signing_key(&verifier).map_err(|error| unproven(whole(&error)))?;
        let algorithm = token.signing_alg().map_err(|error| unproven(whole(&error)))?;
        let made = AccessTokenHash::from_token(expected.access_token, algorithm, key);
        if made.map_err(|error| unproven(whole(&error)))? != *hash {
            return Err(unproven("it is of another access token, by its at_hash".to_owned()));
        }
    }
    Ok(claims)
}

fn verifier<'a>(expected: &Expected<'_>) -> IdTokenVerifier<'a, CoreJsonWebKey> {
    let now = expected.now;
    let keys = expected.metadata.jwks().clone();
    IdTokenVerifier::new_public_client(expected.client_id.clone(), expected.metadata.issuer().clone(), keys)
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || SystemTime::from(now - LEEWAY).into())
        .set_issue_time_verifier_fn(move |issued| {
            let age = now.unix_timestamp() - issued.timestamp();
            let is_recent = age <= seconds(ATTEMPT_LIFE + LEEWAY) && age >= -seconds(LEEWAY);
            if is_recent { Ok(()) } else { Err(format!("it was issued {age} seconds ago")) }
        })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
