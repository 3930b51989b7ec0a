//! Connections of our own to the cluster, and waiting until it takes them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::config::Role;
use super::error::{EmbeddedError, postgres_message};

/// How often PostgreSQL is tried while it starts. It has no way to tell a stranger that it is ready.
const RETRY: Duration = Duration::from_millis(5);

/// How long accounts that are refused are tried again: after a change of the rules PostgreSQL takes a moment to read them.
const REFUSED: Duration = Duration::from_secs(2);

/// How long a postmaster that says it is ready may be out of reach.
const UNREACHABLE: Duration = Duration::from_secs(2);

/// Why there is no connection, yet or at all.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// There is no socket, or nobody behind it.
    Unreachable(String),
    /// PostgreSQL is there and says that it starts, recovers or shuts down, or the database is not there yet.
    NotYet(String),
    /// PostgreSQL refuses this account or role.
    Refused(EmbeddedError),
}

impl NotConnected {
    /// The reason in words.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Unreachable(why) | Self::NotYet(why) => why.clone(),
            Self::Refused(error) => error.to_string(),
        }
    }
}

/// Where to connect to, in the words of a connection string.
pub(super) fn connection_string(socket_directory: &Path, role: Role, database: &str) -> String {
    format!("host={} port=5432 user={} dbname={}", socket_directory.display(), role.name(), quoted(database))
}

/// A connection of our own; it ends with the client.
pub(super) async fn connect(socket_directory: &Path, role: Role, database: &str) -> Result<Client, NotConnected> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(socket_directory).user(role.name()).dbname(database).application_name("latchkey start");
    match config.connect(NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            Ok(client)
        }
        Err(error) => Err(classify(error)),
    }
}

fn classify(error: tokio_postgres::Error) -> NotConnected {
    let message = postgres_message(&error);
    let Some(code) = error.code() else { return NotConnected::Unreachable(message) };
    let early = [SqlState::CANNOT_CONNECT_NOW, SqlState::TOO_MANY_CONNECTIONS, SqlState::UNDEFINED_DATABASE];
    let gone = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    if early.contains(code) || gone.contains(code) {
        NotConnected::NotYet(message)
    } else {
        NotConnected::Refused(EmbeddedError::refused("let Latchkey connect")(error))
    }
}

/// How waiting for a postmaster ended.
#[derive(Debug)]
pub(super) enum Wait {
    /// It takes connections: the superuser's first one.
    Ready(Client),
    /// Nobody can reach it, although it believes that it is ready.
    Lost,
    /// The deadline has passed.
    Late,
}

/// Waits until PostgreSQL takes a connection. `says_ready` reads whether it believes that it does: if so and there is no
/// way to it (somebody has removed its socket), it is given up.
pub(super) async fn await_ready(
    socket_directory: PathBuf,
    within: Duration,
    says_ready: impl Fn() -> bool,
) -> Result<Wait, EmbeddedError> {
    let deadline = Instant::now() + within;
    let (mut refused_since, mut unreachable_since) = (None, None);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(attempt) = timeout(left, connect(&socket_directory, Role::Superuser, "postgres")).await else {
            return Ok(Wait::Late);
        };
        match attempt {
            Ok(client) => return Ok(Wait::Ready(client)),
            Err(NotConnected::Refused(error)) => {
                if refused_since.get_or_insert_with(Instant::now).elapsed() > REFUSED {
                    return Err(error);
                }
            }
            Err(NotConnected::Unreachable(_)) if says_ready() => {
                if unreachable_since.get_or_insert_with(Instant::now).elapsed() > UNREACHABLE {
                    return Ok(Wait::Lost);
                }
            }
            Err(NotConnected::Unreachable(_) | NotConnected::NotYet(_)) => unreachable_since = None,
        }
        if Instant::now() >= deadline {
            return Ok(Wait::Late);
        }
        sleep(RETRY).await;
    }
}

/// Waits until the database answers the serving role, or says why it does not.
pub(super) async fn await_database(
    socket_directory: impl Fn() -> Option<PathBuf>,
    database: &str,
    within: Duration,
) -> Result<PathBuf, String> {
    let deadline = Instant::now() + within;
    loop {
        let why = match socket_directory() {
            None => "none is running".to_owned(),
            Some(directory) => {
                let left = deadline.saturating_duration_since(Instant::now());
                match timeout(left, connect(&directory, Role::Serving, database)).await {
                    Ok(Ok(_)) => return Ok(directory),
                    Ok(Err(error)) => error.reason(),
                    Err(_) => io::Error::from(io::ErrorKind::TimedOut).to_string(),
                }
            }
        };
        if Instant::now() >= deadline {
            return Err(why);
        }
        sleep(RETRY).await;
    }
}

/// A value of a connection string (libpq's keyword=value form).
fn quoted(value: &str) -> String {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}
