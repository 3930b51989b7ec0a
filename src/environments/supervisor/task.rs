//! What the runner and the supervisor say to each other beside the commands' RPCs.

use serde::{Deserialize, Serialize};

/// Where things are inside of a sandbox.
pub(crate) mod places {
    /// The files that are kept.
    pub(crate) const WORKSPACE: &str = "/workspace";
    /// The home directory; kept as well.
    pub(crate) const HOME: &str = "/home/dev";
    /// The directory that the supervisor and the server meet in.
    pub(crate) const RUN: &str = "/run/latchkey";
    /// The name of the supervisor's socket, in [`RUN`].
    pub(crate) const SUPERVISOR_SOCKET: &str = "supervisor.sock";
    /// The name of the report that a clone ends with, in [`RUN`].
    pub(crate) const REPORT: &str = "report.json";
    /// The directory of the egress proxy's socket, which the sandbox cannot write to.
    pub(crate) const EGRESS: &str = "/run/egress";
    /// The name of the egress proxy's socket, in [`EGRESS`].
    pub(crate) const EGRESS_SOCKET: &str = "proxy.sock";
    /// Git's configuration for a clone.
    pub(crate) const CLONE_CONFIG: &str = "/etc/latchkey/clone.gitconfig";
    /// The certificates that the operator trusts, if there are special ones.
    pub(crate) const CERTIFICATES: &str = "/etc/latchkey/ca.crt";
    /// This binary.
    pub(crate) const BINARY: &str = "/opt/latchkey/latchkey";
}

/// What a supervisor is started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// To see whether a sandbox can be started.
    Probe,
    /// To empty directories.
    Wipe(WipeTask),
    /// To count what directories fill of the disk.
    Measure(MeasureTask),
    /// To clone a repository.
    Clone(CloneTask),
    /// To run commands until it is killed.
    Serve(ServeTask),
}

/// Empties directories. Done inside, as nobody outside of a sandbox opens a path below a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WipeTask {
    /// Absolute paths.
    pub(crate) directories: Vec<String>,
}

/// Counts what is in directories. Done inside, for the same reason; told on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MeasureTask {
    /// Absolute paths.
    pub(crate) directories: Vec<String>,
}

/// How far counting has come: a line of JSON each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasureReport {
    /// What was counted so far.
    pub(crate) bytes: u64,
    /// Files of every kind, each once.
    pub(crate) files: u64,
    /// Whether that is all.
    pub(crate) state: MeasureState,
}

/// Whether everything was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MeasureState {
    /// Not yet.
    Counting,
    /// Everything.
    Done,
    /// It never will be: there are directories within directories without an end.
    TooDeep,
}

/// Clones a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloneTask {
    /// `https://HOST/PATH`.
    pub(crate) remote_url: String,
    /// What becomes the remote `upstream`.
    pub(crate) upstream_url: Option<String>,
    /// What is checked out.
    pub(crate) target: CloneTarget,
    /// Where, below the workspace.
    pub(crate) directory: String,
    /// What it keeps to.
    pub(crate) limits: TaskLimits,
}

/// Limits that the supervisor sets, for itself and all that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskLimits {
    /// The most bytes of a file.
    pub(crate) file_bytes: u64,
    /// Processes and threads at once, where no control group sees to it.
    pub(crate) processes: Option<u32>,
    /// Memory of each process, where no control group sees to that of all together.
    pub(crate) process_memory_bytes: Option<u64>,
}

/// What is checked out; see `GitTarget` in the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CloneTarget {
    RemoteHead,
    RemoteBranch(String),
    LocalBranch(String),
    RemoteCommit(String),
    RemoteTag(String),
}

/// Runs commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServeTask {
    /// Where commands run that do not say: absolute.
    pub(crate) working_directory: String,
    /// What commands keep to.
    pub(crate) limits: TaskLimits,
    /// Hosts that are reached without the proxy: the environment's own.
    pub(crate) no_proxy: String,
}

/// How a clone ended. Written inside of the sandbox: hostile input to its reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloneReport {
    /// The branch that is checked out.
    pub(crate) branch: Option<String>,
    /// The commit that is checked out.
    pub(crate) commit: Option<String>,
    /// What went wrong.
    pub(crate) failure: Option<CloneFailure>,
}

/// The step of a clone that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloneFailure {
    /// Which one.
    pub(crate) step: CloneStep,
    /// The end of what git said, without its progress.
    pub(crate) text: String,
    /// The end of what the host said through git.
    pub(crate) remote: String,
}

/// A step of a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CloneStep {
    /// Git could not be started.
    Begin,
    /// Getting the repository.
    Fetch,
    /// Finding the branch, tag or commit in it.
    FindTarget,
    /// Writing the files.
    Checkout,
}

/// The most bytes of how far a clone has come, a line of JSON: as many as a pipe takes whole (`PIPE_BUF`).
pub(crate) const PROGRESS_LIMIT: usize = 4096;

/// The most bytes of a [`CloneReport`].
pub(crate) const REPORT_LIMIT: usize = 64 * 1024;
