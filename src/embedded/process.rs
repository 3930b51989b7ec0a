//! A process that can be signalled and waited for without the risk that its ID has meanwhile passed to another.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// A process, by a descriptor of its own (pidfd_open(2), Linux 5.3).
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// The process with this ID, if there is one; a dead one that its parent has not yet collected counts.
    pub(super) fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(raw) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(Self { pid, descriptor })),
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its process ID.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; that it has already ended is fine.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended; false if that takes longer than `within`.
    pub(super) async fn ended(&self, within: Duration) -> io::Result<bool> {
        // SAFETY: the registration ends in this function, and borrows a descriptor that `self` keeps open meanwhile.
        let descriptor = unsafe { AsyncFd::register_with_interest(self.descriptor.as_fd(), Interest::READABLE) }?;
        match timeout(within, descriptor.readable()).await {
            Ok(ready) => ready.map(|_| true),
            Err(_) => Ok(false),
        }
    }
}

/// Whether this process is a PostgreSQL process of the cluster in `data`: such a process never leaves that directory.
pub(super) fn serves(pid: i32, data: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let is_postgres = fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == "postgres");
    if !is_postgres {
        return false;
    }
    let Ok(wanted) = data.metadata() else { return false };
    match process.join("cwd").metadata() {
        Ok(found) => (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()),
        // Another account's (we have given up root): its command line is all there is to see.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::read(process.join("cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0).any(|argument| argument == data.as_os_str().as_encoded_bytes())
            })
        }
        // It has ended, collected or not.
        Err(_) => false,
    }
}

/// Every living PostgreSQL process of the cluster in `data`.
pub(super) fn serving(data: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(process) = serving_process(pid, data)? {
            found.push(process);
        }
    }
    Ok(found)
}

/// The process with this ID if it serves the cluster in `data`. The descriptor comes before the check: should the ID pass
/// to another process between the two, it is the new one that fails the check or the old one that no signal reaches.
pub(super) fn serving_process(pid: i32, data: &Path) -> io::Result<Option<Process>> {
    let process = Process::open(pid)?;
    Ok(process.filter(|_| serves(pid, data)))
}
