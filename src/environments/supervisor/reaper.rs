//! Process 1's duty: collects the exit status of every child, those it started and those whose parents died.
//!
//! There is one place that waits, so that no orphan's collection takes the status of a command away from whoever waits
//! for it.

use std::{
    collections::HashMap,
    io,
    os::unix::process::CommandExt,
    process::{ChildStderr, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Starts children and tells how they ended. Belongs to a single-threaded runtime: a child that ends at once is not
/// collected before it is registered, as collecting is a task of the same thread.
#[derive(Clone, Default)]
pub(super) struct Reaper(Arc<Mutex<HashMap<Pid, oneshot::Sender<i32>>>>);

/// A child that runs.
pub(super) struct Child {
    /// Its process ID, and that of its session and its process group.
    pub(super) pid: Pid,
    /// Gives its exit code, 128 and the signal's number for one that was killed.
    pub(super) exit: oneshot::Receiver<i32>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Reaper {
    /// Begins to collect.
    pub(super) fn start() -> io::Result<Self> {
        let reaper = Self::default();
        let mut ended = signal(SignalKind::child())?;
        let collector = reaper.clone();
        tokio::spawn(async move {
            loop {
                collector.collect();
                if ended.recv().await.is_none() {
                    return;
                }
            }
        });
        Ok(reaper)
    }

    /// Starts a command in a session of its own, with nothing to read and with pipes for its output.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: setsid is async-signal-safe, and the closure touches nothing else.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (sender, exit) = oneshot::channel();
        self.waiting().insert(pid, sender);
        let missing = || io::Error::other("a pipe is missing");
        Ok(Child {
            pid,
            exit,
            stdout: child.stdout.take().ok_or_else(missing)?,
            stderr: child.stderr.take().ok_or_else(missing)?,
        })
    }

    fn collect(&self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(waiting) = self.waiting().remove(&pid) {
                // Nobody waits any more: then nobody wants to know.
                let _ = waiting.send(exit_code(status));
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Pid, oneshot::Sender<i32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255)
}
