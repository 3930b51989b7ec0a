//! The embedded PostgreSQL: started or adopted, connected to, stopped.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::access::Access;
use super::account::Account;
use super::blocking;
use super::bootstrap::bootstrap;
use super::config::{ClusterConfig, DATABASE, Role};
use super::connect::{Wait, await_database, await_ready, connection_string};
use super::data_directory::DataDirectory;
use super::error::{EmbeddedError, describe};
use super::initialize::initialize;
use super::installation::Installation;
use super::layout::Layout;
use super::lock::DataDirectoryLock;
use super::log_tail;
use super::postmaster::{Found, Postmaster, await_stragglers, clear_traces};
use super::process::Process;
use super::{settings, socket_directory};

/// How often a start is tried again: a postmaster may end, or turn up, at any moment of it.
const ATTEMPTS: u32 = 3;

/// How long a postmaster may take to write its ID into the file that it has made for it, and how often that is looked at.
const INTRODUCTION: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(2);

/// How PostgreSQL came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It was started.
    Started,
    /// It was running already, left by a process that has ended.
    Adopted,
}

/// How PostgreSQL came to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It shut down in good order.
    Fast,
    /// It did not in time, and was ended at once: its next start recovers.
    Immediate,
    /// It did not run.
    NotRunning,
}

/// The PostgreSQL of one data directory. It outlives this value and this process until it is stopped.
#[derive(Debug)]
pub struct Cluster {
    directory: DataDirectory,
    config: ClusterConfig,
    account: Account,
    access: Access,
    layout: Layout,
    /// Where the socket is: of the running postmaster if it is known, else where it would go.
    socket_directory: StdMutex<PathBuf>,
    /// The postmaster, if it is a child of ours that has not been collected; held while starting and stopping.
    child: Mutex<Option<Child>>,
}

impl Cluster {
    /// Describes the cluster of this data directory. Nothing is made or started yet.
    ///
    /// # Errors
    ///
    /// An account does not exist or may not run PostgreSQL, or an option may not be set.
    pub fn open(directory: &DataDirectory, config: ClusterConfig) -> Result<Self, EmbeddedError> {
        settings::check(&config)?;
        let current = Account::current()?;
        let account = if current.uid().is_root() { Account::named(&config.postgres_account)? } else { current.clone() };
        if account.uid().is_root() {
            return Err(EmbeddedError::RootAccount);
        }
        let access = Access::new(&current, &account, &config.accounts)?;
        let layout = Layout::new(directory, account.clone());
        let socket_directory = StdMutex::new(socket_directory::choose(directory));
        let directory = directory.clone();
        Ok(Self { directory, config, account, access, layout, socket_directory, child: Mutex::new(None) })
    }

    /// Makes the cluster if there is none, starts it or adopts it if it runs, and makes roles and database where they are
    /// missing. Afterwards it takes connections. May be called again at any time, and starts PostgreSQL again if it has
    /// ended meanwhile.
    ///
    /// If the returned future is dropped, PostgreSQL may be left starting; the next call adopts it.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, its major version does not suit the data, it ended or was not ready in time (with the
    /// last lines of its log), the disk is full, or something is not permitted.
    pub async fn ensure_running(&self, lock: &DataDirectoryLock) -> Result<Start, EmbeddedError> {
        lock.guards(&self.directory)?;
        let mut child = self.child.lock().await;
        let (layout, access) = (self.layout.clone(), self.access.clone());
        let rules_changed = blocking(move || {
            layout.prepare()?;
            access.write(&layout)
        })
        .await?;
        let mut ended = None;
        for _ in 0..ATTEMPTS {
            collect(&mut child);
            if let Some(postmaster) = self.find().await? {
                if rules_changed {
                    self.signal(&postmaster, Signal::HUP)?;
                }
                if self.adopt(&postmaster).await? {
                    return Ok(Start::Adopted);
                }
                continue;
            }
            if let Some(status) = ended {
                return Err(self.start_failed(status));
            }
            let postmaster = self.spawn(&mut child).await?;
            match self.await_ready(&postmaster, self.chosen_socket_directory()).await? {
                // What answers may be another one, left by a starter that was killed a moment ago; ours then gives way.
                Some(client) if self.postmaster_pid().await? == Some(postmaster.process.pid()) => {
                    bootstrap(&client, &self.socket_directory()).await?;
                    return Ok(Start::Started);
                }
                Some(_) => {}
                None => ended = Some(collect(&mut child)),
            }
        }
        Err(self.start_failed(ended.flatten()))
    }

