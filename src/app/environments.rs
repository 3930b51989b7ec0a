//! What environments run on.

use std::{
    fs,
    io::{self, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use tempfile::NamedTempFile;

use super::{AppError, Database, background::Background};
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
        runner::local::{self, Account, LocalConfig, LocalRunner, Prepared, Setting},
    },
    service::default_classes,
    store::Store,
};

/// What sandboxes run as when the server is started as root.
const SANDBOX_ACCOUNT: &str = "latchkey-env";
/// What the server runs as when it is started as root.
pub(super) const SERVER_ACCOUNT: &str = "latchkey";

/// A machine that is ready for the environments of a runner.
pub(super) struct Ready {
    pub(super) id: RunnerId,
    pub(super) machine: Machine,
}

/// By whose rights sandboxes are started.
pub(super) enum Machine {
    /// This process's own.
    Own(Prepared),
    /// Those of the process that started this one.
    Monitor { setting: Setting, socket: OwnedFd, lock: OwnedFd },
}

/// Sees to it that there is room for PostgreSQL and the server to come up, as far as an earlier server has kept some.
pub(super) fn make_way(config: &Config) {
    if !config.local_runner {
        return;
    }
    let given = config.data.data_dir.clone().or_else(|| DataDirectory::default_path().ok());
    if let Some(directory) = given {
        local::make_way(&directory, config.free_space_reserve);
    }
}

/// Makes this machine ready for environments, if they are to run here.
pub(super) async fn prepare(
    config: &Config,
    database: &Database,
    organization: OrganizationId,
    store: &Store,
) -> Result<Option<Ready>, AppError> {
    if !config.local_runner {
        return Ok(None);
    }
    let directory =
        database.directory().ok_or_else(|| AppError::Runner("name a data directory with --data-dir".to_owned()))?;
    let local = LocalConfig {
        data_dir: directory.path().to_owned(),
        account: account(SANDBOX_ACCOUNT, "environments")?,
        server: account(SERVER_ACCOUNT, "the server")?,
        binary: std::env::current_exe().map_err(|error| failed(&error))?,
        git_config: config.git_config.clone(),
        own_addresses: vec![config.listen.ip()],
        clone_timeout: config.limits.clone_timeout,
        clone_silence: config.limits.clone_silence,
        egress: egress::Limits::default(),
        free_space_reserve: config.free_space_reserve,
    };
    // First of all: it also says that the directory is Latchkey's, whenever the server is ended from here on.
    let id = runner_id(directory)?;
    let machine = Prepared::new(local).await.map_err(|error| failed(&error))?;
    let left = machine.environments().map_err(|error| failed(&error))?;
    let is_known = store.runner_known(id).await?;
    if !is_known && !left.is_empty() {
        // Removing what the database does not know would remove everything.
        return Err(AppError::Runner(format!(
            "{} holds {} environments of the runner {id}, which this database does not know; use the database that they \
             were made with, or another data directory",
            directory.path().display(),
            left.len()
        )));
    }
    store.runner_ensure(id, organization, "local", &default_classes()).await?;
    Ok(Some(Ready { id, machine: Machine::Own(machine) }))
}

/// Brings up the local runner, if there is to be one, and the reconciler that looks after it.
pub(super) async fn start(
    ready: Option<Ready>,
    organization: OrganizationId,
    store: &Store,
    background: &mut Background,
) -> Result<Option<(RunnerId, Arc<dyn Operations>)>, AppError> {
    let Some(Ready { id, machine }) = ready else { return Ok(None) };
    let runner = match machine {
        Machine::Own(prepared) => LocalRunner::over(prepared).await,
        Machine::Monitor { setting, socket, lock } => LocalRunner::through(setting, socket, lock).await,
    };
    let runner = Arc::new(runner.map_err(|error| failed(&error))?);
    let reconciler = Reconciler::new(id, organization, store.clone(), Arc::clone(&runner) as _);
    background.spawn(reconciler.run(background.stop()));
    Ok(Some((id, runner)))
}

fn failed(error: &dyn std::error::Error) -> AppError {
    AppError::Runner(error.to_string())
}

/// An account of the system's own, when root starts the server; else none.
pub(super) fn account(name: &str, what: &str) -> Result<Option<Account>, AppError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let account = SystemAccount::named(name).map_err(|_| {
        AppError::Refused(format!(
            "started as root, Latchkey runs {what} as the account {name}, which does not exist; make it with 'useradd \
             --system --no-create-home --shell /usr/sbin/nologin {name}'"
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
