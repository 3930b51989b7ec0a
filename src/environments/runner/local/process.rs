//! A process that outlives this one: known by more than its number, which another may have by now.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// What makes a process number mean one process: when it began, counted since which boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since the boot.
    start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
}

impl Identity {
    /// Its number.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the machine has not been restarted since.
    pub(super) fn is_of_this_boot(&self) -> io::Result<bool> {
        Ok(self.boot_id == boot_id()?)
    }
}

/// A process, held by a descriptor that can mean no other.
#[derive(Debug)]
pub(super) struct Process {
    identity: Identity,
    pidfd: OwnedFd,
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Process {
    /// Takes hold of the process that has this number now; none if there is none, or a zombie.
    pub(super) fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(pidfd) = open_pidfd(pid)? else { return Ok(None) };
        let Some(start_time) = start_time(pid)? else { return Ok(None) };
        let identity = Identity { pid, start_time, boot_id: boot_id()? };
        Ok(Some(Self { identity, pidfd }))
    }

    /// Takes hold of a process that an earlier server started; none if it is gone, whoever has its number now.
    pub(super) fn adopt(identity: &Identity) -> io::Result<Option<Self>> {
        if !identity.is_of_this_boot()? {
            return Ok(None);
        }
        // The descriptor first: what is true of the number afterwards is true of the descriptor.
        Ok(Self::open(identity.pid)?.filter(|process| process.identity == *identity))
    }

    /// The same process, held twice.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { identity: self.identity.clone(), pidfd: self.pidfd.try_clone()? })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The user ID that it runs as; none if it is gone.
    pub(super) fn owner(&self) -> io::Result<Option<u32>> {
        // Not the owner of the directory in /proc: of a process that is not dumpable, as a supervisor is, that is root.
        let status = match fs::read_to_string(format!("/proc/{}/status", self.identity.pid)) {
            Ok(status) => status,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let owner = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let owner: u32 = owner.ok_or_else(|| io::Error::other("/proc/PID/status does not read as it should"))?;
        // What is true of the number is true of the descriptor as long as that lives.
        Ok(self.is_alive().then_some(owner))
    }

    /// Whether it lives. A zombie does not.
    pub(super) fn is_alive(&self) -> bool {
        // An error of reading would be one of /proc: as long as nobody says that it is gone, it lives.
        start_time(self.identity.pid).map_or(true, |found| found == Some(self.identity.start_time))
    }

    /// Kills it; one that is gone already is no error.
    pub(super) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it is gone. For the first process of a PID namespace, all others are gone then too: the kernel ends
    /// them first.
    pub(super) async fn gone(&self) -> io::Result<()> {
        // SAFETY: the descriptor is this process's own, stays open as long as it is borrowed, and is never swapped.
        let pidfd = unsafe { AsyncFd::register_with_interest(self.pidfd.as_fd(), Interest::READABLE) };
        pidfd.map_err(io::Error::from)?.readable().await.map(drop)
    }
}

fn open_pidfd(pid: i32) -> io::Result<Option<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("not a process number"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // The number may be a thread's by now: older kernels call that EINVAL, newer ones ENOENT (pidfd_open(2)).
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// When a process began; none if it is gone or a zombie.
fn start_time(pid: i32) -> io::Result<Option<u64>> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    parse_stat(&text).ok_or_else(|| io::Error::other("/proc/PID/stat does not read as it should"))
}

/// The fields of `/proc/PID/stat` from the third on.
pub(super) fn behind_name(text: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    // The name, in parentheses, is of the process's own choosing: what counts begins after the last one.
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace())
}

fn parse_stat(text: &str) -> Option<Option<u64>> {
    let mut fields = behind_name(text)?;
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((!matches!(state, "Z" | "X" | "x")).then_some(start_time))
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_of_a_process_cannot_change_what_is_read() {
        let rest = "1 1 1 0 -1 4194304 54 0 0 0 0 0 0 0 20 0 1 0 219872 2703360";
        assert_eq!(parse_stat(&format!("7 (a) Z 1 (b) R {rest}")), Some(Some(219_872)));
        assert_eq!(parse_stat(&format!("7 (a) Z {rest}")), Some(None));
        assert_eq!(parse_stat("7 (a) R 1"), None);
    }

    #[test]
    fn a_number_that_a_thread_has_is_no_process() {
        let (sender, number) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            // Until the other end is dropped.
            let _ = ended.recv();
        });
        assert!(Process::open(number.recv().unwrap()).unwrap().is_none());
        drop(end);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_process_is_adopted_as_long_as_it_is_the_same_one() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id().cast_signed()).unwrap().unwrap();
        let identity = process.identity().clone();
        assert!(Process::adopt(&identity).unwrap().unwrap().is_alive());
        for other in [
            Identity { start_time: identity.start_time + 1, ..identity.clone() },
            Identity { boot_id: "another".into(), ..identity.clone() },
            Identity { pid: std::process::id().cast_signed(), ..identity.clone() },
        ] {
            assert!(Process::adopt(&other).unwrap().is_none(), "{other:?}");
        }
        process.kill().unwrap();
        process.gone().await.unwrap();
        // Not waited for: a zombie is gone as well.
        assert!(!process.is_alive());
        assert!(Process::adopt(&identity).unwrap().is_none());
        child.wait().unwrap();
        assert!(Process::adopt(&identity).unwrap().is_none());
        process.kill().unwrap();
    }
}
