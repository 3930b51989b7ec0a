//! The composition root: `serve.rs` makes everything, `services.rs` what is served, and `layers.rs` says what is put in front of it, in which
//! order.

pub mod admin;
mod answer_body;
mod background;
mod body_deadline;
mod client_secrets;
mod cors;
mod database;
mod descriptors;
mod environments;
mod error;
mod forwarded;
mod gauges;
mod housekeeping;
mod http;
mod layers;
mod listen;
mod operator;
mod pages;
mod paths;
mod prepare;
mod private_file;
mod privileges;
mod readiness;
mod refusal;
mod serve;
mod services;
mod signing_keys;
mod strangers;
mod trace;
#[cfg(test)]
mod trickling;
mod unread;

use std::{future::Future, io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::{
    config::{Config, Traces},
    domain::secret::Secret,
};
use serve::serve;

pub use database::{Database, FIRST_USER};
pub use error::AppError;
pub use layers::in_front;
pub use privileges::SUBCOMMAND as SERVE_PREPARED;
pub use signing_keys::SigningKeyError;

/// Listens where the configuration says.
///
/// # Errors
/// [`AppError::Listen`]
pub async fn listen(config: &Config) -> Result<TcpListener, AppError> {
    bind(config.listen, "--listen").await
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Listen { address, flag, error })
}

/// Serves on a listener until `shutdown` is ready, then ends what is under way in good order. The announcement is announced
/// once requests are answered. Started by root, the server is a process of its own, which is not root: see
/// [`run_prepared`].
///
/// # Errors
/// [`AppError`], before anything is served.
pub async fn run(
    config: Config,
    listener: TcpListener,
    announcement: String,
    announce: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let mut config = config;
    config.limits.connections = descriptors::connections(config.limits.connections);
    let address =
        listener.local_addr().map_err(|error| AppError::Listen { address: config.listen, flag: "--listen", error })?;
    // Before the database is started, so that a taken port is found at once.
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(bind(address, "--metrics-listen").await?),
        None => None,
    };
    environments::make_way(&config);
    let database = Database::open(&config.data).await?;
    let listeners = Listeners { address, api: listener, metrics: metrics_listener };
    let outcome = match prepare::prepare(&config, &database).await {
        Ok(prepared) => {
            let serving = async {
                if rustix::process::geteuid().is_root() {
                    return privileges::serve(config, listeners, &database, prepared, announcement, shutdown).await;
                }
                let announce = |link| announce(&with_link(announcement, link));
                tokio::select! {
                    outcome = serve(config, listeners, prepared, announce, shutdown) => outcome,
                    () = database.keep_running() => Ok(()),
                }
            };
            tokio::select! {
                outcome = serving => outcome,
                // By the owner of the tables, whom a server that root starts is not.
                () = database.build_indexes() => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    let closed = database.close().await;
    outcome.and(closed)
}

/// What another process has prepared for this one to serve.
pub struct Handover(privileges::Taken);

impl Handover {
    /// Takes it, and gives up the rights of root for good: before anything else, while the process has one thread.
    ///
    /// # Errors
    /// What is wrong: nothing that can be mended here.
    pub fn take(number: &str) -> io::Result<Self> {
        privileges::take_over(number).map(Self)
    }

    /// Where traces go.
    #[must_use]
    pub fn traces(&self) -> Option<Traces> {
        self.0.config.traces.clone()
    }
}

/// Serves what another process has prepared: [`run`], for a server that root started.
///
/// # Errors
/// [`AppError`]
pub async fn run_prepared(
    Handover(taken): Handover,
    announce: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let privileges::Taken { config, listeners, prepared, announcement } = taken;
    let listeners = listeners.into_tokio().map_err(|error| AppError::Refused(error.to_string()))?;
    serve(config, listeners, prepared, |link| announce(&with_link(announcement, link)), shutdown).await
}

/// What is announced, with the link by which people sign in, if there is one.
fn with_link(announcement: String, link: Option<Secret>) -> String {
    match link {
        Some(link) => format!(
            "{announcement}\nTo sign in, open this within ten minutes; it can be used once:\n  {}",
            link.expose()
        ),
        None => announcement,
    }
}

struct Listeners {
    address: SocketAddr,
    api: TcpListener,
    metrics: Option<TcpListener>,
}
