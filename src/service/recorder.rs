//! What the auth layer saw, written in groups.
//!
//! Reads and strangers' refusals are counted, refusals of proven holders are kept one by one, uses of tokens as the last of
//! each. All of it is written every second, so that a crash loses a second at the most. While PostgreSQL is away it waits
//! here, up to a bound; beyond that, observers wait, and then are told so.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::auth::{QueueFull, Recorder};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    ids::{PrincipalId, TokenId},
    principal::Origin,
};
use crate::store::{Store, StoreError, TokenUse};

/// How often what was seen is written.
const EVERY: Duration = Duration::from_secs(1);
/// How long an observer waits for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Different observations, and tokens used, that may wait.
const ROOM: usize = 20_000;
/// Observations written in one statement: PostgreSQL takes 65,535 parameters.
const STATEMENT: usize = 1_000;

/// What makes two observations one, but for how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    token_id: Option<TokenId>,
    principal_id: Option<PrincipalId>,
    action: Action,
    rpc: String,
    outcome: Outcome,
    reason: String,
    peer: Option<IpAddr>,
}

#[derive(Default)]
struct Waiting {
    tallies: HashMap<Key, (Observation, i64)>,
    single: Vec<Observation>,
    uses: HashMap<TokenId, TokenUse>,
}

struct Shared {
    store: Store,
    waiting: Mutex<Waiting>,
    /// Rung after each write.
    written: Notify,
}

/// The recorder that writes to the store.
#[derive(Clone)]
pub struct QueuedRecorder(Arc<Shared>);

impl QueuedRecorder {
    /// On a store. Nothing is written before [`QueuedRecorder::run`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Shared { store, waiting: Mutex::default(), written: Notify::new() }))
    }

    /// Writes what was seen until it is told to stop, and then what is left.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush().await;
            if let Err(error) = self.0.store.audit_seal().await {
                tracing::debug!(%error, "finished minutes stay where they are for now");
            }
        }
        self.flush().await;
    }

    async fn flush(&self) {
        let taken = std::mem::take(&mut *self.waiting());
        let Waiting { tallies, single, uses } = taken;
        let tallies: Vec<(Observation, i64)> = tallies.into_values().collect();
        for group in tallies.chunks(STATEMENT) {
            if let Err(error) = self.0.store.audit_tally(group).await {
                self.put_back(&error, |waiting| {
                    for (seen, count) in group {
                        tally(waiting, seen.clone(), *count);
                    }
                });
            }
        }
        for group in single.chunks(STATEMENT) {
            if let Err(error) = self.0.store.audit_observations_write(group).await {
                self.put_back(&error, |waiting| waiting.single.extend_from_slice(group));
            }
        }
        if !uses.is_empty() {
            let uses: Vec<TokenUse> = uses.into_values().collect();
            if let Err(error) = self.0.store.last_used_write(uses.clone()).await {
                self.put_back(&error, |waiting| {
                    for one in uses {
                        waiting.uses.entry(one.token_id).or_insert(one);
                    }
                });
            }
        }
        self.0.written.notify_waiters();
    }

    /// Keeps what could not be written for the next time, unless no time will be better.
    fn put_back(&self, error: &StoreError, back: impl FnOnce(&mut Waiting)) {
        match error {
            StoreError::Unavailable(_) => {
                tracing::debug!(%error, "what was seen waits to be written");
                back(&mut self.waiting());
            }
            StoreError::NoRow | StoreError::Constraint(_) | StoreError::Corrupt(_) | StoreError::Query(_) => {
                metrics::counter!("latchkey_observations_lost_total").increment(1);
                tracing::error!(%error, "what was seen cannot be written and is lost");
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be half-done when a thread panics.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it down if there is room; otherwise gives it back.
    fn take_down(&self, seen: Observation) -> Option<Observation> {
        let mut waiting = self.waiting();
        if waiting.tallies.len() + waiting.single.len() >= ROOM {
            return Some(seen);
        }
        // A holder's refusal is one entry; reads, and what strangers try, are counted.
        if seen.action == Action::Read || seen.token_id.is_none() {
            tally(&mut waiting, seen, 1);
        } else {
            waiting.single.push(seen);
        }
        None
    }
}

fn tally(waiting: &mut Waiting, seen: Observation, count: i64) {
    let key = Key {
        token_id: seen.token_id,
        principal_id: seen.principal.map(|(id, _)| id),
        action: seen.action,
        rpc: seen.rpc.clone(),
        outcome: seen.outcome,
        reason: seen.reason.clone(),
        peer: seen.peer,
    };
    waiting.tallies.entry(key).or_insert((seen, 0)).1 += count;
}

impl Recorder for QueuedRecorder {
    async fn observe(&self, seen: Observation) -> Result<(), QueueFull> {
        let Some(mut seen) = self.take_down(seen) else { return Ok(()) };
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            let written = self.0.written.notified();
            match self.take_down(seen) {
                None => return Ok(()),
                Some(back) => seen = back,
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

    fn used(&self, token: TokenId, at: OffsetDateTime, origin: &Origin) {
        let mut waiting = self.waiting();
        let full = waiting.uses.len() >= ROOM;
        if let Some(known) = waiting.uses.get_mut(&token) {
            if known.at < at {
                known.at = at;
                known.peer = origin.peer;
                known.user_agent.clone_from(&origin.user_agent);
            }
        } else if !full {
            let one = TokenUse { token_id: token, at, peer: origin.peer, user_agent: origin.user_agent.clone() };
            waiting.uses.insert(token, one);
        }
    }
}
