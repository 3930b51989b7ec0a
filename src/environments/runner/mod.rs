//! What environments run on. The reconciler holds an `Arc<dyn Runner>`: which runner a server has is chosen when it
//! starts, so the trait's futures are boxed; one allocation is nothing beside starting a process.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};

use crate::domain::{
    environment::{Content, EnvironmentClass},
    ids::EnvironmentId,
};

mod failure;
pub mod local;

pub use failure::{Failure, FailureKind};

/// The answer of a [`Runner`] method.
pub type RunnerFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Makes, starts, stops and deletes environments.
///
/// Every method is idempotent: asked for what is already so, it does nothing and says the same. Methods for one
/// environment wait for each other; dropping a future ends what it had under way, and the next call finds its way from
/// whatever was left behind.
pub trait Runner: Send + Sync + 'static {
    /// Makes an environment's directories and fills its workspace. What an earlier attempt left behind is removed first.
    fn create<'a>(
        &'a self,
        environment: EnvironmentId,
        content: &'a Content,
        resources: &'a Resources,
    ) -> RunnerFuture<'a, Checkout>;

    /// Brings up an environment that was created. Done when it takes commands.
    fn start<'a>(&'a self, environment: EnvironmentId, resources: &'a Resources) -> RunnerFuture<'a, Started>;

    /// Ends every process of an environment and keeps its files, but for what a clone that did not come to its end has left.
    /// Done when the last process is gone, and counted what is there.
    fn stop(&self, environment: EnvironmentId) -> RunnerFuture<'_, ()>;

    /// Ends every process of an environment and removes its files.
    fn delete(&self, environment: EnvironmentId) -> RunnerFuture<'_, ()>;

    /// Says what is there of an environment.
    fn observe(&self, environment: EnvironmentId) -> RunnerFuture<'_, Observation>;

    /// Every environment of which anything is left, whether or not anybody else still knows it.
    fn environments(&self) -> RunnerFuture<'_, Vec<EnvironmentId>>;
}

/// How much an environment may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time a second of time, in thousandths of a processor.
    pub cpu_millicores: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Disk, in bytes; no file gets longer, either.
    pub disk_bytes: u64,
}

impl From<&EnvironmentClass> for Resources {
    fn from(class: &EnvironmentClass) -> Self {
        // The store holds positive numbers only; a negative one would be the tightest limit, not the loosest.
        Self {
            cpu_millicores: class.cpu_millicores.max(1).unsigned_abs(),
            memory_bytes: class.memory_bytes.max(1).unsigned_abs(),
            processes: class.processes.max(1).unsigned_abs(),
            disk_bytes: class.disk_bytes.max(1).unsigned_abs(),
        }
    }
}

/// What a workspace was filled with. Reported from inside of the sandbox, then checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkout {
    /// The branch; none for a commit or a tag without one.
    pub branch: Option<String>,
    /// The commit, in hexadecimal digits; none for an empty workspace or repository.
    pub commit: Option<String>,
}

/// An environment that takes commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// What does not hold as it should: limits of the class that this machine cannot enforce.
    pub warning: Option<String>,
}

/// What is there of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Its files.
    pub content: ContentState,
    /// Whether its supervisor is alive.
    pub is_running: bool,
    /// Why the runner ended it, if it did so by itself.
    pub ended: Option<String>,
    /// What it fills of the disk, when that was last counted; none if it never was.
    pub disk_bytes: Option<u64>,
}

/// What is there of an environment's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentState {
    /// Nothing.
    Absent,
    /// What an attempt that did not end well has left.
    Incomplete,
    /// All of them.
    Ready(Checkout),
}
