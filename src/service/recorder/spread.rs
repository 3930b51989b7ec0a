//! Statements that are spread over a while.

use std::time::Duration;

use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

/// Rows in a statement: short, since whoever is verified meanwhile waits for PostgreSQL as well.
const FEW: usize = 50;
/// Rows that are written in statements of a few; more than that take a good part of the while anyway, and should take less.
const CALM: usize = 5_000;
/// Rows in a statement beyond that.
const MANY: usize = 1_000;

/// How some rows are written.
pub(super) struct Spread {
    /// Rows in one statement.
    pub(super) rows: usize,
    /// When it is whose turn. Those that come late, since the ones before took longer, come at once.
    turns: Option<Interval>,
}

impl Spread {
    /// So many rows, evenly over a while; many of them as fast as they can be.
    pub(super) fn over(duration: Duration, rows: usize) -> Self {
        if rows > CALM {
            return Self { rows: MANY, turns: None };
        }
        let statements = u32::try_from(rows.div_ceil(FEW)).unwrap_or(u32::MAX);
        Self { rows: FEW, turns: duration.checked_div(statements).map(tokio::time::interval) }
    }

    /// Waits for the next one's turn, which is the first one's at once; with everything at its end, no longer.
    pub(super) async fn turn(&mut self, end: &CancellationToken) {
        if let Some(turns) = &mut self.turns {
            end.run_until_cancelled(turns.tick()).await;
        }
    }
}
