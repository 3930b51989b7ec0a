//! What the auth layer saw, written in groups.
//!
//! Reads and strangers' refusals are counted, refusals of proven holders are kept one by one, uses of tokens as the last of
//! each. What has come together in a while is written during the next one, a few rows at a time, since whoever is verified meanwhile
//! waits for PostgreSQL as well: a crash loses two seconds of what was seen at the most. While PostgreSQL is away it waits
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

use self::{spread::Spread, waiting::Waiting};
use crate::auth::{QueueFull, Recorder};
use crate::domain::{
    audit::Observation,
    ids::{OrganizationId, TokenId},
    principal::Origin,
};
use crate::store::{SEALED_AT_ONCE, Store, StoreError};

/// How long observations come together, and over how long they are written at the most.
const EVERY: Duration = Duration::from_secs(1);
/// The same of uses, which are to be known within 5 s: of a token that is in use all the time, one in that time is written.
const USES_EVERY: Duration = Duration::from_secs(2);
/// Between two groups of rows of minutes that are over.
const SEALING: Duration = Duration::from_millis(25);
/// How long a caller waits for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Different tallies of callers that may wait.
const ROOM: usize = 20_000;
/// So many tallies of callers are written at once: they come faster than they should wait.
const BUSY: usize = ROOM / 4;

struct Shared {
    store: Store,
    /// Whose log has what belongs to nobody: the tries of strangers.
    organization: OrganizationId,
    waiting: Mutex<Waiting>,
    /// How many tallies of callers wait, or are being written: read by every request.
    callers: AtomicUsize,
    /// Rung when there are many.
    busy: Notify,
    /// Rung after each write.
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
    pub fn new(store: Store, organization: OrganizationId) -> Self {
        Self(Arc::new(Shared {
            store,
            organization,
            waiting: Mutex::default(),
            callers: AtomicUsize::default(),
            busy: Notify::new(),
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
            self.flush_uses(stop).await;
        }
        self.flush_uses(stop).await;
    }

    async fn write_seen(&self, stop: &CancellationToken) {
        let mut ticks = ticks(EVERY);
        let mut due = async || {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.busy.notified() => ticks.reset(),
            }
        };
        while stop.run_until_cancelled(due()).await.is_some() {
            // As many may have come meanwhile. What cannot be written waits for its turn, as it would anyway.
            while self.flush_seen(stop).await && self.is_busy() && !stop.is_cancelled() {}
        }
        self.flush_seen(stop).await;
    }

    fn is_busy(&self) -> bool {
        self.0.callers.load(Ordering::Relaxed) >= BUSY
    }

    /// Moves minutes that are over to the log, some rows at a time, with a while for others in between.
    async fn seal(&self, stop: &CancellationToken) {
        let mut ticks = ticks(EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.0.store.audit_seal().await {
                Ok(sealed) if sealed == SEALED_AT_ONCE => ticks.reset_after(SEALING),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "finished minutes stay where they are for now"),
            }
        }
    }

    /// What waits to be written at this moment.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.waiting().backlog()
    }

    /// Writes the last use of each token; what was not written waits on, unless there is a later one by then.
    async fn flush_uses(&self, stop: &CancellationToken) {
        let uses = self.waiting().take_uses();
        let mut uses: Vec<_> = uses.into_values().collect();
        let mut spread = Spread::over(USES_EVERY, uses.len());
        while !uses.is_empty() {
            spread.turn(stop).await;
            let group = uses.len().saturating_sub(spread.rows);
            if self.is_to_wait(self.0.store.last_used_write(uses[group..].to_vec()).await) {
                break;
            }
            uses.truncate(group);
        }
        self.waiting().uses_written(uses);
    }

    /// Writes until all is written or PostgreSQL is found away; what was not written waits on. Whether all was.
    async fn flush_seen(&self, stop: &CancellationToken) -> bool {
        let (tallies, mut single) = self.waiting().take_seen();
        let mut tallies: Vec<_> = tallies.into_iter().flat_map(|some| some.into_values()).collect();
        self.write(&mut tallies, &mut single, stop).await;
        let is_written = tallies.is_empty() && single.is_empty();
        {
            let mut waiting = self.waiting();
            waiting.seen_written(tallies, single);
            self.0.callers.store(waiting.callers(), Ordering::Relaxed);
        }
        self.0.written.notify_waiters();
        is_written
    }

    /// Takes away what could be written, and what never can be.
    async fn write(
        &self,
        tallies: &mut Vec<(Observation, i64)>,
        single: &mut Vec<Observation>,
        stop: &CancellationToken,
    ) {
        let mut spread = Spread::over(EVERY, tallies.len() + single.len());
        while !tallies.is_empty() {
            spread.turn(stop).await;
            let group = tallies.len().saturating_sub(spread.rows);
            if self.is_to_wait(self.0.store.audit_tally(&tallies[group..]).await) {
                return;
            }
            tallies.truncate(group);
        }
        while !single.is_empty() {
            spread.turn(stop).await;
            let group = single.len().min(spread.rows);
            if self.is_to_wait(self.0.store.audit_observations_write(&single[..group]).await) {
                return;
            }
            single.drain(..group);
        }
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
            let callers = waiting.callers();
            let before = self.0.callers.swap(callers, Ordering::Relaxed);
            if before < BUSY && callers >= BUSY {
                self.0.busy.notify_one();
            }
        }
    }

    fn used(&self, token: TokenId, at: OffsetDateTime, origin: &Origin) {
        self.waiting().used(token, at, origin);
    }
}
