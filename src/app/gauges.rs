//! What is measured when somebody asks: how full things are at that moment.

use std::time::Duration;

use crate::{
    auth::Cache,
    domain::clock::boot_time,
    service::QueuedRecorder,
    store::{PoolUsage, Store},
};

/// What is looked at.
#[derive(Clone)]
pub(super) struct Gauges {
    pub(super) serving: Store,
    pub(super) verifying: Store,
    pub(super) recorder: QueuedRecorder,
    pub(super) cache: std::sync::Arc<Cache>,
    /// This machine's [time since it was started](boot_time) when the server was.
    pub(super) started: Duration,
}

impl Gauges {
    pub(super) fn set(&self) {
        for (pool, store) in [("serving", &self.serving), ("verifying", &self.verifying)] {
            let PoolUsage { open, idle, most, waiting } = store.usage();
            let used = open.saturating_sub(idle);
            for (state, number) in [("used", used), ("idle", idle), ("not open", most.saturating_sub(open))] {
                gauge!("latchkey_database_connections", number, "pool" => pool, "state" => state);
            }
            gauge!("latchkey_database_waiting", waiting, "pool" => pool);
        }
        let backlog = self.recorder.backlog();
        for (kind, number) in
            [("callers", backlog.callers), ("strangers", backlog.strangers), ("refusals", backlog.refusals)]
        {
            gauge!("latchkey_audit_queue_entries", number, "kind" => kind);
        }
        metrics::gauge!("latchkey_last_used_lag_seconds").set(backlog.last_used_lag.as_secs_f64());
        gauge!("latchkey_verification_cache_entries", self.cache.len());
        // A server to which none ever comes back would else be the one that nobody is alarmed about.
        let silence = self.cache.silence().unwrap_or_else(|| boot_time().saturating_sub(self.started));
        metrics::gauge!("latchkey_verification_heartbeat_age_seconds").set(silence.as_secs_f64());
    }
}

/// Sets a gauge to a number of things.
macro_rules! gauge {
    ($name:literal, $number:expr $(, $label:literal => $value:expr)*) => {{
        #[expect(clippy::cast_precision_loss, reason = "there are no 2^52 of anything here")]
        metrics::gauge!($name $(, $label => $value)*).set($number as f64);
    }};
}
use gauge;
