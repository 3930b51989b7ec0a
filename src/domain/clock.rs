//! Time, as a thing that is handed in.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Tells the time. Stored times are written by PostgreSQL; this serves what is judged in the process.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the machine's clock")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// Time since the machine was started, in which it may have slept: `CLOCK_BOOTTIME`. Nobody sets it, and it goes on while a process
/// is stopped and while the machine is.
#[must_use]
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A time as people are told it by programs: to the second (RFC 3339).
#[must_use]
pub fn to_the_second(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// Whether something that expires at `expires_at` is expired at `now`. The only judge of expiry: the very second
/// counts as expired.
#[must_use]
pub fn is_expired(expires_at: OffsetDateTime, now: OffsetDateTime) -> bool {
    now >= expires_at
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_very_instant_is_expired() {
        let expiry = datetime!(2026-01-01 00:00:00 UTC);
        assert!(is_expired(expiry, expiry));
        assert!(!is_expired(expiry, expiry - time::Duration::NANOSECOND));
    }
}
