//! Environments on this machine: a directory for the files, a sandbox for the processes, a supervisor inside.
//!
//! - [`setup`]: what a server needs before its first environment, and the errors that say what is missing;
//! - `lifecycle`: one environment, from its creation to its removal;
//! - `launcher`: starts and ends sandboxes; `hands`: the part of it that needs privileges; `monitor`: between the two, when a
//!   server has given them up;
//! - `reserve`, `guard`, `writing`: what is kept free of the disk, and what is ended for it;
//! - `places`: how much commands may ask of the server at once;
//! - `progress`: how far a clone has come;
//! - `disk`, `measure`, `watch`, `allowance`: what environments fill of the disk, counted now and then, and what follows from it;
//! - `shares`: what the kernel counts for all sandboxes together;
//! - `command_line`, `seccomp`, `cgroups`, `process`, `state`, `git_config`, `outcome`: what these are made of.

use std::{
    collections::HashMap,
    fs::File,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::AbortOnDropHandle;

use super::{Checkout, Failure, Observation, Resources, Runner, RunnerFuture, Started};
use crate::{
    domain::{
        environment::{Content, Progress},
        exec::{Command, CommandOutput, Held, OperationFuture, Operations, OperationsError},
        ids::EnvironmentId,
    },
    environments::{
        egress,
        supervisor::client::{Client, ConnectError},
    },
};

mod allowance;
mod cgroups;
mod command_line;
mod disk;
mod git_config;
mod guard;
mod hands;
mod launcher;
mod lifecycle;
mod measure;
mod monitor;
mod outcome;
mod places;
mod process;
mod progress;
mod reserve;
mod seccomp;
mod setup;
mod shares;
mod state;
mod watch;
mod writing;

pub use git_config::GitConfigError;
pub use reserve::make_way;
pub use setup::SetupError;

use hands::Hands;
use launcher::{Launcher, storage};
use lifecycle::Slot;
use measure::Meter;
use places::Places;
use progress::Position;
use reserve::Reserve;
use state::Directory;

/// The directory of all environments, in the data directory.
const ENVIRONMENTS: &str = "environments";

/// An unprivileged account, for sandboxes alone: nothing else on the machine belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// What a local runner is told.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The server's data directory. Environments are in `environments` below it. Where sandboxes have an account of
    /// their own, that must be able to pass through it (mode 0711).
    pub data_dir: PathBuf,
    /// What sandboxes run as; none for the server's own user, which must not be root.
    pub account: Option<Account>,
    /// What the server runs as once it has given up the rights of root; none for what it runs as now.
    pub server: Option<Account>,
    /// The `latchkey` binary, whose hidden subcommand is the supervisor.
    pub binary: PathBuf,
    /// The operator's Git configuration.
    pub git_config: Option<PathBuf>,
    /// Public addresses of this server that its network interfaces do not have.
    pub own_addresses: Vec<IpAddr>,
    /// The longest that a clone may take.
    pub clone_timeout: Duration,
    /// How long nothing may come of a clone.
    pub clone_silence: Duration,
    /// What one environment may ask of its egress proxy.
    pub egress: egress::Limits,
    /// What is kept free of the disk that environments are on, in bytes; none for a GiB, or a twentieth of a smaller disk.
    pub free_space_reserve: Option<u64>,
}

/// The local runner. Dropping it leaves its environments running: the next one in the same data directory finds them.
/// As long as it lives, no other one gets the data directory.
#[derive(Debug)]
pub struct LocalRunner {
    slots: Arc<Slots>,
    places: Places,
    _watch: AbortOnDropHandle<()>,
    _guard: AbortOnDropHandle<()>,
    _lock: File,
}

/// What is known of its environments.
#[derive(Debug)]
struct Slots {
    shared: Shared,
    known: Mutex<HashMap<EnvironmentId, Entry>>,
}

/// One environment's.
#[derive(Debug, Clone)]
struct Entry {
    slot: Arc<tokio::sync::Mutex<Slot>>,
    meter: Arc<Meter>,
    position: Position,
}

/// What every environment of this runner shares.
#[derive(Debug)]
struct Shared {
    launcher: Launcher,
    reserve: Reserve,
    setting: Setting,
}

impl Shared {
    fn directory(&self, environment: EnvironmentId) -> Directory {
        Directory::new(self.setting.environments.join(environment.to_string()))
    }
}

