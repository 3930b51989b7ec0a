//! PostgreSQL: the only place that imports diesel. One file for each aggregate.
//!
//! Every method takes one connection from the pool and is bounded by a deadline on this side of the wire, besides
//! PostgreSQL's own. Reads that meet a closed connection are tried once more on another; writes are not, since their
//! outcome is unknown. Stored times are PostgreSQL's. Locks are taken in one order: principal, login request, session,
//! the organization's environments, environment, token, invitation, audit. Whoever signs in takes a lock for that identity before.

mod audit;
mod audit_retention;
mod columns;
mod connect;
mod credential_changes;
mod credentials;
mod environment_tokens;
mod environments;
mod error;
mod events;
mod identities;
mod indexes;
mod instance;
mod invitations;
mod inviting;
mod keyset;
mod last_used;
mod login_requests;
mod migrations;
mod mint;
mod notifications;
mod organizations;
mod pool;
mod primaries;
mod principal_lists;
mod runners;
mod schema;
mod self_test;
mod servers;
mod sessions;
mod sign_in_attempts;
mod sign_in_links;
mod signing_keys;
mod suspensions;
mod tallies;
mod token_lists;
mod tokens;

use std::{future::Future, sync::Arc, time::Duration};

use diesel_async::AsyncPgConnection;
use tokio::time::Instant;
use tracing::{Instrument, Span, instrument::Instrumented};

use instance::Settled;
use pool::{Object, Pool};

pub use audit_retention::AuditDrop;
pub use connect::{InvalidDatabaseUrl, StoreConfig};
pub use credential_changes::{Beat, CredentialChange, CredentialNotifications};
pub use environments::{EnvironmentChange, EnvironmentCreateError, PhaseWrite};
pub use error::{StoreError, Unsettled};
pub use events::EventNotifications;
pub use identities::{SignIn, SignInOutcome};
pub use indexes::build_indexes;
pub use invitations::{Invitation, Withdrawal};
pub use inviting::{Invited, NewInvitation};
pub use last_used::TokenUse;
pub use login_requests::{LoginCreateError, LoginDecision, LoginRedemption, NewAuthorization};
pub use migrations::{MigrateError, migrate};
pub use mint::MintError;
pub use notifications::{Notification, Notifications};
pub use organizations::{NewServiceAccount, NewUser};
pub use primaries::Place;
pub use runners::NewClass;
pub use self_test::SelfTestError;
pub use servers::RunningServer;
pub use sessions::SessionUse;
pub use sign_in_links::SignInLink;
pub use signing_keys::{KeyState, SigningKeyRecord};
pub use suspensions::Suspension;
pub use tokens::{NewToken, TokenCreateError, TokenDelete, TokenScope, TokenUpdate};

/// Rows of what has ended that are removed in one transaction.
const CLEARED_AT_ONCE: i64 = 5000;

/// PostgreSQL, through a pool of connections of the serving role. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    config: StoreConfig,
    settled: Arc<Settled>,
}

impl Store {
    /// Prepares a pool; connections are made when they are needed.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the pool cannot be built.
    pub fn new(config: StoreConfig) -> Result<Self, StoreError> {
        let connection = config.serving();
        Self::with(config, connection)
    }

    /// The same as who logs in, not as the serving role: for the operator's commands.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the pool cannot be built.
    pub fn owning(config: StoreConfig) -> Result<Self, StoreError> {
        let mut config = config;
        config.deadline = OPERATOR_DEADLINE;
        let connection = config.owning();
        Self::with(config, connection)
    }

    fn with(config: StoreConfig, connection: tokio_postgres::Config) -> Result<Self, StoreError> {
        let settled = Arc::new(Settled::default());
        Ok(Self { pool: pool::pool(&config, connection, Arc::clone(&settled))?, config, settled })
    }

    /// Nobody is given a connection any more that began to be made before now: those that wait are closed, and those in use when
    /// they come back. New ones are made when they are needed.
    pub fn forget_connections(&self) {
        self.settled.send_modify(|settled| settled.era += 1);
        self.pool.retain(|_, _| false);
    }

    /// The same, and new ones lead to this place alone.
    pub fn settle(&self, place: Place) {
        self.settled.send_modify(|settled| settled.place = Some(place));
        self.forget_connections();
    }

    /// Who uses the pool now, and who waits for it.
    #[must_use]
    pub fn usage(&self) -> PoolUsage {
        let status = self.pool.status();
        PoolUsage { open: status.size, idle: status.available, most: status.max_size, waiting: status.waiting }
    }

    /// The end of everything that one call of the store does: it waits no longer, for a connection, an answer and another
    /// try together.
    fn end(&self) -> Instant {
        Instant::now() + self.config.deadline
    }

    async fn connection(&self, end: Instant) -> Result<Object, StoreError> {
        let got = async {
            loop {
                let got = self.pool.get().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
                if got.era == self.settled.borrow().era {
                    return Ok(got);
                }
                drop(Object::take(got));
            }
        };
        self.bounded(end, got).await?
    }

