//! Lookups that wait are sent together.
//!
//! While the database answers one batch, the lookups that come in queue up and make the next. A lookup only ever joins a
//! batch that has not been sent: the snapshot of one already sent may be older than a revocation that its caller has been
//! told of.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::verifier::{CredentialSource, SourceUnavailable};
use crate::domain::{credential::StoredCredential, token::CredentialKind};

/// Lookups in one batch, at the most.
const BATCH: usize = 128;
/// Lookups that may wait; more are turned away, since they would not be answered in time.
const QUEUE: usize = 16 * 1024;
/// Batches under way at once: while one travels, another is worked on.
const WORKERS: usize = 2;

type Answer = Result<Option<StoredCredential>, SourceUnavailable>;

/// How long a lookup may take, the wait included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

struct Lookup {
    id: Uuid,
    answer: oneshot::Sender<Answer>,
}

/// The queue of one kind of credential.
pub(super) struct Lookups {
    queue: mpsc::Sender<Lookup>,
}

impl Lookups {
    pub(super) fn start<S: CredentialSource>(source: Arc<S>, kind: CredentialKind) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        for _ in 0..WORKERS {
            tokio::spawn(work(Arc::clone(&source), kind, Arc::clone(&waiting)));
        }
        Self { queue }
    }

    pub(super) async fn find(&self, id: Uuid) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Lookup { id, answer }).map_err(|_| SourceUnavailable)?;
        // However many wait before it.
        tokio::time::timeout(PATIENCE, answered).await.map_err(|_| SourceUnavailable)?.map_err(|_| SourceUnavailable)?
    }
}

/// Ends when the queue's sender is gone.
async fn work<S: CredentialSource>(
    source: Arc<S>,
    kind: CredentialKind,
    waiting: Arc<tokio::sync::Mutex<mpsc::Receiver<Lookup>>>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        // One worker waits at a time; it lets go as soon as it has its batch.
        if waiting.lock().await.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        // Who has gone away meanwhile needs no answer.
        batch.retain(|lookup| !lookup.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let mut ids: Vec<Uuid> = batch.iter().map(|lookup| lookup.id).collect();
        ids.sort_unstable();
        ids.dedup();
        match source.find(kind, ids).await {
            Ok(found) => {
                let found: HashMap<Uuid, StoredCredential> = found.into_iter().collect();
                for lookup in batch.drain(..) {
                    // A send fails when its asker has gone.
                    let _ = lookup.answer.send(Ok(found.get(&lookup.id).cloned()));
                }
            }
            Err(SourceUnavailable) => {
                for lookup in batch.drain(..) {
                    let _ = lookup.answer.send(Err(SourceUnavailable));
                }
            }
        }
    }
}
