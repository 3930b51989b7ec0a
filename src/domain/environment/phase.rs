//! Where an environment is in its life, and where it should be.

/// Where an environment is in its life. One that is deleted is no more, and has no phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its files are being brought.
    Creating,
    /// Its processes are being started.
    Starting,
    /// Commands can be run in it.
    Running,
    /// Its processes are being ended.
    Stopping,
    /// It has files, if they ever came, and no processes.
    Stopped,
    /// Its processes and files are being removed.
    Deleting,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] =
        [Self::Creating, Self::Starting, Self::Running, Self::Stopping, Self::Stopped, Self::Deleting];

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
        }
    }
}

/// Where an environment should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DesiredPhase {
    /// Commands can be run in it.
    Running,
    /// Files, and no processes.
    Stopped,
    /// Gone.
    Deleted,
}

impl DesiredPhase {
    /// Every desired phase.
    pub const ALL: [Self; 3] = [Self::Running, Self::Stopped, Self::Deleted];

    /// As PostgreSQL holds it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }
}
