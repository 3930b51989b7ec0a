//! What the auth layer saw, written in groups.
//!
//! Reads and strangers' refusals are counted, refusals of proven holders are kept one by one, uses of tokens as the last of
//! each. All of it is written every second, so that a crash loses a second at the most. While PostgreSQL is away it waits
//! here, each kind up to a bound of its own: beyond it, callers with good tokens wait and are then told so; a holder who
//! is refused over and over is counted; of strangers beyond the bound it is counted how often they tried, not from where.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use time::OffsetDateTime;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::auth::{QueueFull, Recorder};
use crate::domain::{
    audit::{Action, Observation, Outcome},
    ids::{OrganizationId, PrincipalId, TokenId},
    principal::{Origin, network},
};
use crate::store::{Store, StoreError, TokenUse};

/// How often what was seen is written.
const EVERY: Duration = Duration::from_secs(1);
/// How long a caller waits for room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Different tallies of callers that may wait.
const ROOM: usize = 20_000;
/// Tallies of one token that are told apart until the next write: nobody takes the others' room by calling from many addresses.
const OF_ONE_TOKEN: usize = 256;
/// Tokens whose last use may wait: as many as are remembered.
const USES: usize = 100_000;
/// Peers of strangers that are told apart in a minute: each is a row.
const STRANGERS: usize = 5_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Refusals that are kept one by one until the next write.
const SINGLE: usize = 1_000;
/// Observations written in one statement.
const STATEMENT: usize = 1_000;

/// What makes two observations one, but for how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    token_id: Option<TokenId>,
    principal_id: Option<PrincipalId>,
    action: Action,
    rpc: &'static str,
    outcome: Outcome,
    reason: &'static str,
    peer: Option<IpAddr>,
}

type Tallies = HashMap<Key, (Observation, i64), RandomState>;

#[derive(Default)]
struct Waiting {
    callers: Tallies,
    /// How many of these are of one token.
    of_token: HashMap<TokenId, usize>,
    strangers: Tallies,
    /// Peers of strangers that are told apart in this minute, and since when.
    known_strangers: HashSet<Option<IpAddr>>,
    strangers_since: Option<Instant>,
    single: Vec<Observation>,
    uses: HashMap<TokenId, TokenUse, RandomState>,
    /// When the first of these came in, and of those that are being written.
    uses_since: Option<Instant>,
    uses_written_since: Option<Instant>,
    /// What is being written, and may come back.
    in_flight: usize,
}

