//! Commands in a running environment: the port that use cases call, and runners answer.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{environment::Progress, ids::EnvironmentId};

/// The most bytes of each output stream that are passed on; what is more is cut, and the text says so.
pub const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;
/// The longest that a command may run.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long a command may run when the request does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The most bytes of a command: what Linux takes as one argument (`MAX_ARG_STRLEN`), without the NUL at its end.
pub const COMMAND_LIMIT: usize = 128 * 1024 - 1;
/// The most bytes of an operation ID.
pub const OPERATION_ID_LIMIT: usize = 255;
/// The most bytes of the path of a working directory (`PATH_MAX`, without the NUL at its end).
pub const DIRECTORY_LIMIT: usize = 4095;

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// By which it can be cancelled; empty if it cannot.
    pub operation_id: String,
    /// One shell string.
    pub command: String,
    /// Where it runs; empty for the checkout.
    pub working_directory: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a command that ended has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit code; 128 and the signal's number for one that was killed.
    pub exit_code: i32,
    /// What it wrote to standard output, as text.
    pub stdout: String,
    /// What it wrote to standard error, as text.
    pub stderr: String,
}

/// Why a command has no output to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationsError {
    /// The environment is not running.
    #[error("the environment is not running; start it first")]
    NotRunning,
    /// Its runner belongs to another server, or to none that is up.
    #[error("the server that runs this environment cannot be reached from here")]
    Elsewhere,
    /// It took longer than it may; everything it started has been ended.
    #[error("the command took longer than {} s and was ended", .0.as_secs())]
    TimedOut(Duration),
    /// It was cancelled; everything it started has been ended.
    #[error("the command was cancelled")]
    Cancelled,
    /// The environment does not take what was asked for: why, after the name of the field and a colon if it is about one.
    #[error("{0}")]
    Invalid(String),
    /// The environment has no room for it right now: why.
    #[error("{0}")]
    Exhausted(String),
    /// The environment does not answer as it should. The text is for logs.
    #[error("the environment does not answer")]
    Unreachable(String),
}

/// What must be held until an answer was taken by whoever asked: a place among those that may be long.
#[derive(Clone)]
pub struct Held(Arc<dyn Any + Send + Sync>);

impl Held {
    /// Holds something.
    #[must_use]
    pub fn new(what: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Held").field(&Arc::strong_count(&self.0)).finish()
    }
}

/// The answer of an [`Operations`] method.
pub type OperationFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, OperationsError>> + Send + 'a>>;

/// Carries out operations in environments. Dropping a returned future ends what it started.
pub trait Operations: Send + Sync + 'static {
    /// Runs a command to its end. Its output is to be let go of before what is held for it.
    fn exec(&self, environment: EnvironmentId, command: Command) -> OperationFuture<'_, (CommandOutput, Held)>;

    /// Ends the command that was started with this operation ID; an unknown one is no error.
    fn cancel(&self, environment: EnvironmentId, operation_id: String) -> OperationFuture<'_, ()>;

    /// How far the files of an environment have come, while they are being fetched.
    fn progress(&self, environment: EnvironmentId) -> Option<Progress>;
}
