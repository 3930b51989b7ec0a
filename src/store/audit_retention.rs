//! Dropping what the audit log has kept for long enough: whole months, by the owner of the tables alone.

use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Date as SqlDate, Text},
};
use diesel_async::RunQueryDsl;
use time::Date;

use super::{Store, StoreError, audit, writing};
use crate::domain::audit::AuditEvent;

/// What was dropped of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditDrop {
    /// The months, oldest first, as `2026-09`.
    pub months: Vec<String>,
    /// Entries of months that have no partition of their own.
    pub others: usize,
}

#[derive(QueryableByName)]
struct Partition {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    month: String,
}

#[derive(QueryableByName)]
struct Months {
    #[diesel(sql_type = BigInt)]
    ahead: i64,
}

impl Store {
    /// Drops every month before the one that begins with `before` (UTC), and logs it. None if `before` is in the future:
    /// what is logged today stays.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Unavailable`] when the log is in use for too long: nobody who writes to it is to wait
    /// behind this.
    pub async fn audit_drop(&self, before: Date, event: &AuditEvent) -> Result<Option<AuditDrop>, StoreError> {
        writing!(self, async |connection| -> Result<Option<AuditDrop>, StoreError> {
            sql_query("SET LOCAL lock_timeout = '1s'").execute(connection).await?;
            let Months { ahead } = sql_query("SELECT ($1 > (now() AT TIME ZONE 'UTC')::date)::int::bigint AS ahead")
                .bind::<SqlDate, _>(before)
                .get_result(connection)
                .await?;
            if ahead > 0 {
                return Ok(None);
            }
            let partitions: Vec<Partition> = sql_query(
                "SELECT c.relname::text AS name, replace(right(c.relname, 7), '_', '-') AS month
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'audit_logs'::regclass AND c.relname ~ '^audit_logs_[0-9]{4}_[0-9]{2}$'
                     AND to_date(right(c.relname, 7), 'YYYY_MM') < $1
                 ORDER BY 1",
            )
            .bind::<SqlDate, _>(before)
            .load(connection)
            .await?;
            let others =
                sql_query("DELETE FROM audit_logs_default WHERE created_at < ($1::timestamp AT TIME ZONE 'UTC')")
                    .bind::<SqlDate, _>(before)
                    .execute(connection)
                    .await?;
            audit::insert(connection, event).await?;
            // Last: from the first of these on, everybody who writes to the log waits for the commit.
            for Partition { name, .. } in &partitions {
                // The pattern above leaves nothing that would need quoting.
                sql_query(format!("DROP TABLE {name}")).execute(connection).await?;
            }
            Ok(Some(AuditDrop { months: partitions.into_iter().map(|partition| partition.month).collect(), others }))
        })
    }
}