/// What a runner goes by: it holds no right, and can be told to another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    /// The parent of all environments' directories.
    environments: PathBuf,
    given_urls: git_config::GivenUrls,
    clone_policy: egress::Policy,
    command_policy: egress::Policy,
    egress: egress::Limits,
    clone_timeout: Duration,
    /// What is kept free of the disk, in bytes; none for what seems right.
    free_space_reserve: Option<u64>,
    /// Hosts that commands reach without the proxy.
    no_proxy: String,
    /// The user ID that sandboxes run as.
    owner: u32,
}

/// A machine that is ready for environments, with the rights to start them.
#[derive(Debug)]
pub struct Prepared {
    hands: Arc<Hands>,
    setting: Setting,
    /// Held as long as anybody looks after these environments.
    lock: File,
}

impl Prepared {
    /// Checks that this machine can start sandboxes, and makes what they share.
    ///
    /// # Errors
    /// [`SetupError`] says what is missing and what to do.
    pub async fn new(config: LocalConfig) -> Result<Self, SetupError> {
        setup::prepare(config).await
    }

    /// Every environment of which anything is left.
    ///
    /// # Errors
    /// A [`Failure`] of the directory.
    pub fn environments(&self) -> Result<Vec<EnvironmentId>, Failure> {
        on_disk(&self.setting.environments)
    }

    /// What another process is told that is to look after the environments without the rights of this one, and the two
    /// descriptors that it needs: its end of a socket, and the lock.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn for_another(&self) -> io::Result<(Setting, OwnedFd, OwnedFd, MonitorEnd)> {
        let (theirs, ours) = monitor::pair()?;
        Ok((self.setting.clone(), theirs, self.lock.try_clone()?.into(), MonitorEnd(ours)))
    }

    /// Does what the other process asks for, until it is gone.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn serve(&self, MonitorEnd(socket): &MonitorEnd) -> io::Result<()> {
        monitor::serve(socket.try_clone()?, Arc::clone(&self.hands), self.setting.environments.clone()).await
    }
}

/// The end of the process that has kept its rights.
#[derive(Debug)]
pub struct MonitorEnd(OwnedFd);

impl LocalRunner {
    /// Brings up a runner: checks that this machine can start sandboxes, takes over environments that an earlier server
    /// left running, and ends what that had half done.
    ///
    /// # Errors
    /// [`SetupError`] says what is missing and what to do.
    pub async fn open(config: LocalConfig) -> Result<Self, SetupError> {
        Self::over(setup::prepare(config).await?).await
    }

    /// Brings up a runner on a machine that was prepared.
    ///
    /// # Errors
    /// [`SetupError::Adoption`]
    pub async fn over(Prepared { hands, setting, lock }: Prepared) -> Result<Self, SetupError> {
        Self::begin(Launcher::Own(hands), setting, lock).await
    }

    /// Brings up a runner by the rights of another process, which gave these.
    ///
    /// # Errors
    /// [`SetupError::Adoption`]
    pub async fn through(setting: Setting, socket: OwnedFd, lock: OwnedFd) -> Result<Self, SetupError> {
        let client = monitor::Client::new(socket, setting.owner);
        let launcher = Launcher::Monitor(client.map_err(|error| SetupError::Adoption(error.to_string()))?);
        Self::begin(launcher, setting, lock.into()).await
    }

    async fn begin(launcher: Launcher, setting: Setting, lock: File) -> Result<Self, SetupError> {
        let reserve = Reserve::new(&setting.environments, setting.free_space_reserve)
            .map_err(|error| SetupError::Io { path: setting.environments.clone(), error })?;
        let shared = Shared { launcher, reserve, setting };
        let slots = Arc::new(Slots { shared, known: Mutex::default() });
        for environment in slots.on_disk().map_err(|failure| SetupError::Adoption(failure.to_string()))? {
            // One that cannot be taken over must not keep the others away; observing it says what is wrong.
            if let Err(failure) = slots.slot(environment).await {
                tracing::warn!(%environment, %failure, "an environment could not be taken over");
            }
        }
        let watch = AbortOnDropHandle::new(tokio::spawn(watch::run(Arc::clone(&slots))));
        let guard = AbortOnDropHandle::new(tokio::spawn(guard::run(Arc::clone(&slots))));
        Ok(Self { slots, places: Places::default(), _watch: watch, _guard: guard, _lock: lock })
    }

