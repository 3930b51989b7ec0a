//! Bringing the tables up to date, by one server at a time.

use std::time::Duration;

use diesel::{QueryableByName, sql_query, sql_types::Bool};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{StoreConfig, connect, self_test};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Names the advisory lock that migrating servers take: "latchkey" in ASCII.
const LOCK: i64 = 0x6c61_7463_686b_6579;

/// What PostgreSQL says, in English, to who may not: its codes do not pass through diesel.
const DENIED: [&str; 2] = ["permission denied for", "must be owner of"];

/// Why the tables are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// PostgreSQL does not let us in, or is not there.
    #[error("cannot connect to PostgreSQL: {0}")]
    Connect(String),
    /// Another server has been migrating for too long.
    #[error("another server has been migrating this database for more than {0:?}; look what it waits for")]
    Locked(Duration),
    /// Who connected may not migrate.
    #[error(
        "{user} may not migrate this database ({detail}): name the owner of its tables with --owner-database-url or \
         LATCHKEY_OWNER_DATABASE_URL"
    )]
    Denied {
        /// Who.
        user: String,
        /// What PostgreSQL says.
        detail: String,
    },
    /// The URL leads through a pooler, where another connection may have the lock by now.
    #[error("what is announced is not heard through the URL of the owner: that is {pooler}", pooler = connect::POOLER)]
    Pooler,
    /// A migration failed; those before it stay, it itself is undone.
    #[error("a migration failed: {0}")]
    Failed(String),
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

/// Runs the migrations that are missing, under an advisory lock, as who the URL logs in as (the owner). Returns their
/// names.
///
/// # Errors
/// [`MigrateError`]
pub async fn migrate(config: &StoreConfig) -> Result<Vec<String>, MigrateError> {
    let mut owning = config.owning();
    // A migration that cannot get its locks fails instead of blocking the queries that queue up behind it.
    let options = format!("{} -c lock_timeout=5s", owning.get_options().unwrap_or_default());
    owning.options(options.trim());
    // A PostgreSQL that takes the connection and then says nothing must not hold up a start for ever.
    let mut connection = tokio::time::timeout(config.migration_patience, connect::connect(&owning))
        .await
        .map_err(|_| MigrateError::Connect(format!("no answer within {:?}", config.migration_patience)))?
        .map_err(|error| MigrateError::Connect(error.to_string()))?;
    match self_test::is_direct(config, &mut connection).await {
        Ok(true) => {}
        Ok(false) => return Err(MigrateError::Pooler),
        Err(error) => return Err(MigrateError::Connect(error.to_string())),
    }
    lock(&mut connection, config.migration_patience).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let names = harness
        .run_pending_migrations(MIGRATIONS)
        .map(|versions| versions.iter().map(ToString::to_string).collect())
        .map_err(|error| failed(config, error.to_string()))?;
    // Before anything is written to the log: what is in the default partition stays there. Not worth failing for.
    let mut connection = harness.into_inner();
    if let Err(error) = sql_query("SELECT audit_logs_prepare_partitions()").execute(&mut connection).await {
        tracing::warn!(%error, "the audit log's next partitions cannot be made right now");
    }
    // The lock goes with the connection.
    Ok(names)
}

fn failed(config: &StoreConfig, detail: String) -> MigrateError {
    if DENIED.iter().any(|words| detail.contains(words)) {
        MigrateError::Denied { user: config.user().to_owned(), detail }
    } else {
        MigrateError::Failed(detail)
    }
}

async fn lock(connection: &mut AsyncPgConnection, patience: Duration) -> Result<(), MigrateError> {
    let wait = async {
        loop {
            let tried: Result<Locked, _> = sql_query("SELECT pg_try_advisory_lock($1) AS locked")
                .bind::<diesel::sql_types::BigInt, _>(LOCK)
                .get_result(connection)
                .await;
            match tried {
                Ok(Locked { locked: true }) => return Ok(()),
                // The holder gives no sign when it lets go.
                Ok(Locked { locked: false }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(MigrateError::Failed(error.to_string())),
            }
        }
    };
    tokio::time::timeout(patience, wait).await.map_err(|_| MigrateError::Locked(patience))?
}
