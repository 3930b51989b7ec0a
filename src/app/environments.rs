//! What environments run on.

use std::{
    fs,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AppError, Database};
use crate::{
    config::Config,
    domain::{
        exec::Operations,
        ids::{OrganizationId, RunnerId},
    },
    embedded::{Account as SystemAccount, DataDirectory},
    environments::{
        egress,
        reconciler::Reconciler,
        runner::{
            Runner,
            local::{Account, LocalConfig, LocalRunner},
        },
    },
    service::default_classes,
    store::Store,
};

/// What sandboxes run as when the server is started as root.
const SANDBOX_ACCOUNT: &str = "latchkey-env";
/// The longest that a clone may take.
const CLONE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Brings up the local runner, if there is to be one, and the reconciler that looks after it.
pub(super) async fn start(
    config: &Config,
    database: &Database,
    organization: OrganizationId,
    store: &Store,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Option<(RunnerId, Arc<dyn Operations>)>, AppError> {
    if !config.local_runner {
        return Ok(None);
    }
    let directory =
        database.directory().ok_or_else(|| AppError::Runner("name a data directory with --data-dir".to_owned()))?;
    let failed = |error: &dyn std::error::Error| AppError::Runner(error.to_string());
    let local = LocalConfig {
        data_dir: directory.path().to_owned(),
        account: sandbox_account()?,
        server: None,
        binary: std::env::current_exe().map_err(|error| failed(&error))?,
        git_config: config.git_config.clone(),
        own_addresses: vec![config.listen.ip()],
        clone_timeout: CLONE_TIMEOUT,
        egress: egress::Limits::default(),
    };
    // First of all: it also says that the directory is Latchkey's, whenever the server is ended from here on.
    let runner_id = runner_id(directory)?;
    let runner = Arc::new(LocalRunner::open(local).await.map_err(|error| failed(&error))?);
    let left = runner.environments().await.map_err(|error| failed(&error))?;
    let is_known = store.runner_known(runner_id).await?;
    if !is_known && !left.is_empty() {
        // Removing what the database does not know would remove everything.
        return Err(AppError::Runner(format!(
            "{} holds {} environments of the runner {runner_id}, which this database does not know; use the database that they \
             were made with, or another data directory",
            directory.path().display(),
            left.len()
        )));
    }
    store.runner_ensure(runner_id, organization, "local", &default_classes()).await?;
    let reconciler = Reconciler::new(runner_id, organization, store.clone(), Arc::clone(&runner) as _);
    tasks.spawn(reconciler.run(stop.clone()));
    Ok(Some((runner_id, runner)))
}

fn sandbox_account() -> Result<Option<Account>, AppError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let account = SystemAccount::named(SANDBOX_ACCOUNT).map_err(|_| {
        AppError::Runner(format!(
            "started as root, Latchkey runs environments as the account {SANDBOX_ACCOUNT}, which does not exist; make it \
             with 'useradd --system --no-create-home --shell /usr/sbin/nologin {SANDBOX_ACCOUNT}'"
        ))
    })?;
    Ok(Some(Account { uid: account.uid().as_raw(), gid: account.gid().as_raw() }))
}

/// The runner's ID, drawn at the first start and kept in the data directory.
fn runner_id(directory: &DataDirectory) -> Result<RunnerId, AppError> {
    let path = directory.runner_id();
    let failed = |error: io::Error| AppError::Runner(format!("{}: {error}", path.display()));
    if !path.exists() {
        let mut file = NamedTempFile::new_in(directory.path()).map_err(failed)?;
        writeln!(file, "{}", RunnerId::generate()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            // Of two servers that start at once one will not stay; it must not leave its ID to the other's environments.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.error)),
        }
    }
    fs::read_to_string(&path).map_err(failed)?.trim().parse().map_err(|_| {
        AppError::Runner(format!("{} does not hold a runner's ID; bring it back from a backup", path.display()))
    })
}
