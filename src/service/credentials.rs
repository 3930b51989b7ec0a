//! The verifier's view of the store.

use std::{sync::Arc, time::Duration};

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

/// What was last known of the signing keys elsewhere; an outage is remembered too, so that it costs one query as well.
type Known = (Instant, Result<Vec<Generation>, SourceUnavailable>);

/// Stored credentials, for the verifier.
#[derive(Debug)]
pub struct StoredCredentials {
    store: Store,
    generations: Arc<Mutex<Option<Known>>>,
}

impl StoredCredentials {
    /// On a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, generations: Arc::default() }
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
            CredentialKind::Session => self.store.sessions_find(&ids).await,
            // Nobody is let in by one: it opens a session, or is brought for a token.
            CredentialKind::SignInLink | CredentialKind::LoginCode => Ok(Vec::new()),
        };
        found.map_err(unavailable)
    }

    async fn knows(&self, generation: Generation) -> Result<bool, SourceUnavailable> {
        let (store, generations) = (self.store.clone(), Arc::clone(&self.generations));
        // A task of its own: whoever asks and goes away again must not break the query off, to have the next one begin anew.
        let asked = tokio::spawn(async move {
            let mut known = generations.lock().await;
            if known.as_ref().is_none_or(|(read_at, _)| read_at.elapsed() >= FRESH) {
                let generations = store.signing_key_list().await.map_err(unavailable).map(|keys| {
                    keys.into_iter().filter(|key| key.state != KeyState::Revoked).map(|key| key.generation).collect()
                });
                *known = Some((Instant::now(), generations));
            }
            match known.as_ref() {
                Some((_, Ok(generations))) => Ok(generations.contains(&generation)),
                Some((_, Err(SourceUnavailable))) | None => Err(SourceUnavailable),
            }
        });
        asked.await.unwrap_or(Err(SourceUnavailable))
    }
}

fn unavailable(error: crate::store::StoreError) -> SourceUnavailable {
    tracing::warn!(%error, "credentials cannot be looked up");
    SourceUnavailable
}