    /// Through a pooler, what comes first in a transaction.
    fn pooled_settings(&self) -> Option<String> {
        self.config.is_pooled().then(|| pool::settings(&self.config, &self.settled.borrow()))
    }

    async fn bounded<T>(&self, end: Instant, work: impl Future<Output = T>) -> Result<T, StoreError> {
        tokio::time::timeout_at(end, work)
            .await
            .map_err(|_| StoreError::Unavailable(format!("no answer within {:?}", self.config.deadline)))
    }
}

/// Work as a part of the trace of the request that it is done for, if it is.
fn traced<F: Future>(work: F) -> Instrumented<F> {
    let span = if Span::current().is_none() { Span::none() } else { tracing::debug_span!("postgresql") };
    work.instrument(span)
}

/// How a pool of connections is used at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// Connections there are.
    pub open: usize,
    /// Of these, those that nobody uses.
    pub idle: usize,
    /// Connections there may be.
    pub most: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// A connection on loan. Unless it is given back, it is closed: a caller that goes away leaves a query under way on it, or
/// an open transaction with its locks.
struct Lease(Option<Object>);

impl Lease {
    const fn new(connection: Object) -> Self {
        Self(Some(connection))
    }

    fn connection(&mut self) -> &mut AsyncPgConnection {
        &mut self.0.as_mut().expect("it is there until it is given back").connection
    }

    fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How long a query of the operator's may take: revocations must get through, however many there are.
const OPERATOR_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// How long a query may take when the configuration does not say.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Runs one query that only reads: bounded, and tried once more if the connection turned out to be closed or its plan
/// stale. A macro, since a closure that borrows the connection cannot yet be said to return a `Send` future.
macro_rules! reading {
    ($store:expr, |$connection:ident| $query:expr) => {{
        let end = $store.end();
        let mut retried = false;
        loop {
            let mut lease = $crate::store::Lease::new($store.connection(end).await?);
            let $connection = lease.connection();
            // A transaction that is open still would be the next one's.
            let is_open = std::sync::atomic::AtomicBool::new(false);
            let asked = async {
                let Some(settings) = $store.pooled_settings() else { return $query.await };
                is_open.store(true, std::sync::atomic::Ordering::Relaxed);
                $crate::store::pool::around($connection, &format!("BEGIN; {settings}")).await?;
                let answer = $query.await;
                let is_well = matches!(answer, Ok(_) | Err(diesel::result::Error::NotFound));
                $crate::store::pool::around($connection, if is_well { "COMMIT" } else { "ROLLBACK" }).await?;
                is_open.store(false, std::sync::atomic::Ordering::Relaxed);
                answer
            };
            let outcome = $store.bounded(end, $crate::store::traced(asked)).await;
            let is_open = is_open.into_inner();
            match outcome {
                Ok(Ok(value)) => {
                    lease.give_back();
                    break Ok::<_, $crate::store::StoreError>(value);
                }
                Ok(Err(error)) if !retried && $crate::store::StoreError::is_stale(&error) => {
                    retried = true;
                    // What ended this connection has most likely ended the others, and there is but one more try.
                    $store.forget_connections();
                }
                Ok(Err(error)) => {
                    if !is_open {
                        lease.give_back();
                    }
                    break Err($crate::store::StoreError::from(error));
                }
                Err(late) => break Err(late),
            }
        }
    }};
}

/// Runs one transaction: bounded, never repeated. What the body returns as an error rolls it back. An error that comes after the
/// body has ended well is one of the commit, which may have happened all the same.
macro_rules! writing {
    ($store:expr, async |$connection:ident| -> Result<$value:ty, $error:ty> $body:block) => {{
        let end = $store.end();
        let mut lease = $crate::store::Lease::new($store.connection(end).await?);
        let is_committing = std::sync::atomic::AtomicBool::new(false);
        let settings = $store.pooled_settings();
        let work = diesel_async::AsyncConnection::transaction(
            lease.connection(),
            async |$connection: &mut diesel_async::AsyncPgConnection| -> Result<$value, $error> {
                if let Some(settings) = settings {
                    $crate::store::pool::around($connection, &settings).await?;
                }
                let done: Result<$value, $error> = async { $body }.await;
                is_committing.store(done.is_ok(), std::sync::atomic::Ordering::Relaxed);
                done
            },
        );
        let outcome = match $store.bounded(end, $crate::store::traced(work)).await {
            Ok(outcome) => outcome,
            Err(late) => Err(<$error>::from(late)),
        };
        // The next one must not find a connection that is good for nothing.
        if !outcome.as_ref().is_err_and($crate::store::error::TransactionError::is_unavailable) {
            lease.give_back();
        }
        outcome.map_err(|error| match is_committing.into_inner() {
            true => $crate::store::error::TransactionError::at_commit(error),
            false => error,
        })
    }};
}

use {reading, writing};
