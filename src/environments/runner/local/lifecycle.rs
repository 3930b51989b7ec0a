//! One environment on this machine: what is known of it, and what can be done with it.

use std::{
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use tokio::time::Instant;

use super::{
    Shared,
    allowance::Allowance,
    cgroups::{self, Controller},
    hands::blocking,
    launcher::{Launcher, read_log, storage},
    outcome,
    process::{Identity, Process},
    progress::Position,
    state::{self, Directory, SandboxRecord, State},
};
use crate::{
    domain::environment::{Content, GitSource, GitTarget},
    environments::{
        egress::{Policy, Proxy},
        runner::{Checkout, ContentState, Failure, FailureKind, Observation, Resources, Started},
        supervisor::{
            client::{Client, ConnectError},
            task::{CloneTarget, CloneTask, REPORT_LIMIT, ServeTask, Task, TaskLimits, WipeTask, places},
        },
    },
};

/// How long a supervisor may take to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two tries to reach it; it takes some 20 ms in all.
const READY_INTERVAL: Duration = Duration::from_millis(2);

/// One environment.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) directory: Directory,
    /// Where its clone is, for who asks meanwhile.
    position: Position,
    /// None until what is on disk was taken over.
    known: Option<Known>,
    /// How many states there have been to write.
    states: u64,
    /// Which of them was written last. A write goes on when nobody waits for it any more: it must not come after,
    /// or into, a later one.
    written: Arc<Mutex<u64>>,
}

/// What is known of one environment once it was taken over.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: State,
    /// The sandbox of `state.sandbox`.
    process: Option<Process>,
    /// Its way out.
    egress: Option<Proxy>,
}

impl Slot {
    pub(super) fn new(directory: Directory, position: Position) -> Self {
        Self { directory, position, known: None, states: 0, written: Arc::default() }
    }

    /// Reads what is on disk, once: goes on with a sandbox that takes commands, ends every other one.
    pub(super) async fn take_over(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.known.is_some() {
            return Ok(());
        }
        let mut known = Known { state: self.directory.load().map_err(storage)?, process: None, egress: None };
        shared.launcher.clear(&self.directory.for_measuring()).await?;
        let mut process = None;
        if let Some(record) = &known.state.sandbox {
            process = Process::adopt(&record.identity).map_err(storage)?;
            if record.serves && !record.identity.is_of_this_boot().map_err(storage)? {
                known.state.ended = Some("the machine was restarted; start the environment again".to_owned());
            }
        }
        match (process, &known.state.sandbox) {
            (Some(process), Some(record)) if record.serves => {
                known.process = Some(process);
                known.egress = Some(listen(shared, &self.directory, &shared.setting.command_policy)?);
            }
            (process, _) => {
                // It may live without bubblewrap, which holds the lock.
                if let Some(process) = process {
                    shared.launcher.end(&self.directory, &process).await?;
                }
                shared.launcher.clear(&self.directory).await?;
                known.state.sandbox = None;
            }
        }
        self.known = Some(known);
        Ok(())
    }

    pub(super) fn observe(&mut self) -> Observation {
        let known = self.known();
        let content = match &known.state.content {
            state::Content::Absent => ContentState::Absent,
            state::Content::Incomplete => ContentState::Incomplete,
            state::Content::Ready { checkout, .. } => ContentState::Ready(checkout.clone()),
        };
        Observation {
            content,
            is_running: known.serves(),
            ended: known.state.ended.clone(),
            disk_bytes: known.state.disk.map(|disk| disk.bytes),
        }
    }