    async fn client(&self, environment: EnvironmentId) -> Result<Client, OperationsError> {
        let directory = self.slots.shared.directory(environment);
        // What bubblewrap wrote, not what this server knows: whoever is busy with the environment holds that, perhaps for long.
        let unreadable = |error: io::Error| OperationsError::Unreachable(error.to_string());
        let Some(supervisor) = launcher::first_pid(&directory).map_err(unreadable)? else {
            return Err(OperationsError::NotRunning);
        };
        let connected = Client::connect(&directory.run(), self.slots.shared.launcher.owner(), supervisor).await;
        connected.map_err(|error| match error {
            ConnectError::NotRunning => OperationsError::NotRunning,
            ConnectError::NotTheSupervisor(_)
            | ConnectError::Io(_)
            | ConnectError::Protocol(_)
            | ConnectError::TimedOut => OperationsError::Unreachable(error.to_string()),
        })
    }
}

impl Slots {
    fn entry(&self, environment: EnvironmentId) -> Entry {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(environment).or_insert_with(|| {
            let position = Position::default();
            let slot = Slot::new(self.shared.directory(environment), position.clone());
            Entry { slot: Arc::new(tokio::sync::Mutex::new(slot)), meter: Arc::default(), position }
        });
        entry.clone()
    }

    /// The environment's slot, taken over from what is on disk when it is first asked for; for one caller at a time.
    async fn slot(&self, environment: EnvironmentId) -> Result<OwnedMutexGuard<Slot>, Failure> {
        let mut slot = self.entry(environment).slot.lock_owned().await;
        slot.take_over(&self.shared).await?;
        Ok(slot)
    }

    fn on_disk(&self) -> Result<Vec<EnvironmentId>, Failure> {
        on_disk(&self.shared.setting.environments)
    }
}

fn on_disk(environments: &Path) -> Result<Vec<EnvironmentId>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(environments).map_err(storage)? {
        let name = entry.map_err(storage)?.file_name();
        // What is no identifier is what environments share.
        found.extend(name.to_str().and_then(|name| name.parse::<EnvironmentId>().ok()));
    }
    Ok(found)
}

impl Runner for LocalRunner {
    fn create<'a>(
        &'a self,
        environment: EnvironmentId,
        content: &'a Content,
        resources: &'a Resources,
    ) -> RunnerFuture<'a, Checkout> {
        Box::pin(async move {
            let meter = self.slots.entry(environment).meter;
            let _halted = meter.halt().await;
            self.slots.slot(environment).await?.create(&self.slots.shared, content, resources).await
        })
    }

    fn start<'a>(&'a self, environment: EnvironmentId, resources: &'a Resources) -> RunnerFuture<'a, Started> {
        Box::pin(async move { self.slots.slot(environment).await?.start(&self.slots.shared, resources).await })
    }

    fn stop(&self, environment: EnvironmentId) -> RunnerFuture<'_, ()> {
        Box::pin(async move {
            let meter = self.slots.entry(environment).meter;
            let _halted = meter.halt().await;
            self.slots.slot(environment).await?.rest(&self.slots.shared).await
        })
    }

    fn delete(&self, environment: EnvironmentId) -> RunnerFuture<'_, ()> {
        Box::pin(async move {
            let meter = self.slots.entry(environment).meter;
            let _halted = meter.halt().await;
            let mut slot = self.slots.slot(environment).await?;
            slot.delete(&self.slots.shared).await?;
            drop(slot);
            // Whoever waits for it keeps it: there must not be two of one environment.
            let mut known = self.slots.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.get(&environment).is_some_and(|entry| Arc::strong_count(&entry.slot) == 1) {
                known.remove(&environment);
            }
            Ok(())
        })
    }

    fn observe(&self, environment: EnvironmentId) -> RunnerFuture<'_, Observation> {
        Box::pin(async move { Ok(self.slots.slot(environment).await?.observe()) })
    }

    fn environments(&self) -> RunnerFuture<'_, Vec<EnvironmentId>> {
        Box::pin(async move { self.slots.on_disk() })
    }
}

impl Operations for LocalRunner {
    fn exec(&self, environment: EnvironmentId, command: Command) -> OperationFuture<'_, (CommandOutput, Held)> {
        Box::pin(async move {
            let place = self.places.enter(environment)?;
            self.client(environment).await?.exec(command, place.answer()).await
        })
    }

    fn cancel(&self, environment: EnvironmentId, operation_id: String) -> OperationFuture<'_, ()> {
        Box::pin(async move { self.client(environment).await?.cancel(operation_id).await })
    }

    fn progress(&self, environment: EnvironmentId) -> Option<Progress> {
        let known = self.slots.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&environment).and_then(|entry| entry.position.get())
    }
}
