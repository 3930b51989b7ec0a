//! Providers, as their client: where a browser is sent, and who somebody is that comes back with a code (OpenID Connect Core 1.0, the
//! authorization code flow, with PKCE).
//!
//! Nothing is asked of a provider before somebody wants to sign in by it, so that one that is down keeps neither the server from starting nor
//! others from working. What a provider answers is hostile input: bounded, never followed elsewhere, and believed only as far as its
//! signature reaches.

mod claims;
mod client;
mod discovery;
mod error;
mod http_client;
mod id_token;
mod places;
mod wire;

use std::{collections::BTreeMap, sync::Arc};

use crate::domain::{
    clock::Clock,
    secret::Secret,
    sign_in::{Provider, ProviderName},
};

pub use client::{ProviderClient, Ready};
pub use error::ProviderError;

/// Every provider that there is, in the order in which the operator names them.
#[derive(Debug, Clone, Default)]
pub struct Providers(Vec<Arc<ProviderClient>>);

impl Providers {
    /// Of providers, with the secrets that we have there, for clients that know the server by this URL.
    ///
    /// # Errors
    /// [`ProviderError::Configuration`]
    pub fn new(
        providers: Vec<Provider>,
        secrets: &BTreeMap<ProviderName, Secret>,
        public_url: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ProviderError> {
        let client = |provider: Provider| {
            let secret = secrets.get(&provider.name).cloned();
            Ok(Arc::new(ProviderClient::new(provider, secret, public_url, Arc::clone(clock))?))
        };
        Ok(Self(providers.into_iter().map(client).collect::<Result<_, ProviderError>>()?))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter().map(|client| client.provider())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one of a name.
    #[must_use]
    pub fn get(&self, name: &ProviderName) -> Option<&Arc<ProviderClient>> {
        self.0.iter().find(|client| client.provider().name == *name)
    }
}
