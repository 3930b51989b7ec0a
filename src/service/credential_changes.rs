//! Keeps the memory of the verifier true: forgets what PostgreSQL tells has changed, and knows by heartbeats that it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Cache;
use crate::domain::{
    clock::{Clock, SystemClock, boot_time},
    ids::HeartbeatId,
};
use crate::store::{CredentialChange, Store, StoreError};

/// How often a heartbeat is sent at the least.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats in the time that one of them counts.
const IN_BOUND: u32 = 5;
/// How long none may come back before another connection is tried: longer than one may take to be sent.
const UNHEARD: Duration = Duration::from_secs(10);
/// How long to wait for PostgreSQL to come back before it is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a heartbeat may take and still tell PostgreSQL's time.
const PROMPT: Duration = Duration::from_secs(1);
/// Seconds that the machine's clock may differ from PostgreSQL's before that is worth a word.
const WORTH_A_WORD: f64 = 2.0;

/// Listens for what changes credentials. Cheap to clone.
#[derive(Clone)]
pub struct CredentialChanges {
    cache: Arc<Cache>,
    /// The first one listens; a new connection of its means that there may be another PostgreSQL for all of them.
    stores: Arc<[Store]>,
    /// By how many milliseconds PostgreSQL's clock is ahead of this machine's.
    ahead: Arc<AtomicI64>,
}

impl CredentialChanges {
    /// For what a server remembers, and the stores that it looks things up in; somebody has to [`run`](Self::run) it.
    #[must_use]
    pub fn new(cache: Arc<Cache>, stores: impl Into<Arc<[Store]>>) -> Self {
        Self { cache, stores: stores.into(), ahead: Arc::default() }
    }

    /// By how many seconds PostgreSQL's clock was ahead of this machine's at the last heartbeat.
    #[expect(clippy::cast_precision_loss, reason = "nobody's clock is 2^52 milliseconds off")]
    #[must_use]
    pub fn clock_ahead(&self) -> f64 {
        self.ahead.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// Whether what is remembered counts now, whatever becomes of the database the next moment.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.cache.silence().is_some_and(|silence| silence < self.cache.bound())
    }

    /// Listens until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let listening = async {
            loop {
                let Err(lost) = self.listen().await;
                metrics::gauge!("latchkey_verification_listening").set(0.0);
                tracing::warn!(error = %lost, "changes of credentials are not heard of right now");
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listening => {}
        }
    }

    async fn listen(&self) -> Result<std::convert::Infallible, StoreError> {
        let Some(store) = self.stores.first() else { return Err(StoreError::Query("there is no store".to_owned())) };
        let mut notifications = store.listen_for_credential_changes().await?;
        // What was announced before is not known; and where it is listened may be another PostgreSQL than before. First nothing is
        // looked up anywhere else any more, nor over an old connection; then what was found over one is forgotten.
        for store in &*self.stores {
            store.settle(notifications.place());
        }
        self.cache.clear();
        metrics::gauge!("latchkey_verification_listening").set(1.0);
        let interval = interval(self.cache.bound());
        let promoted = store.promoted_after(notifications.place(), interval);
        tokio::pin!(promoted);
        let mut heard_at = Instant::now();
        loop {
            let (name, sent, next) = (HeartbeatId::generate(), boot_time(), Instant::now() + interval);
            let beat = tokio::time::timeout(patience(self.cache.bound()), store.credential_heartbeat(name));
            tokio::pin!(beat);
            let (mut is_under_way, mut is_awaited, give_up) = (true, true, heard_at + UNHEARD);
            // Changes are heard of all the while, however long the heartbeat takes; the next one is sent when it has come back.
            while (is_under_way || is_awaited || Instant::now() < next) && Instant::now() < give_up {
                let until = if is_under_way || is_awaited { give_up } else { next };
                let change = tokio::select! {
                    beat = &mut beat, if is_under_way => {
                        is_under_way = false;
                        match beat.unwrap_or_else(|_| Err(StoreError::Unavailable("it takes too long".to_owned()))) {
                            Ok(beat) => {
                                // Of one that was long under way it is not known when PostgreSQL said it.
                                if boot_time().saturating_sub(sent) < PROMPT {
                                    self.compare_clocks(beat.now);
                                }
                                metrics::gauge!("latchkey_notification_queue_usage").set(beat.queue);
                            }
                            Err(error) => {
                                is_awaited = false;
                                tracing::debug!(%error, "no heartbeat can be sent");
                            }
                        }
                        continue;
                    }
                    place = &mut promoted => {
                        // The old one may answer for ever: nothing that it says counts any more, from now on.
                        for store in &*self.stores {
                            store.settle(place);
                        }
                        self.cache.clear();
                        return Err(StoreError::Unavailable("another PostgreSQL of the database URL was promoted".to_owned()));
                    }
                    change = notifications.next(until) => change?,
                };
                match change {
                    Some(CredentialChange::Token(id)) => self.cache.forget_token(id),
                    Some(CredentialChange::Session(id)) => self.cache.forget_session(id),
                    Some(CredentialChange::Principal(id)) => self.cache.forget_principal(id),
                    Some(CredentialChange::Environment(id)) => self.cache.forget_environment(id),
                    Some(CredentialChange::All) => self.cache.clear(),
                    // The first time alone: by then everybody who listens knows its name.
                    Some(CredentialChange::Heartbeat(heard, postgres)) if heard == name && is_awaited => {
                        self.cache.heard(sent, postgres);
                        (is_awaited, heard_at) = (false, Instant::now());
                    }
                    // Another server's, or one that came too late.
                    Some(CredentialChange::Heartbeat(..)) | None => {}
                }
            }
            if heard_at.elapsed() >= UNHEARD {
                let unheard = "no heartbeat comes back; announcements are heard over a connection to PostgreSQL itself alone, not \
                     through a pooler: see --database-direct-url";
                return Err(StoreError::Unavailable(unheard.to_owned()));
            }
        }
    }

    fn compare_clocks(&self, postgres: time::OffsetDateTime) {
        let ahead = postgres - SystemClock.now();
        let was_apart = self.clock_ahead().abs() > WORTH_A_WORD;
        let milliseconds = i64::try_from(ahead.whole_milliseconds()).unwrap_or(i64::MAX);
        self.ahead.store(milliseconds, Ordering::Relaxed);
        let seconds = ahead.as_seconds_f64();
        metrics::gauge!("latchkey_clock_skew_seconds").set(seconds);
        if seconds.abs() > WORTH_A_WORD && !was_apart {
            tracing::warn!(
                seconds,
                "PostgreSQL's clock is ahead of this machine's by so much (or, below 0, behind it)"
            );
        }
    }
}

/// How long a heartbeat may take to be sent before another one is, over another connection.
fn patience(bound: Duration) -> Duration {
    if bound.is_zero() { UNHEARD } else { (bound / 2).max(Duration::from_millis(500)) }
}

/// How often a heartbeat is sent: with a bound of nothing, for the clock alone.
fn interval(bound: Duration) -> Duration {
    if bound.is_zero() { HEARTBEAT } else { HEARTBEAT.min(bound / IN_BOUND) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_every_second_or_five_times_in_the_bound() {
        for (bound, expected) in [(0, 1000), (1, 200), (5, 1000), (86_400, 1000)] {
            assert_eq!(interval(Duration::from_secs(bound)), Duration::from_millis(expected), "{bound} s");
        }
    }
}
