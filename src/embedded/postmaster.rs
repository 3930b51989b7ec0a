//! The postmaster of a cluster: finding the living one, clearing up after a dead one, ending one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::error::EmbeddedError;
use super::files::{read_bounded, remove_file};
use super::layout::Layout;
use super::process::{Process, serving, serving_process};
use super::socket_directory;

/// How long the other processes of a cluster may outlive their postmaster before they are killed.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// How long an immediate shutdown may take; PostgreSQL itself kills what is left after 5 s.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(10);

/// A living postmaster.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) process: Process,
    /// Where its socket is; it may have been started when another place was chosen.
    pub(super) socket_directory: Option<PathBuf>,
    /// Whether it says that it takes connections.
    pub(super) ready: bool,
}

/// What there is of a cluster's postmaster.
#[derive(Debug)]
pub(super) enum Found {
    /// It lives.
    Living(Postmaster),
    /// A process of the cluster lives, and the note of the postmaster is still empty: it is being written.
    Beginning,
    /// There is none, whatever the note says.
    Nothing,
}

impl Found {
    /// The living one.
    pub(super) fn living(self) -> Option<Postmaster> {
        match self {
            Self::Living(postmaster) => Some(postmaster),
            Self::Beginning | Self::Nothing => None,
        }
    }
}

impl Postmaster {
    /// Looks for the postmaster of this cluster.
    pub(super) fn find(layout: &Layout) -> Result<Found, EmbeddedError> {
        let path = layout.pid_file();
        let content = match read_bounded(&path, 4096) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(EmbeddedError::io("read", &path)(error)),
        };
        // The lines are PID, data directory, start time, port, socket directory, address, shared memory, state
        // (src/include/utils/pidfile.h of PostgreSQL). A postmaster that has just begun has not written all of them.
        let lines: Vec<&str> = content.lines().map(str::trim).collect();
        let failed = EmbeddedError::io("inspect the process of", &path);
        let Some(pid) = lines.first().and_then(|pid| pid.parse().ok()) else {
            let left = serving(&layout.data()).map_err(failed)?;
            return Ok(if left.is_empty() { Found::Nothing } else { Found::Beginning });
        };
        let Some(process) = serving_process(pid, &layout.data()).map_err(failed)? else { return Ok(Found::Nothing) };
        Ok(Found::Living(Self {
            process,
            socket_directory: lines.get(4).filter(|line| !line.is_empty()).map(PathBuf::from),
            ready: lines.get(7) == Some(&"ready"),
        }))
    }

    /// Ends it: fast (open transactions are rolled back), or at once if that takes longer than `within`. True if it was
    /// fast. The caller collects it if it is a child.
    pub(super) async fn stop(&self, layout: &Layout, account: &str, within: Duration) -> Result<bool, EmbeddedError> {
        let pid = self.process.pid();
        let failed = |source| EmbeddedError::Signal { pid, account: account.to_owned(), source };
        for (signal, within, fast) in [(Signal::INT, within, true), (Signal::QUIT, IMMEDIATE_SHUTDOWN, false)] {
            self.process.signal(signal).map_err(failed)?;
            // One that somebody has paused would notice nothing.
            self.process.signal(Signal::CONT).map_err(failed)?;
            if self.process.ended(within).await.map_err(failed)? {
                return Ok(fast);
            }
        }
        Err(EmbeddedError::StopFailed { pid, log: layout.log() })
    }
}

/// Waits until no process of a cluster is left whose postmaster has ended; they notice within moments, and those that do
/// not are killed: what they had in hand is lost in any case, and PostgreSQL does not start beside them. False if they
/// turn out to have a living postmaster after all, which was just starting when it was looked for.
pub(super) async fn await_stragglers(layout: &Layout) -> Result<bool, EmbeddedError> {
    let data = layout.data();
    let deadline = Instant::now() + STRAGGLERS;
    loop {
        let left = serving(&data).map_err(EmbeddedError::io("find the processes of", &data))?;
        if left.is_empty() {
            return Ok(true);
        }
        let late = Instant::now() >= deadline;
        if late && Postmaster::find(layout)?.living().is_some() {
            return Ok(false);
        }
        for process in left {
            let within = if late { STRAGGLERS } else { deadline.saturating_duration_since(Instant::now()) };
            if late {
                process.signal(Signal::KILL).map_err(EmbeddedError::io("end a process of", &data))?;
            }
            process.ended(within).await.map_err(EmbeddedError::io("wait for a process of", &data))?;
        }
    }
}

/// Removes the traces of a postmaster that was killed. PostgreSQL would do so itself, unless a living process has come by
/// the old ID (after a restart of the machine, or of a container, that is likely), which it takes for a postmaster.
pub(super) async fn clear_traces(layout: &Layout, socket_directory: &Path) -> Result<(), EmbeddedError> {
    if layout.pid_file().exists() {
        if !await_stragglers(layout).await? {
            return Ok(());
        }
        remove_file(&layout.pid_file())?;
    }
    socket_directory::remove_sockets(socket_directory)
}
