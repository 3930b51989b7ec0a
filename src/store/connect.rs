//! How connections are made.

use std::{fmt, str::FromStr, time::Duration};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket, config::TargetSessionAttrs, tls::NoTlsStream};

use super::{
    DEFAULT_DEADLINE,
    instance::Instance,
    primaries::{self, Place},
};

/// The role whose rights serving connections have, whoever logs in.
pub(super) const SERVING_ROLE: &str = "latchkey_serving";

/// How often PostgreSQL looks whether we still wait for a query's end, in milliseconds: a caller that went away closes the
/// connection, and its query must not go on beside those of the next one.
const CLIENT_CHECK_MS: u32 = 500;

/// Longer than any migration takes whose locks are to be had.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);

/// Where PostgreSQL is, and how it is used.
#[derive(Clone)]
pub struct StoreConfig {
    connection: Config,
    /// Where PostgreSQL itself is, if the other one leads through a pooler.
    direct: Option<Config>,
    /// Connections at the most.
    pub connections: usize,
    /// How long a query, or the wait for a connection, may take.
    pub deadline: Duration,
    /// How long migrations wait while another server migrates.
    pub migration_patience: Duration,
}

/// A database URL that cannot be read. Does not repeat it: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a PostgreSQL connection URL; write postgresql://USER@HOST/DATABASE")]
pub struct InvalidDatabaseUrl;

impl StoreConfig {
    /// Reads a connection URL or `key=value` string, with libpq's names.
    ///
    /// # Errors
    /// [`InvalidDatabaseUrl`]
    pub fn parse(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Ok(Self {
            connection: read(url)?,
            direct: None,
            connections: 16,
            deadline: DEFAULT_DEADLINE,
            migration_patience: MIGRATION_PATIENCE,
        })
    }

    /// The same through a pooler, and where PostgreSQL itself is: there is listened.
    ///
    /// # Errors
    /// [`InvalidDatabaseUrl`]
    pub fn with_direct(self, url: &str) -> Result<Self, InvalidDatabaseUrl> {
        Ok(Self { direct: Some(read(url)?), ..self })
    }

    /// Whether connections lead through a pooler.
    pub(super) const fn is_pooled(&self) -> bool {
        self.direct.is_some()
    }

    /// As the serving role: what it may do, PostgreSQL itself holds it to. Through a pooler each transaction sets that for itself.
    pub(super) fn serving(&self) -> Config {
        if self.is_pooled() { self.connection.clone() } else { self.serving_by(&self.connection) }
    }

    /// The same, for what stays with one connection.
    pub(super) fn listening(&self) -> Config {
        self.serving_by(self.direct.as_ref().unwrap_or(&self.connection))
    }

    /// The same, for each host.
    pub(super) fn listening_hosts(&self) -> Vec<Config> {
        primaries::hosts(&self.listening())
    }

    fn serving_by(&self, connection: &Config) -> Config {
        let mut config = connection.clone();
        let timeout = self.deadline.as_millis();
        let mut options = format!(
            "-c role={SERVING_ROLE} -c statement_timeout={timeout} -c lock_timeout={timeout} \
             -c idle_in_transaction_session_timeout={timeout} -c client_connection_check_interval={CLIENT_CHECK_MS}"
        );
        if let Some(given) = config.get_options() {
            options = format!("{given} {options}");
        }
        config.options(&options);
        config
    }

    /// Who logs in, for people.
    pub(super) fn user(&self) -> &str {
        self.connection.get_user().unwrap_or("who logs in")
    }

    /// As who logs in: the owner, who migrates and administers.
    pub(super) fn owning(&self) -> Config {
        self.connection.clone()
    }
}

fn read(url: &str) -> Result<Config, InvalidDatabaseUrl> {
    let mut connection = Config::from_str(url).map_err(|_| InvalidDatabaseUrl)?;
    if connection.get_hosts().is_empty() {
        return Err(InvalidDatabaseUrl);
    }
    connection
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .connect_timeout(DEFAULT_DEADLINE)
        .keepalives_idle(Duration::from_secs(30))
        .application_name("latchkey");
    Ok(connection)
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreConfig")
            .field("hosts", &self.connection.get_hosts())
            .field("database", &self.connection.get_dbname())
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

pub(super) async fn connect(config: &Config) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = open(config).await?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// The same, and where it leads.
pub(super) async fn connect_somewhere(config: &Config) -> ConnectionResult<(AsyncPgConnection, Place)> {
    let bad = |text: String| ConnectionError::BadConnection(text);
    let (client, mut driver) = open(config).await?;
    if config.get_hosts().len() > 1 {
        let found = primaries::place(&client, &mut driver).await.map_err(|error| bad(describe(config, &error)))?;
        let place = found.ok_or_else(|| bad("the primary is one no more".to_owned()))?;
        return Ok((AsyncPgConnection::try_from_client_and_connection(client, driver).await?, place));
    }
    let mut connection = AsyncPgConnection::try_from_client_and_connection(client, driver).await?;
    let instance = Instance::of(&mut connection).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok((connection, Place { instance, primary: None }))
}

/// A connection that somebody has to drive: to the newest primary, if there are several hosts.
pub(super) async fn open(config: &Config) -> ConnectionResult<(Client, Connection<Socket, NoTlsStream>)> {
    if config.get_hosts().len() > 1 {
        return primaries::open_newest(primaries::hosts(config)).await.map_err(ConnectionError::BadConnection);
    }
    config.connect(NoTls).await.map_err(|error| ConnectionError::BadConnection(describe(config, &error)))
}

/// The error with its causes: `tokio_postgres` says but "db error" by itself. And what to do about who may not serve, and about
/// poolers.
pub(super) fn describe(config: &Config, error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text.contains("permission denied to set role") {
        let user = config.get_user().unwrap_or("USER");
        text = format!(
            "{text}; name a role that may serve with --database-url, or have an administrator run: GRANT {SERVING_ROLE} TO {user}"
        );
    }
    // Of PgBouncer's: settings of a session are nothing that it keeps.
    if text.contains("unsupported startup parameter") {
        text = format!("{text}; this is {POOLER}");
    }
    text
}

/// What to do about it.
pub(super) const POOLER: &str = "most likely a pooler, such as PgBouncer: what is announced (LISTEN) is heard, and tables are migrated, \
    over connections to PostgreSQL itself alone; name where it is with --database-direct-url or LATCHKEY_DATABASE_DIRECT_URL";
