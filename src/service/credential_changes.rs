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
use crate::domain::clock::{Clock, SystemClock, boot_time};
use crate::store::{CredentialChange, Store, StoreError};

/// How often a heartbeat is sent at the least.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats in the time that one of them counts.
const IN_BOUND: u32 = 5;
/// How long to wait for PostgreSQL to come back before it is asked again.
const PAUSE: Duration = Duration::from_millis(250);
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
        // What was announced before is not known; and where it is asked of may be another PostgreSQL than before. First nothing is
        // looked up over an old connection any more, then what was found over one is forgotten.
        for store in &*self.stores {
            store.forget_connections();
        }
        self.cache.clear();
        metrics::gauge!("latchkey_verification_listening").set(1.0);
        let interval = HEARTBEAT.min(self.cache.bound() / IN_BOUND).max(HEARTBEAT / 10);
        let mut number = 0;
        loop {
            number += 1;
            let (sent, next) = (boot_time(), Instant::now() + interval);
            let postgres = notifications.beat(number).await?;
            self.compare_clocks(postgres);
            while let Some(change) = notifications.next(next).await? {
                match change {
                    CredentialChange::Token(id) => self.cache.forget_token(id),
                    CredentialChange::Principal(id) => self.cache.forget_principal(id),
                    CredentialChange::Environment(id) => self.cache.forget_environment(id),
                    CredentialChange::All => self.cache.clear(),
                    CredentialChange::Heartbeat(heard) if heard == number => self.cache.heard(sent, postgres),
                    CredentialChange::Heartbeat(_late) => {}
                }
            }
            self.tell();
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

    /// What can be seen from outside.
    #[expect(clippy::cast_precision_loss, reason = "nobody remembers 2^52 things")]
    fn tell(&self) {
        metrics::gauge!("latchkey_verification_cache_entries").set(self.cache.len() as f64);
        if let Some(silence) = self.cache.silence() {
            metrics::gauge!("latchkey_verification_heartbeat_age_seconds").set(silence.as_secs_f64());
        }
    }
}
