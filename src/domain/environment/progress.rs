//! How far the files of an environment have come.

use serde::{Deserialize, Serialize};

/// How far a clone has come, as Git counts. Numbers alone: it is told by who is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// What is being done.
    pub step: ProgressStep,
    /// Objects, changes or files that this is done with.
    pub done: u64,
    /// Of how many; 0 as long as nobody knows.
    pub total: u64,
    /// Bytes received, where that is the step.
    pub bytes: u64,
}

/// A step of a clone that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressStep {
    /// The host counts the objects of the repository.
    Counting,
    /// The host packs them.
    Packing,
    /// They come.
    Receiving,
    /// What came as changes is put together.
    Resolving,
    /// Files are written.
    Writing,
}
