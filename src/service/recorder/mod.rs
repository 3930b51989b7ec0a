//! What the auth layer saw, written in groups.
//!
//! Reads and strangers' refusals are counted, refusals of proven holders are kept one by one, uses of tokens as the last of
//! each. What has come together in a while is written during the next one, a few rows at a time, since whoever is verified meanwhile
//! waits for PostgreSQL as well: a crash loses two seconds of observations at the most, and four of uses. While PostgreSQL is away it waits
//! here, each kind up to a bound of its own: beyond it, callers with good tokens wait and are then told so; a holder who
//! is refused over and over is counted; of strangers beyond the bound it is counted how often they tried, not from where.

mod spread;
mod waiting;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{
    spread::Spread,
    waiting::{Taken, Waiting},
};
use crate::auth::{QueueFull, Recorder};
use crate::domain::{
    audit::Observation,
    ids::OrganizationId,
    principal::{Credential, Origin},
};
use crate::store::{Store, StoreError};

/// How long observations come together, and over how long they are written at the most.
const EVERY: Duration = Duration::from_secs(1);
/// The same of uses, which are to be known within 5 s: of a token that is in use all the time, one in that time is written.
const USES_EVERY: Duration = Duration::from_secs(2);
/// Rows of minutes that are over that are moved at once, and if there are more, at the most.
const SEALED: usize = 500;
const SEALED_MOST: usize = 5_000;
/// Between two groups of them.
const SEALING: Duration = Duration::from_millis(25);
/// How long a caller waits for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Different tallies of callers that may wait.
const ROOM: usize = 20_000;

struct Shared {
    store: Store,
    /// Whose log has what belongs to nobody: the tries of strangers.
    organization: OrganizationId,
    /// How long a session lasts without use.
    session_idle: Duration,
    waiting: Mutex<Waiting>,
    /// How many tallies of callers wait, or are being written: read by every request.
    callers: AtomicUsize,
    /// Rung when there is much to write.
    much: Notify,
    /// Rung after each statement that wrote something.
    written: Notify,
}

/// What waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Different reads, and refusals beyond those that are kept one by one.
    pub callers: usize,
    /// Different tries of strangers.
    pub strangers: usize,
    /// Refusals that are kept one by one.
    pub refusals: usize,
    /// How long the oldest use of a token has waited.
    pub last_used_lag: Duration,
}

/// The recorder that writes to the store.
#[derive(Clone)]
pub struct QueuedRecorder(Arc<Shared>);

impl QueuedRecorder {
    /// On a store; what strangers try is in the log of an organization. Nothing is written before [`QueuedRecorder::run`].
    #[must_use]
    pub fn new(store: Store, organization: OrganizationId, session_idle: Duration) -> Self {
        Self(Arc::new(Shared {
            store,
            organization,
            session_idle,
            waiting: Mutex::default(),
            callers: AtomicUsize::default(),
            much: Notify::new(),
            written: Notify::new(),
        }))
    }

