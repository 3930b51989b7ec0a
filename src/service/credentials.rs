//! The verifier's view of the store.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::auth::{CredentialSource, SourceUnavailable};
use crate::domain::{
    credential::StoredCredential,
    token::{CredentialKind, Generation},
};
use crate::store::{KeyState, Store};

/// How long what is known of the signing keys elsewhere is good for: an attacker who makes generations up costs one query
/// in that time.
const FRESH: Duration = Duration::from_secs(1);

/// Stored credentials, for the verifier.
#[derive(Debug)]
pub struct StoredCredentials {
    store: Store,
    generations: Mutex<Option<(Instant, Vec<Generation>)>>,
}

impl StoredCredentials {
    /// On a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, generations: Mutex::new(None) }
    }
}

impl CredentialSource for StoredCredentials {
    async fn find(
        &self,
        kind: CredentialKind,
        ids: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, StoredCredential)>, SourceUnavailable> {
        let found = match kind {
            CredentialKind::PersonalAccessToken => self.store.personal_access_tokens_find(&ids).await,
            CredentialKind::EnvironmentToken => self.store.environment_tokens_find(&ids).await,
        };
        found.map_err(unavailable)
    }

    async fn knows(&self, generation: Generation) -> Result<bool, SourceUnavailable> {
        let mut known = self.generations.lock().await;
        if let Some((read_at, generations)) = known.as_ref()
            && read_at.elapsed() < FRESH
        {
            return Ok(generations.contains(&generation));
        }
        let keys = self.store.signing_key_list().await.map_err(unavailable)?;
        let generations: Vec<Generation> =
            keys.into_iter().filter(|key| key.state != KeyState::Revoked).map(|key| key.generation).collect();
        let knows = generations.contains(&generation);
        *known = Some((Instant::now(), generations));
        Ok(knows)
    }
}

fn unavailable(error: crate::store::StoreError) -> SourceUnavailable {
    tracing::warn!(%error, "credentials cannot be looked up");
    SourceUnavailable
}