    /// Waits until the PostgreSQL that another process runs here answers, for at most `wait`: for a command that works
    /// beside a running server.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NotAnswering`] if it does not.
    pub async fn attach(&self, wait: Duration) -> Result<(), EmbeddedError> {
        let socket_directory = || Postmaster::find(&self.layout).ok()?.living()?.socket_directory;
        match await_database(socket_directory, DATABASE, wait).await {
            Ok(found) => {
                self.set_socket_directory(found);
                Ok(())
            }
            Err(why) => {
                let path = self.directory.path().to_path_buf();
                Err(EmbeddedError::NotAnswering { path, waited: wait.as_secs(), why })
            }
        }
    }

    /// Stops PostgreSQL, in good order if that does not take too long, and leaves neither process nor socket.
    ///
    /// # Errors
    ///
    /// It may not be signalled (this process has given up root), or it did not stop.
    pub async fn stop(&self, lock: &DataDirectoryLock) -> Result<Stop, EmbeddedError> {
        lock.guards(&self.directory)?;
        let mut child = self.child.lock().await;
        collect(&mut child);
        let Some(postmaster) = self.find().await? else {
            clear_traces(&self.layout, &self.socket_directory()).await?;
            return Ok(Stop::NotRunning);
        };
        let fast = postmaster.stop(&self.layout, self.account.name(), self.config.stop_deadline).await?;
        collect(&mut child);
        await_stragglers(&self.layout).await?;
        let socket_directory = postmaster.socket_directory.unwrap_or_else(|| self.socket_directory());
        socket_directory::remove_sockets(&socket_directory)?;
        socket_directory::remove_outside(&socket_directory, &self.layout)?;
        Ok(if fast { Stop::Fast } else { Stop::Immediate })
    }

    /// How to connect to Latchkey's database: a string of keywords and values that libpq and tokio-postgres understand.
    #[must_use]
    pub fn connection(&self, role: Role) -> String {
        self.connection_to(role, DATABASE)
    }

    /// How to connect to another database of this cluster, such as one of a test suite's.
    #[must_use]
    pub fn connection_to(&self, role: Role, database: &str) -> String {
        connection_string(&self.socket_directory(), role, database)
    }

    /// The process ID of the postmaster, or None if it does not run.
    ///
    /// # Errors
    ///
    /// PostgreSQL's note of it cannot be read.
    pub async fn postmaster_pid(&self) -> Result<Option<i32>, EmbeddedError> {
        Ok(self.find().await?.map(|postmaster| postmaster.process.pid()))
    }

    /// The directory of PostgreSQL's log.
    #[must_use]
    pub fn log_directory(&self) -> PathBuf {
        self.layout.log()
    }

    /// Waits for a postmaster that was running already; false if it ended, or had to be ended because nobody can reach it.
    async fn adopt(&self, postmaster: &Postmaster) -> Result<bool, EmbeddedError> {
        let socket_directory = postmaster.socket_directory.clone().unwrap_or_else(|| self.chosen_socket_directory());
        let Some(client) = self.await_ready(postmaster, socket_directory).await? else { return Ok(false) };
        bootstrap(&client, &self.socket_directory()).await?;
        Ok(true)
    }