struct Shared {
    store: Store,
    /// Whose log has what belongs to nobody: the tries of strangers.
    organization: OrganizationId,
    waiting: Mutex<Waiting>,
    /// How many tallies of callers wait, or are being written: read by every request.
    callers: AtomicUsize,
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
            written: Notify::new(),
        }))
    }

    /// Writes what was seen until it is told to stop, and then what is left. Uses of tokens by themselves: they are known within
    /// seconds, whatever becomes of the rest.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.write_uses(&stop), self.write_seen(&stop));
    }

    async fn write_uses(&self, stop: &CancellationToken) {
        let mut ticks = ticks();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush_uses().await;
        }
        self.flush_uses().await;
    }

    async fn write_seen(&self, stop: &CancellationToken) {
        let mut ticks = ticks();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush_seen().await;
            if let Err(error) = self.0.store.audit_seal().await {
                tracing::debug!(%error, "finished minutes stay where they are for now");
            }
        }
        self.flush_seen().await;
    }

    /// What waits to be written at this moment.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let waiting = self.waiting();
        let oldest_use = waiting.uses_written_since.or(waiting.uses_since);
        Backlog {
            callers: waiting.callers.len() + waiting.in_flight,
            strangers: waiting.strangers.len(),
            refusals: waiting.single.len(),
            last_used_lag: oldest_use.map(|since| since.elapsed()).unwrap_or_default(),
        }
    }

    /// Writes the last use of each token; what was not written waits on, unless there is a later one by then.
    async fn flush_uses(&self) {
        let uses: Vec<TokenUse> = {
            let mut waiting = self.waiting();
            waiting.uses_written_since = waiting.uses_since.take();
            std::mem::take(&mut waiting.uses).into_values().collect()
        };
        if uses.is_empty() {
            return;
        }
        let is_to_wait = self.is_to_wait(self.0.store.last_used_write(uses.clone()).await);
        let mut waiting = self.waiting();
        let written_since = waiting.uses_written_since.take();
        if is_to_wait {
            waiting.uses_since = written_since.or(waiting.uses_since);
            for one in uses {
                waiting.take_back(one);
            }
        }
    }

    /// Writes until all is written or PostgreSQL is found away; what was not written waits on.
    async fn flush_seen(&self) {
        let (mut tallies, mut single) = {
            let mut waiting = self.waiting();
            let mut tallies: Vec<(Observation, i64)> = std::mem::take(&mut waiting.callers).into_values().collect();
            waiting.of_token = HashMap::new();
            tallies.extend(std::mem::take(&mut waiting.strangers).into_values());
            let single = std::mem::take(&mut waiting.single);
            waiting.in_flight = tallies.len();
            (tallies, single)
        };
        self.write(&mut tallies, &mut single).await;
        {
            let mut waiting = self.waiting();
            waiting.in_flight = 0;
            for (seen, count) in tallies {
                waiting.tally(seen, count);
            }
            single.append(&mut waiting.single);
            waiting.single = single;
            self.0.callers.store(waiting.callers.len(), Ordering::Relaxed);
        }
        self.0.written.notify_waiters();
    }

    /// Takes away what could be written, and what never can be.
    async fn write(&self, tallies: &mut Vec<(Observation, i64)>, single: &mut Vec<Observation>) {
        while !tallies.is_empty() {
            let group = tallies.len().saturating_sub(STATEMENT);
            if self.is_to_wait(self.0.store.audit_tally(&tallies[group..]).await) {
                return;
            }
            tallies.truncate(group);
        }
        while !single.is_empty() {
            let group = single.len().min(STATEMENT);
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

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Waiting {
    /// Whether a stranger's peer is told apart from others: only so many are, in one minute.
    fn knows_stranger(&mut self, peer: Option<IpAddr>) -> bool {
        let now = Instant::now();
        if self.strangers_since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            self.strangers_since = Some(now);
            self.known_strangers.clear();
        }
        if self.known_strangers.len() < STRANGERS {
            self.known_strangers.insert(peer);
        }
        self.known_strangers.contains(&peer)
    }

    /// Takes a use back that could not be written. Of two of a token the later one counts, whichever came first.
    fn take_back(&mut self, one: TokenUse) {
        match self.uses.entry(one.token_id) {
            Entry::Occupied(mut known) if known.get().at < one.at => {
                known.insert(one);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(one);
            }
        }
    }

    fn tally(&mut self, mut seen: Observation, count: i64) {
        let is_stranger = seen.principal.is_none();
        if is_stranger {
            // Whoever has one address of a network of their own has all of it.
            seen.peer = seen.peer.map(network);
            if !self.knows_stranger(seen.peer) {
                metrics::counter!("latchkey_observations_dropped_total").increment(1);
                // How often, though not from where.
                seen.peer = None;
            }
        }
        let is_of_many = |id: &TokenId| self.of_token.get(id).is_some_and(|many| *many >= OF_ONE_TOKEN);
        let mut key = Key {
            token_id: seen.token_id,
            principal_id: seen.principal.map(|(id, _)| id),
            action: seen.action,
            rpc: seen.rpc,
            outcome: seen.outcome,
            reason: seen.reason,
            peer: seen.peer,
        };
        let tallies = if is_stranger { &mut self.strangers } else { &mut self.callers };
        if let Some((_, known)) = tallies.get_mut(&key) {
            *known += count;
            return;
        }
        if key.token_id.as_ref().is_some_and(is_of_many) {
            metrics::counter!("latchkey_observations_dropped_total").increment(1);
            (key.peer, seen.peer) = (None, None);
        }
        if let Some(id) = key.token_id {
            *self.of_token.entry(id).or_default() += 1;
        }
        tallies.entry(key).or_insert((seen, 0)).1 += count;
    }
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
        let is_refusal = seen.action != Action::Read && seen.principal.is_some();
        if is_refusal && waiting.single.len() < SINGLE {
            waiting.single.push(seen);
        } else {
            waiting.tally(seen, 1);
            self.0.callers.store(waiting.callers.len() + waiting.in_flight, Ordering::Relaxed);
        }
    }

    fn used(&self, token: TokenId, at: OffsetDateTime, origin: &Origin) {
        let mut waiting = self.waiting();
        let full = waiting.uses.len() >= USES;
        if let Some(known) = waiting.uses.get_mut(&token) {
            if known.at < at {
                known.at = at;
                known.peer = origin.peer;
                known.user_agent.clone_from(&origin.user_agent);
            }
        } else if full {
            metrics::counter!("latchkey_last_used_dropped_total").increment(1);
        } else {
            let one = TokenUse { token_id: token, at, peer: origin.peer, user_agent: origin.user_agent.clone() };
            waiting.uses.insert(token, one);
            waiting.uses_since.get_or_insert_with(Instant::now);
        }
    }
}