    pub(super) async fn create(
        &mut self,
        shared: &Shared,
        content: &Content,
        resources: &Resources,
    ) -> Result<Checkout, Failure> {
        if let state::Content::Ready { checkout, .. } = &self.known().state.content {
            return Ok(checkout.clone());
        }
        if let Some(failure) = shared.reserve.shortage() {
            return Err(failure);
        }
        self.stop(shared).await?;
        shared.launcher.make_directories(&self.directory).await.map_err(storage)?;
        if self.known().state.content == state::Content::Incomplete {
            self.wipe(shared).await?;
        }
        self.known().state.content = state::Content::Incomplete;
        self.save().await?;
        let (checkout, directory) = match content {
            Content::Empty => (Checkout::default(), None),
            Content::Git { source, .. } => {
                let cloned = match self.clone_into(shared, source, resources).await {
                    Ok(checkout) => self.fits(shared, resources).await.map_or(Ok(checkout), Err),
                    Err(failure) => Err(failure),
                };
                let checkout = match cloned {
                    Ok(checkout) => checkout,
                    Err(failure) => {
                        // What came of it is of no use to anybody, and fills the disk.
                        if let Err(failure) = self.empty(shared).await {
                            tracing::warn!(directory = %self.directory.path().display(), %failure, "a clone's remains stay");
                        }
                        return Err(failure);
                    }
                };
                (checkout, Some(source.directory().to_owned()))
            }
        };
        self.known().state.content = state::Content::Ready { checkout: checkout.clone(), directory };
        self.save().await?;
        Ok(checkout)
    }

    async fn clone_into(
        &mut self,
        shared: &Shared,
        source: &GitSource,
        resources: &Resources,
    ) -> Result<Checkout, Failure> {
        let egress = listen(shared, &self.directory, &shared.setting.clone_policy)?;
        let missing = shared.launcher.limit(&self.directory, resources).await.map_err(storage)?;
        let task = Task::Clone(task(source, without_groups(&missing, resources)));
        let (process, told) = shared.launcher.launch_telling(&self.directory, &task, resources).await?;
        let reported = |directory: &Directory| match read_report(directory) {
            Some(report) => outcome::read(source, &report, &egress.refusals(), &shared.setting.given_urls),
            None => Err(outcome::without_report(&egress.refusals()).with_excerpt(&read_log(directory))),
        };
        let Some(process) = process else {
            // A clone that is refused takes no longer than a look at it.
            shared.launcher.clear(&self.directory).await?;
            return reported(&self.directory);
        };
        // Ends with this function, however that ends; or with the next server.
        let process = KillOnDrop { process, launcher: shared.launcher.clone() };
        self.known().state.sandbox = Some(SandboxRecord::of_task(&process.process));
        self.save().await?;
        let over = tokio::select! {
            over = tokio::time::timeout(shared.setting.clone_timeout, process.process.gone()) => Ok(over),
            failure = self.outgrows(shared, resources) => Err(failure),
            never = self.position.follow(told) => match never {},
            failure = shared.reserve.crossed() => Err(failure),
        };
        shared.launcher.end(&self.directory, &process.process).await?;
        self.known().state.sandbox = None;
        // A counting that was under way ends soon by itself: not after it was said that nothing runs any more.
        shared.launcher.clear(&self.directory.for_measuring()).await?;
        match over? {
            Err(_) => {
                let message = format!("the clone took longer than {} s", shared.setting.clone_timeout.as_secs());
                Err(Failure::new(FailureKind::TimedOut, message))
            }
            Ok(Err(error)) => Err(storage(error)),
            Ok(Ok(())) => reported(&self.directory),
        }
    }

    pub(super) async fn start(&mut self, shared: &Shared, resources: &Resources) -> Result<Started, Failure> {
        let state::Content::Ready { directory, .. } = self.known().state.content.clone() else {
            return Err(Failure::new(FailureKind::NotCreated, "the environment has no files yet"));
        };
        if !self.known().serves() {
            if let Some(failure) = shared.reserve.shortage() {
                return Err(failure);
            }
            self.stop(shared).await?;
            let missing = shared.launcher.limit(&self.directory, resources).await.map_err(storage)?;
            let without = without_groups(&missing, resources);
            if self.known().state.disk.is_none() {
                self.measure(shared).await;
            }
            let allowance = Allowance::new(resources.disk_bytes, self.known().state.disk);
            let warnings: Vec<String> = allowance.warning().into_iter().chain(cgroups::warning(&missing)).collect();
            let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
            let working_directory = match directory {
                Some(directory) => format!("{}/{directory}", places::WORKSPACE),
                None => places::WORKSPACE.to_owned(),
            };
            let task = ServeTask {
                working_directory,
                limits: TaskLimits { file_bytes: allowance.file_bytes(), ..without },
                no_proxy: shared.setting.no_proxy.clone(),
            };
            self.known().egress = Some(listen(shared, &self.directory, &shared.setting.command_policy)?);
            let process = shared.launcher.launch(&self.directory, &Task::Serve(task), resources).await?;
            let identity = process.identity().clone();
            let record = SandboxRecord { serves: true, identity, warning, allowance: Some(allowance) };
            self.known().process = Some(process);
            self.known().state.ended = None;
            self.known().state.sandbox = Some(record);
            self.save().await?;
        }
        if let Err(failure) = self.ready(shared).await {
            self.stop(shared).await?;
            return Err(failure);
        }
        let warning = self.known().state.sandbox.as_ref().and_then(|record| record.warning.clone());
        Ok(Started { warning })
    }