    /// Writes what was seen until it is told to stop, and then what is left. Uses of tokens by themselves: they are known within
    /// seconds, whatever becomes of the rest.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.write_uses(&stop), self.write_seen(&stop), self.seal(&stop));
    }

    async fn write_uses(&self, stop: &CancellationToken) {
        let mut ticks = ticks(USES_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush_session_uses().await;
            self.flush_uses(stop).await;
        }
        self.flush_session_uses().await;
        self.flush_uses(stop).await;
    }

    /// Writes the last use of each session. What cannot be written is lost: whoever sits there comes again, or does not.
    async fn flush_session_uses(&self) {
        let uses = self.waiting().take_session_uses();
        // Of more than a hundred at once servers would be told that any credential may have changed.
        for group in uses.chunks(50) {
            if let Err(error) = self.0.store.session_uses_write(group.to_vec(), self.0.session_idle).await {
                tracing::warn!(%error, "uses of sessions cannot be written right now");
                break;
            }
        }
    }

    async fn write_seen(&self, stop: &CancellationToken) {
        let mut ticks = ticks(EVERY);
        let mut is_written = true;
        loop {
            let due = async {
                tokio::select! {
                    _ = ticks.tick() => {}
                    // What cannot be written waits for its turn, however much comes.
                    () = self.0.much.notified(), if is_written => ticks.reset(),
                }
            };
            if stop.run_until_cancelled(due).await.is_none() {
                break;
            }
            is_written = self.flush_seen(stop).await;
            // As much may have come meanwhile.
            while is_written && self.waiting().is_much() && !stop.is_cancelled() {
                is_written = self.flush_seen(stop).await;
            }
        }
        self.flush_seen(stop).await;
    }

    /// Moves minutes that are over to the log, some rows at a time, with a while for others in between.
    async fn seal(&self, stop: &CancellationToken) {
        let mut ticks = ticks(EVERY);
        let mut rows = SEALED;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.0.store.audit_seal(rows).await {
                Ok(sealed) if sealed == rows => {
                    // Each looks for the oldest: more at a time, the more there are.
                    rows = (rows * 2).min(SEALED_MOST);
                    ticks.reset_after(SEALING);
                }
                Ok(_) => rows = SEALED,
                Err(error @ StoreError::Unavailable(_)) => {
                    tracing::debug!(%error, "finished minutes stay where they are for now");
                }
                Err(error) => tracing::warn!(%error, "finished minutes stay where they are"),
            }
        }
    }

    /// What waits to be written at this moment.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.waiting().backlog()
    }

    /// Waits until it is the next statement's turn, with everything at its end no longer. How many of the rows that are left it has.
    async fn turn(&self, spread: &Spread, left: usize, stop: &CancellationToken) -> usize {
        stop.run_until_cancelled(tokio::time::sleep_until(spread.due(left))).await;
        if stop.is_cancelled() { spread::MANY } else { spread.now(left) }
    }

    /// Writes the last use of each token; what was not written waits on, unless there is a later one by then.
    async fn flush_uses(&self, stop: &CancellationToken) {
        let uses = self.waiting().take_uses();
        let mut uses: Vec<_> = uses.into_values().collect();
        let spread = Spread::over(USES_EVERY, uses.len());
        while !uses.is_empty() {
            let rows = self.turn(&spread, uses.len(), stop).await;
            let group = uses.len().saturating_sub(rows);
            if self.is_to_wait(self.0.store.last_used_write(uses[group..].to_vec()).await) {
                break;
            }
            uses.truncate(group);
        }
        self.waiting().uses_written(uses);
    }

    /// Writes until all is written or PostgreSQL is found away; what was not written waits on. Whether all was.
    async fn flush_seen(&self, stop: &CancellationToken) -> bool {
        // Nobody is kept waiting while it is sorted.
        let taken = self.waiting().take_seen();
        let mut taken = Taken::from(taken);
        let spread = Spread::over(EVERY, taken.len());
        while taken.len() > 0 {
            // Who has to wait for room waits for no turn.
            let rows = tokio::select! {
                biased;
                () = self.much() => spread::MANY,
                rows = self.turn(&spread, taken.len(), stop) => rows,
            };
            if !self.write(&mut taken, rows).await {
                break;
            }
            self.update(|waiting| waiting.left(&taken));
        }
        let is_written = taken.len() == 0;
        self.update(|waiting| waiting.take_back_seen(taken));
        is_written
    }

    /// Once there is much to write beside what is being written.
    async fn much(&self) {
        while !self.waiting().is_much() {
            self.0.much.notified().await;
        }
    }

    fn update(&self, change: impl FnOnce(&mut Waiting)) {
        {
            let mut waiting = self.waiting();
            change(&mut waiting);
            self.0.callers.store(waiting.callers(), Ordering::Relaxed);
        }
        self.0.written.notify_waiters();
    }

    /// Takes so many rows away that could be written, or never can be. Whether they did not have to stay.
    async fn write(&self, taken: &mut Taken, rows: usize) -> bool {
        let Taken { tallies, single, .. } = taken;
        if tallies.is_empty() {
            let group = single.len().min(rows);
            let is_to_wait = self.is_to_wait(self.0.store.audit_observations_write(&single[..group]).await);
            if !is_to_wait {
                single.drain(..group);
            }
            return !is_to_wait;
        }
        let group = tallies.len().saturating_sub(rows);
        let is_to_wait = self.is_to_wait(self.0.store.audit_tally(&tallies[group..]).await);
        if !is_to_wait {
            tallies.truncate(group);
        }
        !is_to_wait
    }

    /// Whether what was not written may be written another time.
    fn is_to_wait(&self, written: Result<(), StoreError>) -> bool {
        match written {
            Ok(()) => false,
            // What is in doubt is written once more: too high a count is better than none.
            Err(
                error
                @ (StoreError::Unavailable(_) | StoreError::InDoubt(_) | StoreError::Query(_) | StoreError::NoRow),
            ) => {
                tracing::warn!(%error, "what was seen waits to be written");
                true
            }
            Err(error @ (StoreError::Constraint(_) | StoreError::Corrupt(_))) => {
                metrics::counter!("latchkey_observations_lost_total").increment(1);
                tracing::error!(%error, "what was seen cannot be written and is lost");
                false
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be half-done when a thread panics.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Recorder for QueuedRecorder {
    fn has_room(&self) -> bool {
        self.0.callers.load(Ordering::Relaxed) < ROOM
    }

    async fn room(&self) -> Result<(), QueueFull> {
        if self.has_room() {
            return Ok(());
        }
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            let written = self.0.written.notified();
            if self.has_room() {
                return Ok(());
            }
            tokio::select! {
                () = written => {}
                () = &mut patience => {
                    metrics::counter!("latchkey_observations_refused_total").increment(1);
                    return Err(QueueFull);
                }
            }
        }
    }

    fn observe(&self, mut seen: Observation) {
        seen.organization_id.get_or_insert(self.0.organization);
        let mut waiting = self.waiting();
        if waiting.observe(seen) {
            self.0.much.notify_one();
        }
        self.0.callers.store(waiting.callers(), Ordering::Relaxed);
    }

    fn used(&self, credential: Credential, at: OffsetDateTime, origin: &Origin) {
        self.waiting().used(credential, at, origin);
    }
}