    /// The superuser's first connection; None if the postmaster has ended.
    async fn await_ready(
        &self,
        postmaster: &Postmaster,
        socket_directory: PathBuf,
    ) -> Result<Option<Client>, EmbeddedError> {
        let within = self.config.start_deadline;
        let failed = EmbeddedError::io("wait for the postmaster of", self.directory.path());
        let says_ready = || {
            Postmaster::find(&self.layout).is_ok_and(|found| found.living().is_some_and(|postmaster| postmaster.ready))
        };
        let wait = tokio::select! {
            ended = postmaster.process.ended(within) => {
                if ended.map_err(failed)? { return Ok(None) }
                Wait::Late
            }
            wait = await_ready(socket_directory.clone(), within, says_ready) => wait?,
        };
        match wait {
            Wait::Ready(client) => {
                self.set_socket_directory(socket_directory);
                Ok(Some(client))
            }
            Wait::Lost => {
                postmaster.stop(&self.layout, self.account.name(), self.config.stop_deadline).await?;
                Ok(None)
            }
            Wait::Late => Err(EmbeddedError::StartTimeout {
                pid: postmaster.process.pid(),
                waited: within.as_secs(),
                log: log_tail::of_postgres(&self.layout),
            }),
        }
    }

    /// Starts the postmaster as a child of ours; making the cluster first if there is none.
    async fn spawn(&self, child: &mut Option<Child>) -> Result<Postmaster, EmbeddedError> {
        let (layout, programs) = (self.layout.clone(), self.config.programs.clone());
        let account = self.account.clone();
        let installation = {
            let (layout, account) = (layout.clone(), account.clone());
            blocking(move || Installation::choose(&layout, programs.as_deref(), &account)).await?
        };
        initialize(&layout, &account, &installation, settings::is_durable(&self.config)).await?;
        let socket_directory = self.chosen_socket_directory();
        clear_traces(&layout, &socket_directory).await?;
        let guests = self.access.guests().to_vec();
        let arguments = settings::arguments(&layout, &socket_directory, &self.config);
        let started = blocking(move || {
            socket_directory::prepare(&socket_directory, &layout, &guests)?;
            let log = layout.create_log(&layout.start_log())?;
            log_tail::remove_old(&layout)?;
            account.spawn(&installation.program("postgres"), &arguments, layout.root(), log)
        })
        .await?;
        let pid = i32::try_from(started.id()).expect("Linux's process IDs fit in 22 bits");
        *child = Some(started);
        // A child that has not been collected can be opened even if it has already ended.
        let process =
            Process::open(pid).map_err(EmbeddedError::io("watch the postmaster of", self.directory.path()))?;
        let process = process.ok_or_else(|| self.start_failed(None))?;
        Ok(Postmaster { process, socket_directory: None, ready: false })
    }

    fn start_failed(&self, status: Option<ExitStatus>) -> EmbeddedError {
        let log = log_tail::of_postgres(&self.layout);
        if log_tail::says_disk_full(&log) {
            return EmbeddedError::DiskFull { path: self.directory.path().to_path_buf(), output: log };
        }
        EmbeddedError::StartFailed { status: describe(status), log }
    }

    fn signal(&self, postmaster: &Postmaster, signal: Signal) -> Result<(), EmbeddedError> {
        let (pid, account) = (postmaster.process.pid(), self.account.name().to_owned());
        postmaster.process.signal(signal).map_err(|source| EmbeddedError::Signal { pid, account, source })
    }

    async fn find(&self) -> Result<Option<Postmaster>, EmbeddedError> {
        let deadline = Instant::now() + INTRODUCTION;
        loop {
            let layout = self.layout.clone();
            match blocking(move || Postmaster::find(&layout)).await? {
                Found::Living(postmaster) => return Ok(Some(postmaster)),
                Found::Beginning if Instant::now() < deadline => sleep(RETRY).await,
                Found::Beginning | Found::Nothing => return Ok(None),
            }
        }
    }

    fn chosen_socket_directory(&self) -> PathBuf {
        socket_directory::choose(&self.directory)
    }

    fn socket_directory(&self) -> PathBuf {
        self.socket_directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_socket_directory(&self, path: PathBuf) {
        *self.socket_directory.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }
}

/// Collects the child if it has ended, so that it does not stay a zombie; says how it ended.
fn collect(child: &mut Option<Child>) -> Option<ExitStatus> {
    let status = child.as_mut()?.try_wait().ok().flatten()?;
    *child = None;
    Some(status)
}