    /// Waits until the supervisor takes commands.
    async fn ready(&mut self, shared: &Shared) -> Result<(), Failure> {
        let run = self.directory.run();
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let Some(process) = self.known().process.as_ref().filter(|process| process.is_alive()) else {
                let failure =
                    Failure::new(FailureKind::SandboxFailed, "the supervisor of the environment ended at once");
                return Err(failure.with_excerpt(&read_log(&self.directory)));
            };
            let supervisor = process.identity().pid();
            match Client::connect(&run, shared.launcher.owner(), supervisor).await {
                Ok(_) => return Ok(()),
                Err(ConnectError::NotRunning) if Instant::now() < deadline => {}
                // What an earlier run left in the socket's place, or the socket before it is the supervisor's: the
                // supervisor clears the directory first.
                Err(ConnectError::NotTheSupervisor(_) | ConnectError::Io(_)) if Instant::now() < deadline => {}
                Err(error) => {
                    let failure =
                        Failure::new(FailureKind::SandboxFailed, "the supervisor of the environment does not answer");
                    return Err(failure.with_excerpt(&error.to_string()));
                }
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// Ends what runs, removes what is of no use, and counts the rest.
    pub(super) async fn rest(&mut self, shared: &Shared) -> Result<(), Failure> {
        let has_run = self.known().state.sandbox.is_some();
        self.stop(shared).await?;
        if self.known().state.content == state::Content::Incomplete {
            self.empty(shared).await?;
        } else if has_run {
            self.measure(shared).await;
            self.save().await?;
        }
        Ok(())
    }

    async fn stop(&mut self, shared: &Shared) -> Result<(), Failure> {
        let known = self.known();
        // What is alive stays known until it is not: the next try begins here again.
        let process = match (&known.process, &known.state.sandbox) {
            (Some(process), _) => Some(process.try_clone().map_err(storage)?),
            // Of a step that was broken off. It may live without bubblewrap, which holds the lock.
            (None, Some(record)) => Process::adopt(&record.identity).map_err(storage)?,
            (None, None) => None,
        };
        match process {
            Some(process) => shared.launcher.end(&self.directory, &process).await?,
            None => shared.launcher.clear(&self.directory).await?,
        }
        let known = self.known();
        known.process = None;
        known.egress = None;
        if known.state.sandbox.take().is_some() {
            self.save().await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.directory.path().exists() {
            self.stop(shared).await?;
            shared.launcher.clear(&self.directory.for_measuring()).await?;
            shared.launcher.make_directories(&self.directory).await.map_err(storage)?;
            if self.known().state.content != state::Content::Incomplete {
                self.known().state.content = state::Content::Incomplete;
                if let Err(failure) = self.save().await {
                    // On a full disk, removing is what helps: whatever is left of it is removed again.
                    tracing::warn!(directory = %self.directory.path().display(), %failure, "removed without having been marked");
                }
            }
            self.wipe(shared).await?;
            let directory = self.directory.clone();
            blocking(move || directory.remove()).await.map_err(storage)?;
        }
        self.known = Some(Known { state: State::default(), process: None, egress: None });
        Ok(())
    }

    /// Its first process, if it runs.
    pub(super) fn identity(&self) -> Option<&Identity> {
        Some(self.known.as_ref().filter(|known| known.serves())?.process.as_ref()?.identity())
    }

    /// Begins to end its processes, and remembers why. They are gone when the first one is; none if there are none.
    ///
    /// Why is written down later: on a disk that fills, that may take a while.
    pub(super) async fn kill(&mut self, shared: &Shared, failure: &Failure) -> Option<Process> {
        let known = self.known.as_mut().filter(|known| known.serves())?;
        let process = known.process.as_ref()?.try_clone().ok()?;
        if let Err(error) = shared.launcher.kill(process.identity()).await {
            tracing::warn!(directory = %self.directory.path().display(), %error, "processes cannot be ended");
            return None;
        }
        known.state.ended = Some(failure.to_string());
        Some(process)
    }

    /// Whether it takes commands.
    pub(super) fn runs(&self) -> bool {
        self.known.as_ref().is_some_and(Known::serves)
    }

    /// Empties the directories that are the sandbox's, in a sandbox; nothing of that is left afterwards, however it ends.
    pub(super) async fn wipe(&mut self, shared: &Shared) -> Result<(), Failure> {
        let directories = [places::WORKSPACE, places::HOME, places::RUN].map(str::to_owned).to_vec();
        let begun = shared.launcher.begin(&self.directory, &Task::Wipe(WipeTask { directories })).await?;
        let Some(process) = begun else { return shared.launcher.done(&self.directory).await };
        let process = KillOnDrop { process, launcher: shared.launcher.clone() };
        // Known to the next server as well: it may live without bubblewrap, and two must not remove the same.
        self.known().state.sandbox = Some(SandboxRecord::of_task(&process.process));
        if let Err(failure) = self.save().await {
            // On a full disk, removing is what helps.
            tracing::warn!(directory = %self.directory.path().display(), %failure, "removed without a record of who does");
        }
        let done = shared.launcher.done(&self.directory).await;
        shared.launcher.end(&self.directory, &process.process).await?;
        self.known().state.sandbox = None;
        done
    }

    pub(super) async fn save(&mut self) -> Result<(), Failure> {
        self.states += 1;
        let (number, written) = (self.states, Arc::clone(&self.written));
        let (directory, state) = (self.directory.clone(), self.known().state.clone());
        blocking(move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written < number {
                directory.save(&state)?;
                *written = number;
            }
            Ok(())
        })
        .await
        .map_err(storage)
    }

    pub(super) fn known(&mut self) -> &mut Known {
        self.known.as_mut().expect("a slot is taken over before it is given out")
    }
}

impl Known {
    fn serves(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }
}

/// A process that is of no use to anybody when nobody waits for it.
struct KillOnDrop {
    process: Process,
    launcher: Launcher,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let (launcher, identity) = (self.launcher.clone(), self.process.identity().clone());
        tokio::spawn(async move {
            // One that cannot be killed now is found by the next call for this environment.
            let _ = launcher.kill(&identity).await;
        });
    }
}

fn listen(shared: &Shared, directory: &Directory, policy: &Policy) -> Result<Proxy, Failure> {
    Proxy::listen(&directory.egress(), places::EGRESS_SOCKET, policy.clone(), shared.setting.egress).map_err(storage)
}

fn task(source: &GitSource, limits: TaskLimits) -> CloneTask {
    CloneTask {
        remote_url: source.remote_url.clone(),
        upstream_url: source.upstream_url.clone(),
        target: match source.target.clone() {
            GitTarget::RemoteHead => CloneTarget::RemoteHead,
            GitTarget::RemoteBranch(branch) => CloneTarget::RemoteBranch(branch),
            GitTarget::LocalBranch(branch) => CloneTarget::LocalBranch(branch),
            GitTarget::RemoteCommit(commit) => CloneTarget::RemoteCommit(commit),
            GitTarget::RemoteTag(tag) => CloneTarget::RemoteTag(tag),
        },
        directory: source.directory().to_owned(),
        limits,
    }
}

/// Reads the report of a clone, whose sandbox is gone: a regular file and no link, and no more of it than a report has.
fn read_report(directory: &Directory) -> Option<Vec<u8>> {
    let path = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let run = openat(CWD, directory.run(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let report = openat(&run, places::REPORT, path, Mode::empty()).ok()?;
    if FileType::from_raw_mode(fstat(&report).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    File::from(report).take(REPORT_LIMIT as u64).read_to_end(&mut text).ok()?;
    Some(text)
}

/// What the supervisor does about limits that no control group holds.
fn without_groups(missing: &[Controller], resources: &Resources) -> TaskLimits {
    let is_missing = |controller| missing.contains(&controller);
    TaskLimits {
        file_bytes: resources.disk_bytes,
        processes: is_missing(Controller::Pids).then_some(resources.processes),
        process_memory_bytes: is_missing(Controller::Memory).then_some(resources.memory_bytes),
    }
}
