//! What reaches PostgreSQL, as PostgreSQL counts it.

use std::{ops::Sub, time::Duration};

use tokio_postgres::Client;

/// How long PostgreSQL's processes keep to themselves what they have counted, at the most, once they have nothing to do (10 s, by
/// PGSTAT_IDLE_INTERVAL), and a little more.
const UNTOLD: Duration = Duration::from_secs(11);

/// Since some moment. Two of them make what was between them.
pub(super) struct Queries {
    /// Transactions in Latchkey's database, whoever's.
    pub(super) transactions: i64,
    /// Uses of the index that personal access tokens are looked up by.
    pub(super) lookups: i64,
}

impl Sub for Queries {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { transactions: self.transactions - before.transactions, lookups: self.lookups - before.lookups }
    }
}

/// Waits until all that was done so far is counted.
pub(super) async fn settle() {
    tokio::time::sleep(UNTOLD).await;
}

/// What PostgreSQL does while something goes on, and until all of that is counted. What was done before has to be.
pub(super) async fn during<T>(sql: &Client, something: impl Future<Output = T>) -> (T, Queries) {
    let before = counted(sql).await;
    let outcome = something.await;
    settle().await;
    (outcome, counted(sql).await - before)
}

async fn counted(sql: &Client) -> Queries {
    let counters = "
        SELECT xact_commit + xact_rollback,
               (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'personal_access_tokens_pkey')
        FROM pg_stat_database WHERE datname = current_database()";
    let row = sql.query_one(counters, &[]).await.unwrap();
    Queries { transactions: row.get(0), lookups: row.get(1) }
}
