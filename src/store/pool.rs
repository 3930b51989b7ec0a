//! The pool of connections, and what it takes for them to lead through a pooler.
//!
//! A pooler in transaction mode lends its connections to PostgreSQL for one transaction at a time: what is set, prepared or listened
//! for between two transactions is lost, or found by somebody else. So through a pooler everything is a transaction, which first
//! sets for itself what our own connections are made with, and statements are prepared for one transaction alone. It costs three
//! round trips more a query, and so is done there only.

use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, RecycleResult};
use diesel::{
    ConnectionError, QueryResult,
    connection::CacheSize,
    result::{DatabaseErrorKind, Error as DieselError},
};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod},
};
use futures::FutureExt;
use tokio_postgres::Config;

use super::{
    StoreConfig, StoreError,
    connect::{SERVING_ROLE, connect},
    instance::{ELSEWHERE, Instance, Settled, Settlement},
};

/// A connection, and in which era it began to be made.
pub(super) struct Pooled {
    pub(super) connection: AsyncPgConnection,
    pub(super) era: u64,
}

/// Makes connections, and has a look at those that come back.
pub(super) struct Connections {
    inner: AsyncDieselConnectionManager<AsyncPgConnection>,
    settled: Arc<Settled>,
    is_pooled: bool,
}

pub(super) type Pool = deadpool::managed::Pool<Connections>;
pub(super) type Object = deadpool::managed::Object<Connections>;

pub(super) fn pool(config: &StoreConfig, connection: Config, settled: Arc<Settled>) -> Result<Pool, StoreError> {
    let mut manager = ManagerConfig::default();
    let is_pooled = config.is_pooled();
    // A query on each checkout would cost a third of the throughput; closed connections are noticed all the same.
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |_| {
        let connection = connection.clone();
        async move { if is_pooled { connect_to_pooler(&connection).await } else { connect(&connection).await } }.boxed()
    });
    let inner = AsyncDieselConnectionManager::new_with_config("", manager);
    Pool::builder(Connections { inner, settled, is_pooled })
        .max_size(config.connections)
        .wait_timeout(Some(config.deadline))
        .create_timeout(Some(config.deadline))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Query(error.to_string()))
}

impl Manager for Connections {
    type Type = Pooled;
    type Error = PoolError;

    async fn create(&self) -> Result<Pooled, PoolError> {
        // Before: whatever is settled meanwhile is not what this connection was made for.
        let era = self.settled.borrow().era;
        let mut connection = self.inner.create().await?;
        // One of a pooler leads somewhere else each time, and is looked at each time.
        if !self.is_pooled {
            let instance = Instance::of(&mut connection).await.map_err(PoolError::QueryError)?;
            if !self.settled.borrow().allows(instance) {
                return Err(PoolError::ConnectionError(ConnectionError::BadConnection(ELSEWHERE.to_owned())));
            }
        }
        Ok(Pooled { connection, era })
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<PoolError> {
        self.inner.recycle(&mut pooled.connection, metrics).await
    }
}

/// What is done first on a connection sets its time zone, by statements that are prepared first: in one transaction.
async fn connect_to_pooler(config: &Config) -> Result<AsyncPgConnection, ConnectionError> {
    let (client, mut driver) = super::connect::open(config).await?;
    let lost = |error: tokio_postgres::Error| ConnectionError::BadConnection(super::connect::describe(config, &error));
    tokio::select! {
        begun = client.batch_execute("BEGIN") => begun.map_err(lost)?,
        ended = &mut driver => {
            ended.map_err(lost)?;
            return Err(ConnectionError::BadConnection("the connection was closed".to_owned()));
        }
    }
    let mut connection = AsyncPgConnection::try_from_client_and_connection(client, driver).await?;
    connection.batch_execute("COMMIT").await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(connection)
}

/// What a transaction through a pooler sets for itself.
pub(super) fn settings(config: &StoreConfig, settlement: &Settlement) -> String {
    let timeout = config.deadline.as_millis();
    let guard = settlement.place.map(|place| place.instance.guard()).unwrap_or_default();
    format!(
        "SET LOCAL ROLE {SERVING_ROLE}; SET LOCAL TIME ZONE 'UTC'; SET LOCAL statement_timeout = {timeout}; \
         SET LOCAL lock_timeout = {timeout}; SET LOCAL idle_in_transaction_session_timeout = {timeout}; {guard}"
    )
}

/// Executes statements that come before or after a query of ours.
pub(super) async fn around(connection: &mut AsyncPgConnection, sql: &str) -> QueryResult<()> {
    let Err(error) = connection.batch_execute(sql).await else { return Ok(()) };
    if let DieselError::DatabaseError(_, information) = &error
        && information.message() == "division by zero"
    {
        // As good as a connection that was closed: another one may do better at once.
        return Err(DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, Box::new(ELSEWHERE.to_owned())));
    }
    Err(error)
}
