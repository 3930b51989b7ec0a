//! One command, from its start to the end of its process group.

use std::{io, process::Command, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{sync::oneshot, time::Instant};

use super::{
    output::Capture,
    reaper::{Child, Reaper},
};

/// How long a process group may take to end by itself after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// The longest wait for a killed process group to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a command ended by itself.
pub(super) struct Finished {
    pub(super) exit_code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// How a command was ended.
pub(super) enum Ended {
    TimedOut,
    Cancelled,
}

/// Runs a command until it exits, `timeout` is over or `cancel` says so (or is dropped); in the latter cases its whole
/// process group has ended when this returns. Dropping the future ends the process group too.
///
/// What it left running in the background lives on, as long as the command exits by itself; their later output is lost.
pub(super) async fn run(
    reaper: &Reaper,
    command: &mut Command,
    timeout: Duration,
    mut cancel: oneshot::Receiver<()>,
) -> io::Result<Result<Finished, Ended>> {
    let Child { pid, exit, stdout, stderr } = reaper.spawn(command)?;
    let mut group = Group { leader: pid, exit: Some(exit) };
    let mut stdout = Capture::new(stdout)?;
    let mut stderr = Capture::new(stderr)?;
    let deadline = tokio::time::sleep_until(Instant::now() + timeout);
    tokio::pin!(deadline);
    let ended = loop {
        tokio::select! {
            exit_code = group.exited() => {
                stdout.drain();
                stderr.drain();
                return Ok(Ok(Finished { exit_code, stdout: stdout.into_text(), stderr: stderr.into_text() }));
            }
            () = stdout.read(), if !stdout.is_over() => {}
            () = stderr.read(), if !stderr.is_over() => {}
            () = &mut deadline => break Ended::TimedOut,
            _ = &mut cancel => break Ended::Cancelled,
        }
    };
    // Read on: a full pipe, or a broken one, would end the command before it has heard that it should.
    let read_on = async {
        loop {
            tokio::select! {
                () = stdout.read() => {}
                () = stderr.read() => {}
            }
        }
    };
    tokio::select! {
        () = group.end() => {}
        () = read_on => {}
    }
    Ok(Err(ended))
}

/// A process group whose leader may still run. Dropping it ends it.
struct Group {
    leader: Pid,
    exit: Option<oneshot::Receiver<i32>>,
}

impl Group {
    /// Waits for the leader; the group is then left alone.
    async fn exited(&mut self) -> i32 {
        match &mut self.exit {
            Some(exit) => {
                let exit_code = exit.await.unwrap_or(255);
                self.exit = None;
                exit_code
            }
            None => std::future::pending().await,
        }
    }

    /// Ends every process of the group, politely first.
    async fn end(mut self) {
        if let Some(exit) = self.exit.take() {
            end(self.leader, exit).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(exit) = self.exit.take() {
            tokio::spawn(end(self.leader, exit));
        }
    }
}

/// SIGTERM, then SIGKILL to whoever is left: the leader's descendants may take SIGTERM for nothing.
///
/// The group's number is used after its leader was collected, for no longer than the turn of the loop in which that is
/// told: no new process can have come to that number, which are given out in turn.
async fn end(leader: Pid, exit: oneshot::Receiver<i32>) {
    // An error means that nobody is left, which is what is wanted.
    let _ = kill_process_group(leader, Signal::TERM);
    let _ = tokio::time::timeout(GRACE, exit).await;
    let _ = kill_process_group(leader, Signal::KILL);
    let gone = async {
        while test_kill_process_group(leader).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(GONE_TIMEOUT, gone).await;
}
