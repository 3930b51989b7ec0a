//! Lookups that wait are sent together.
//!
//! While the source answers one batch, the lookups that come in queue up and make the next. A lookup only ever joins a
//! batch that has not been sent: the snapshot of one already sent may be older than a revocation that its caller has been
//! told of.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc, oneshot};

/// Lookups that may wait; more are turned away, since they would not be answered in time.
const QUEUE: usize = 16 * 1024;
/// How long a batch may take before others no longer wait for it: what it was sent over may be dead.
const STALLED: Duration = Duration::from_millis(250);
/// Batches that may take longer at once.
const STALLED_AT_ONCE: usize = 3;

/// The source does not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceUnavailable;

/// What a source says: what there is of keys.
pub type Answers<K, F> = Result<Vec<(K, F)>, SourceUnavailable>;

/// Answers many lookups at once.
pub trait Source: Send + Sync + 'static {
    /// Lookups in one batch, at the most.
    const BATCH: usize;
    /// What names a thing that is looked up.
    type Key: Clone + Eq + Hash + Ord + Send + 'static;
    /// What is found of it.
    type Found: Clone + Send + 'static;

    /// What there is of each of some different keys, in any order. Of others there is nothing.
    ///
    /// # Errors
    /// [`SourceUnavailable`]
    fn find(&self, keys: Vec<Self::Key>) -> impl Future<Output = Answers<Self::Key, Self::Found>> + Send;
}

/// Nothing where there is nothing.
type Answer<F> = Result<Option<F>, SourceUnavailable>;

/// How long a lookup may take, the wait included.
pub const PATIENCE: Duration = Duration::from_secs(5);

struct Lookup<K, F> {
    key: K,
    answer: oneshot::Sender<Answer<F>>,
}

/// The queue in front of a source.
pub struct Lookups<K, F> {
    queue: mpsc::Sender<Lookup<K, F>>,
}

impl<K: Send + 'static, F: Send + 'static> Lookups<K, F> {
    /// Starts the task that asks the source; it ends with this.
    pub fn start<S: Source<Key = K, Found = F>>(source: S) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(work(Arc::new(source), waiting));
        Self { queue }
    }

    /// What there is of a key, by a batch that is sent from now on.
    ///
    /// # Errors
    /// [`SourceUnavailable`]: also when too many wait, or it takes longer than [`PATIENCE`].
    pub async fn find(&self, key: K) -> Answer<F> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Lookup { key, answer }).map_err(|_| SourceUnavailable)?;
        // However many wait before it.
        tokio::time::timeout(PATIENCE, answered).await.map_err(|_| SourceUnavailable)?.map_err(|_| SourceUnavailable)?
    }
}

/// One batch after the other, so that they are as large as they can be. Ends when the queue's sender is gone.
async fn work<S: Source>(source: Arc<S>, mut waiting: mpsc::Receiver<Lookup<S::Key, S::Found>>) {
    let stalled = Arc::new(Semaphore::new(STALLED_AT_ONCE));
    loop {
        let mut batch = Vec::with_capacity(S::BATCH);
        if waiting.recv_many(&mut batch, S::BATCH).await == 0 {
            return;
        }
        // The first one wakes this. Whoever is about to look something up, since their request has come as well, goes with it.
        tokio::task::yield_now().await;
        while batch.len() < S::BATCH
            && let Ok(lookup) = waiting.try_recv()
        {
            batch.push(lookup);
        }
        // Who has gone away meanwhile needs no answer.
        batch.retain(|lookup| !lookup.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        let mut keys: Vec<S::Key> = batch.iter().map(|lookup| lookup.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let source = Arc::clone(&source);
        let mut asked = Box::pin(async move { source.find(keys).await });
        if let Ok(answers) = tokio::time::timeout(STALLED, &mut asked).await {
            tell(batch, answers);
            continue;
        }
        tokio::select! {
            answers = &mut asked => tell(batch, answers),
            Ok(place) = Arc::clone(&stalled).acquire_owned() => {
                tokio::spawn(async move {
                    tell(batch, asked.await);
                    drop(place);
                });
            }
        }
    }
}

/// Tells each who waits; a send fails when they have gone.
fn tell<K: Eq + Hash, F: Clone>(batch: Vec<Lookup<K, F>>, answers: Answers<K, F>) {
    let found: Result<HashMap<K, F>, SourceUnavailable> = answers.map(|found| found.into_iter().collect());
    for lookup in batch {
        let _ = lookup.answer.send(found.as_ref().map(|found| found.get(&lookup.key).cloned()).map_err(|error| *error));
    }
}
