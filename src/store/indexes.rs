//! Indexes of the audit log's partitions, each built while others read and write: one of the whole log cannot be
//! (<https://www.postgresql.org/docs/current/ddl-partitioning.html>, 5.12.2.2).

use diesel::{QueryResult, QueryableByName, sql_query, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

#[derive(QueryableByName)]
struct Missing {
    #[diesel(sql_type = Text)]
    build: String,
    #[diesel(sql_type = Text)]
    attach: String,
}

/// For every index of the log and every partition that has none like it: how to build that one, and how to make it a part of the former.
const MISSING: &str = "
    SELECT format('CREATE INDEX CONCURRENTLY IF NOT EXISTS %I ON %I %s', name, partition, of_what) AS build,
        format('ALTER INDEX %I ATTACH PARTITION %I', whole, name) AS attach
    FROM (
        SELECT replace(index.relname, 'audit_logs', partition.relname) AS name, partition.relname AS partition, index.relname AS whole,
            substring(pg_get_indexdef(index.oid) FROM ' (USING .*)$') AS of_what
        FROM pg_index
        JOIN pg_class index ON index.oid = indexrelid AND index.relkind = 'I'
        JOIN pg_inherits ON inhparent = indrelid
        JOIN pg_class partition ON partition.oid = inhrelid
        WHERE indrelid = 'audit_logs'::regclass AND NOT EXISTS (
            SELECT FROM pg_index own JOIN pg_inherits part ON part.inhrelid = own.indexrelid
            WHERE own.indrelid = partition.oid AND part.inhparent = index.oid
        )
    ) AS missing
    ORDER BY whole, partition";

/// Builds what is missing. A log of many millions of entries takes minutes; nobody waits for it but whoever called.
///
/// # Errors
/// What PostgreSQL says. What was built stays; the rest is built the next time.
pub(super) async fn complete(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    let missing: Vec<Missing> = sql_query(MISSING).load(connection).await?;
    if missing.is_empty() {
        return Ok(());
    }
    // One that was broken off bears the name that the next one needs.
    drop_broken(connection).await?;
    for Missing { build, attach } in missing {
        sql_query(build).execute(connection).await?;
        sql_query(attach).execute(connection).await?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Broken {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Removes indexes that were to be built while others go on, and were broken off: they are good for nothing, and in the way of the next
/// try.
pub(super) async fn drop_broken(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    let query = "
        SELECT format('%I', relname) AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relkind = 'i' AND relnamespace = current_schema()::regnamespace";
    let broken: Vec<Broken> = sql_query(query).load(connection).await?;
    for Broken { name } in broken {
        tracing::warn!(index = name, "an index was broken off, and is built anew");
        sql_query(format!("DROP INDEX CONCURRENTLY {name}")).execute(connection).await?;
    }
    Ok(())
}
