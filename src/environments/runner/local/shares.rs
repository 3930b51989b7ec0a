//! What the kernel counts for the whole machine, or for the account that all sandboxes run as, whatever namespaces they are in:
//! what one of them uses, the others lack. What can be bounded for one is bounded; what is low is said when the server starts.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::process::Process;

/// The part of it that one sandbox may use.
const PART: u64 = 8;
/// What is counted for an account, and can be bounded in a user namespace: its setting, that of the namespace, and how much a
/// sandbox has at the least.
const BOUNDED: [(&str, &str, u64); 2] = [
    ("fs.inotify.max_user_instances", "user.max_inotify_instances", 32),
    ("fs.inotify.max_user_watches", "user.max_inotify_watches", 8192),
];
/// What is to be said if it is low: how much is enough for many environments.
const TOLD: [(&str, &str, u64); 3] = [
    ("open files", "fs.file-max", 10_000_000),
    ("inotify instances", "fs.inotify.max_user_instances", 8192),
    ("inotify watches", "fs.inotify.max_user_watches", 524_288),
];

/// What the operator should know of this machine.
pub(super) fn warnings() -> Vec<String> {
    let low = |(what, setting, enough): (&str, &str, u64)| {
        let most = read(setting).filter(|most| *most < enough)?;
        Some(format!(
            "environments share the {most} {what} of this machine, which one or a few of them can use up; raise {setting} \
             (sysctl) to {enough} or more"
        ))
    };
    TOLD.into_iter().filter_map(low).collect()
}

/// In the child, between fork and exec: what a user namespace is made with is what its account may have in all namespaces
/// together, and what is made here is one sandbox of many. What each has is set inside.
pub(super) fn open_account() {
    for resource in [Resource::Nproc, Resource::Sigpending, Resource::Msgqueue, Resource::Memlock] {
        // Whoever may not do that leaves all sandboxes together with what one could have.
        let _ = setrlimit(resource, Rlimit { current: None, maximum: None });
    }
}

/// Bounds what a sandbox uses of what is counted for all. It has not to be ready: what counts is the user namespace.
///
/// Waits for another process for a moment.
pub(super) fn bound(process: &Process) -> io::Result<()> {
    let mut settings = Vec::new();
    for (of_machine, of_namespace, least) in BOUNDED {
        let Some(most) = read(of_machine) else { continue };
        settings.push((CString::new(path(of_namespace))?, (most / PART).max(least).min(most).to_string()));
    }
    // Another process: one with threads cannot enter a user namespace.
    // SAFETY: the child makes system calls alone, on values that were made before, and ends.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let result = enter_and_write(process, &settings);
            // SAFETY: ends this process, with nothing run.
            unsafe { libc::_exit(result.map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0)) }
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Ok(WaitStatus::Exited(_, error)) => return Err(io::Error::from_raw_os_error(error)),
                Ok(_) => return Err(io::Error::other("the process that was to bound a sandbox was killed")),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        },
    }
}

/// In the child: with all that is in this process's memory, nobody inside is to look into it.
fn enter_and_write(process: &Process, settings: &[(CString, String)]) -> io::Result<()> {
    let check = |result: i64| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: numbers, strings that end in NUL, and bytes with their length.
    unsafe {
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into())?;
        check(libc::setns(process.as_fd().as_raw_fd(), libc::CLONE_NEWUSER).into())?;
        for (path, value) in settings {
            let file = check(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC).into())?;
            let file = i32::try_from(file).unwrap_or(-1);
            check(libc::write(file, value.as_ptr().cast(), value.len()) as i64)?;
            libc::close(file);
        }
    }
    Ok(())
}

fn path(setting: &str) -> String {
    format!("/proc/sys/{}", setting.replace('.', "/"))
}

/// What a setting of the kernel's is.
fn read(setting: &str) -> Option<u64> {
    fs::read_to_string(path(setting)).ok()?.trim().parse().ok()
}
