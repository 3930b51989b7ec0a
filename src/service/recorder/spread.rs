//! Rows that are written over a while, some at a time: short statements, since whoever is verified meanwhile waits for PostgreSQL as well.

use std::time::Duration;

use tokio::time::Instant;

/// Rows in a statement, at the least.
const FEW: usize = 50;
/// Statements, at the most, if each is on time.
const STATEMENTS: usize = 50;
/// Rows in a statement, at the most.
pub(super) const MANY: usize = 1_000;

/// When how many of some rows are to be written.
pub(super) struct Spread {
    rows: usize,
    over: Duration,
    began: Instant,
}

impl Spread {
    /// So many, evenly over a while from now on.
    pub(super) fn over(over: Duration, rows: usize) -> Self {
        Self { rows, over, began: Instant::now() }
    }

    /// When the first one is due of those that are left.
    pub(super) fn due(&self, left: usize) -> Instant {
        let written = u32::try_from(self.rows.saturating_sub(left)).unwrap_or(u32::MAX);
        let all = u32::try_from(self.rows).unwrap_or(u32::MAX).max(1);
        self.began + self.over.saturating_mul(written) / all
    }

    /// How many of those that are left make the next statement: the more, the later it is.
    pub(super) fn now(&self, left: usize) -> usize {
        let passed = self.began.elapsed().as_micros().min(self.over.as_micros());
        let due = (self.rows as u128 * passed).checked_div(self.over.as_micros()).unwrap_or_default();
        let written = self.rows.saturating_sub(left);
        let late = usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(written);
        late.clamp(FEW.max(self.rows / STATEMENTS).min(MANY), MANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_on_time_is_written_evenly_and_what_is_late_in_larger_statements() {
        const SECOND: Duration = Duration::from_secs(1);
        let began = Instant::now();
        // Rows in all, left, milliseconds that have passed: when the next is due, and how many then.
        for (rows, left, passed, due, now) in [
            (100, 100, 0, 0, 50),
            (100, 50, 0, 500, 50),
            (1_000, 950, 50, 50, 50),
            (1_000, 950, 250, 50, 200),
            (1_000, 950, 5_000, 50, 950),
            (10_000, 10_000, 0, 0, 200),
            (100_000, 100_000, 0, 0, 1_000),
            (100_000, 50_000, 900, 500, 1_000),
        ] {
            let spread = Spread { rows, over: SECOND, began: Instant::now() };
            assert_eq!((spread.due(left) - spread.began).as_millis(), due, "{rows}, {left}");
            tokio::time::advance(Duration::from_millis(passed)).await;
            assert_eq!(spread.now(left), now, "{rows}, {left} left after {passed} ms");
        }
        assert!(began.elapsed() > SECOND, "time has passed");
        assert_eq!(Spread::over(SECOND, 0).due(0), Instant::now(), "nothing is due at once");
    }
}
