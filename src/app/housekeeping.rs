//! What must be done now and then, whoever asks for what.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

const EVERY: Duration = Duration::from_secs(10 * 60);

/// Makes the audit log's partitions of the months to come, and clears ended environment tokens, sessions, links, attempts to sign in and login requests away.
/// Begins at once.
pub(super) async fn run(store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = store.audit_prepare_partitions().await {
            tracing::warn!(%error, "the audit log's next partitions cannot be made right now");
        }
        if let Err(error) = store.sessions_clear().await {
            tracing::warn!(%error, "ended sessions cannot be cleared away right now");
        }
        clear("environment tokens", &stop, || store.environment_tokens_clear()).await;
        clear("login requests", &stop, || store.login_requests_clear()).await;
        clear("attempts to sign in", &stop, || store.sign_in_attempts_clear()).await;
    }
}

/// Clears what has ended away, a batch after the other until none is left.
async fn clear<F: Future<Output = Result<bool, StoreError>>>(
    what: &'static str,
    stop: &CancellationToken,
    mut batch: impl FnMut() -> F,
) {
    loop {
        match batch().await {
            Ok(true) => return,
            Ok(false) if stop.is_cancelled() => return,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, what, "what has ended cannot be cleared away right now");
                return;
            }
        }
    }
}
