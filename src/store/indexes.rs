//! Indexes of tables that may be large, which lists need and nothing else does: without one of them a list is slow, and nothing is wrong. So
//! they are no migrations, which everybody waits for: they are built beside, while others read and write.
//!
//! One of a partitioned table cannot be built so: it is made of the whole table only, which takes no time, each partition's is built, and
//! becomes a part of it. Whatever partition is made afterwards comes with one
//! (<https://www.postgresql.org/docs/current/ddl-partitioning.html>, 5.12.2.2).

use diesel::{
    OptionalExtension, QueryResult, QueryableByName, sql_query,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{StoreConfig, StoreError, connect};

/// Names the advisory lock of who builds: "latchidx" in ASCII.
const LOCK: i64 = 0x6c61_7463_6869_6478;

/// Of tokens that have expired, by when they did, and of those that were revoked: one may have thousands, of which a page shows 25.
const PLAIN: [(&str, &str); 2] = [
    (
        "personal_access_tokens_by_end",
        "personal_access_tokens (principal_id, expires_at DESC, id DESC) WHERE revoked_at IS NULL",
    ),
    (
        "personal_access_tokens_by_revocation",
        "personal_access_tokens (principal_id, revoked_at DESC, id DESC) WHERE revoked_at IS NOT NULL",
    ),
];

/// Of what was done to one kind of thing, or by one kind of principal, of which there may be nothing among millions of entries.
const PARTITIONED: [(&str, &str); 2] = [
    ("audit_logs_of_subject_type", "(organization_id, subject_type, created_at DESC, id DESC)"),
    ("audit_logs_of_actor_kind", "(organization_id, actor_kind, created_at DESC, id DESC)"),
];

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    is_so: bool,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Builds what is missing, as the owner of the tables. False if somebody else does it at this moment. With many millions of rows it takes
/// minutes; it waits for transactions that are longer than that, and nobody waits for it.
///
/// # Errors
/// [`StoreError`]. What was built stays; the rest is built the next time.
pub async fn build_indexes(config: &StoreConfig) -> Result<bool, StoreError> {
    let mut owning = config.owning();
    // Whatever limits the owner's sessions have otherwise: what is broken off is begun anew each time.
    let options = format!("{} -c statement_timeout=0 -c lock_timeout=0", owning.get_options().unwrap_or_default());
    owning.options(options.trim());
    let unavailable = |detail: String| StoreError::Unavailable(detail);
    let mut connection = tokio::time::timeout(config.migration_patience, connect::connect(&owning))
        .await
        .map_err(|_| unavailable(format!("no answer within {:?}", config.migration_patience)))?
        .map_err(|error| unavailable(error.to_string()))?;
    // The same of one that PostgreSQL has from 17 on, and refuses to be told of before.
    sql_query("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'")
        .execute(&mut connection)
        .await?;
    // The lock goes with the connection.
    let query = "SELECT pg_try_advisory_lock($1) AS is_so";
    let Answer { is_so: is_held } = sql_query(query).bind::<BigInt, _>(LOCK).get_result(&mut connection).await?;
    // One that cannot be built keeps no other from it.
    let mut built = Ok(());
    if is_held {
        for (name, of_what) in PLAIN {
            built = built.and(build(&mut connection, name, of_what).await);
        }
        for (name, of_what) in PARTITIONED {
            built = built.and(build_partitioned(&mut connection, name, of_what).await);
        }
    }
    Ok(built.map(|()| is_held)?)
}

/// Whether there is an index of that name, and if so, whether it is good for anything.
async fn is_valid(connection: &mut AsyncPgConnection, name: &str) -> QueryResult<Option<bool>> {
    let query = "SELECT indisvalid AS is_so FROM pg_index WHERE indexrelid = to_regclass(quote_ident($1))";
    let found: Option<Answer> = sql_query(query).bind::<Text, _>(name).get_result(connection).await.optional()?;
    Ok(found.map(|found| found.is_so))
}

/// Builds one that is not there, and anew one that was broken off, which is good for nothing and in the way.
async fn build(connection: &mut AsyncPgConnection, name: &str, of_what: &str) -> QueryResult<()> {
    match is_valid(connection, name).await? {
        Some(true) => return Ok(()),
        Some(false) => {
            tracing::warn!(index = name, "an index was broken off, and is built anew");
            sql_query(format!("DROP INDEX CONCURRENTLY {name}")).execute(connection).await?;
        }
        None => {}
    }
    sql_query(format!("CREATE INDEX CONCURRENTLY {name} ON {of_what}")).execute(connection).await?;
    Ok(())
}

async fn build_partitioned(connection: &mut AsyncPgConnection, name: &str, columns: &str) -> QueryResult<()> {
    if is_valid(connection, name).await?.is_none() {
        in_an_instant(connection, &format!("CREATE INDEX {name} ON ONLY audit_logs {columns}")).await?;
    }
    let query = "
        SELECT relname::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'audit_logs'::regclass AND NOT EXISTS (
            SELECT FROM pg_index own JOIN pg_inherits part ON part.inhrelid = own.indexrelid
            WHERE own.indrelid = pg_class.oid AND part.inhparent = to_regclass(quote_ident($1))
        )
        ORDER BY 1";
    let without: Vec<Name> = sql_query(query).bind::<Text, _>(name).load(connection).await?;
    for Name { name: partition } in without {
        // Partitions are named by our own functions: nothing would need quoting.
        let own = name.replace("audit_logs", &partition);
        build(connection, &own, &format!("{partition} {columns}")).await?;
        in_an_instant(connection, &format!("ALTER INDEX {name} ATTACH PARTITION {own}")).await?;
    }
    Ok(())
}

/// What takes no time once it has its locks, and whoever writes waits behind it until then: rather later than that.
async fn in_an_instant(connection: &mut AsyncPgConnection, statement: &str) -> QueryResult<()> {
    sql_query("SET lock_timeout = '1s'").execute(connection).await?;
    let done = sql_query(statement).execute(connection).await;
    sql_query("SET lock_timeout = 0").execute(connection).await?;
    done.map(drop)
}
