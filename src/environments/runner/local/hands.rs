//! What takes the rights of the server's first user: directories that belong to the sandboxes' account, processes that run as
//! it, ending them, control groups. It trusts nobody: started by root, all of this is done in a process of its own, for a
//! server that has given these rights up, and that may have been taken over.

use std::{
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{libc, unistd};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, chownat, fchmod, fchown, fstat, mkdirat, openat, renameat, unlinkat},
    process::{Resource, Rlimit},
};
use tokio::process::{Child, Command};

use super::{
    Account,
    cgroups::{Cgroups, Controller},
    command_line::{Ingredients, Inherited, arguments, measuring_arguments},
    process::{Identity, Process},
    seccomp::Filter,
    shares,
    state::Directory,
    writing::written_below,
};
use crate::environments::{runner::Resources, supervisor::task::Task};

/// `keyctl(2)`: a new session keyring, empty and without a name.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
/// Descriptors that a process in a sandbox may have open: few at first, as programs expect, and some more if they ask.
const DESCRIPTORS: Rlimit = Rlimit { current: Some(1024), maximum: Some(4 * 1024) };
/// How much rather than others the kernel ends processes of sandboxes when the machine runs out of memory: a half of all of it.
const OUT_OF_MEMORY_SCORE: &[u8] = b"500";
/// How far processes of sandboxes come after others where no control group limits their processor time.
const NICENESS: i32 = 10;
/// What files are made with: the server reads what its tasks leave for it, whoever it is.
const FILE_MODE_MASK: u32 = 0o022;

/// The rights, and what they are used for.
#[derive(Debug)]
pub(super) struct Hands {
    pub(super) bubblewrap: PathBuf,
    /// What sandboxes run as; none for the server's own user.
    pub(super) account: Option<Account>,
    /// Whose the directories of environments are: the server's account.
    pub(super) server: Account,
    pub(super) ingredients: Ingredients,
    pub(super) filter: Filter,
    pub(super) cgroups: Cgroups,
}

/// What a sandbox is started with.
pub(super) struct Launch<'a> {
    pub(super) directory: &'a Directory,
    pub(super) task: &'a Task,
    /// None for a task of our own, which has no limits.
    pub(super) resources: Option<&'a Resources>,
    /// The status file, locked: bubblewrap holds it from here on.
    pub(super) status: OwnedFd,
    /// Where it complains.
    pub(super) log: OwnedFd,
    /// Where it tells what it was started for; none for the log.
    pub(super) output: Option<OwnedFd>,
}

impl Hands {
    /// The user ID that sandboxes run as.
    pub(super) fn owner(&self) -> u32 {
        self.account.map_or_else(|| unistd::geteuid().as_raw(), |account| account.uid)
    }

    /// Makes an environment's directories; those that are there stay as they are.
    pub(super) fn make_directories(&self, directory: &Directory) -> io::Result<()> {
        // The sandboxes' account passes through to what is its own, and sees nothing else.
        let top = self.make_directory(CWD, directory.path(), 0o710, self.server)?;
        let own = self.account.unwrap_or(self.server);
        for (name, mode, of) in
            [("ws", 0o700, own), ("home", 0o700, own), ("run", 0o711, own), ("egress", 0o711, self.server)]
        {
            self.make_directory(&top, Path::new(name), mode, of)?;
        }
        Ok(())
    }

    /// Makes a directory with these permissions: whole, or not at all. What is there already must be a directory of the same
    /// owner: whoever may write above it may have laid a link in its place.
    pub(super) fn make_directory(&self, above: impl AsFd, path: &Path, mode: u32, of: Account) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let give = |directory: &OwnedFd| {
            let group = self.account.map_or(of.gid, |account| account.gid);
            if unistd::geteuid().is_root() {
                fchown(directory, Some(rustix::fs::Uid::from_raw(of.uid)), Some(rustix::fs::Gid::from_raw(group)))?;
            }
            fchmod(directory, Mode::from_raw_mode(mode))
        };
        match openat(&above, path, flags, Mode::empty()) {
            Ok(found) => {
                let owner = fstat(&found)?.st_uid;
                // The server of an earlier version was root, and so were its directories.
                if owner != of.uid && (owner != 0 || of.uid != self.server.uid) {
                    return Err(io::Error::other(format!("{} belongs to user {owner}", path.display())));
                }
                give(&found)?;
                Ok(found)
            }
            Err(rustix::io::Errno::NOENT) => {
                // Under another name first: one that was made and not given yet, when this process was killed, must not
                // be taken for one that was.
                let new = unfinished(path);
                match unlinkat(&above, &new, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
                mkdirat(&above, &new, Mode::from_raw_mode(0o700))?;
                let made = openat(&above, &new, flags, Mode::empty())?;
                give(&made)?;
                renameat(&above, &new, &above, path)?;
                Ok(made)
            }
            // Somebody else's alone: it is what it should be.
            Err(rustix::io::Errno::ACCESS) => Ok(openat(above, path, flags | OFlags::PATH, Mode::empty())?),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives what an earlier server, which was root, had in an environment's directory to the server of today.
    pub(super) fn give_to_server(&self, directory: &Directory) -> io::Result<()> {
        if !unistd::geteuid().is_root() {
            return Ok(());
        }
        self.make_directories(directory)?;
        let measuring = directory.for_measuring();
        let of_sandboxes = [directory.status(), directory.log(), measuring.status(), measuring.log()];
        for path in of_sandboxes.into_iter().chain([directory.state()]) {
            let file = match openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => file,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let found = fstat(&file)?;
            // A regular file of root's with one name is one that the earlier server made.
            if found.st_uid == 0
                && found.st_nlink == 1
                && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            {
                let (owner, group) = (self.server.uid, self.server.gid);
                let (owner, group) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(group));
                chownat(&file, "", Some(owner), Some(group), AtFlags::EMPTY_PATH)?;
            }
        }
        Ok(())
    }

    /// Makes the control groups of an environment, as far as this machine lets the server. Returns what is not limited.
    pub(super) fn limit(&self, directory: &Directory, resources: &Resources) -> Vec<Controller> {
        directory.group().map(|name| self.cgroups.prepare(name, resources).missing).unwrap_or_default()
    }

    /// Starts bubblewrap.
    pub(super) fn start(&self, launch: Launch<'_>) -> io::Result<Child> {
        let Launch { directory, task, resources, status, log, output } = launch;
        let line = match task {
            Task::Measure(_) => measuring_arguments,
            Task::Probe | Task::Wipe(_) | Task::Clone(_) | Task::Serve(_) => arguments,
        };
        let task = serde_json::to_string(task)?;
        let group = directory.group().zip(resources).map(|(name, resources)| self.cgroups.prepare(name, resources));
        let group = group.unwrap_or_default();
        let filter = self.filter.file()?;
        let inherited = Inherited { status: status.as_raw_fd(), filter: filter.as_raw_fd() };
        let mut command = Command::new(&self.bubblewrap);
        command.args(line(&self.ingredients, directory, &task, inherited)).env_clear().current_dir("/");
        // No pipe of the server's, unless the sandbox is of no use without whoever reads there: the others outlive it.
        let output = output.map_or_else(|| log.try_clone(), Ok)?;
        command.stdin(Stdio::null()).stdout(output).stderr(log);
        let account = self.account;
        let is_last = group.missing.contains(&Controller::Cpu);
        // SAFETY: system calls alone, on values that were made before the fork.
        unsafe {
            command.pre_exec(move || {
                for mut entrance in &group.entrances {
                    entrance.write_all(b"0")?;
                }
                come_last(is_last)?;
                shares::open_account();
                leave_server(account, inherited)
            });
        }
        // Closes the status file and the pipe here: from now on bubblewrap alone holds them.
        command.spawn()
    }

    /// Kills a process of a sandbox, and no other. One that is gone already is no error.
    pub(super) fn kill(&self, identity: &Identity) -> io::Result<()> {
        let Some(process) = Process::adopt(identity)? else { return Ok(()) };
        if process.owner()?.is_some_and(|owner| owner != self.owner()) {
            return Err(io::Error::other("the process is none of a sandbox"));
        }
        process.kill()
    }

    /// Bounds what a sandbox uses of what the kernel counts for all of them. One that is gone already is no error.
    pub(super) async fn bound(&self, identity: Identity) -> io::Result<()> {
        let owner = self.owner();
        blocking(move || {
            let Some(process) = Process::adopt(&identity)? else { return Ok(()) };
            match process.owner()? {
                None => Ok(()),
                Some(found) if found == owner => shares::bound(&process),
                Some(_) => Err(io::Error::other("the process is none of a sandbox")),
            }
        })
        .await
    }

    /// What sandboxes have written to disks, each by its first process. Of one that is gone, and of what is no sandbox,
    /// nothing is told.
    pub(super) async fn written(&self, identities: Vec<Identity>) -> io::Result<Vec<u64>> {
        let owner = self.owner();
        let is_sandbox = move |identity: &Identity| -> io::Result<bool> {
            let Some(process) = Process::adopt(identity)? else { return Ok(false) };
            Ok(process.owner()? == Some(owner))
        };
        blocking(move || {
            let mut written = written_below(&identities.iter().map(Identity::pid).collect::<Vec<_>>());
            for (bytes, identity) in written.iter_mut().zip(&identities) {
                if !is_sandbox(identity)? {
                    *bytes = 0;
                }
            }
            Ok(written)
        })
        .await
    }

    /// Removes the control groups of an environment.
    pub(super) async fn remove_group(&self, directory: &Directory) {
        if let Some(name) = directory.group() {
            self.cgroups.remove(name).await;
        }
    }
}

/// Does what waits for the disk, the kernel or another process, away from what must not wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The name of a directory that is being made.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// In the child, between fork and exec: what runs here comes after the server and PostgreSQL when memory runs out, and, where
/// nothing else sees to that, when processors are busy.
fn come_last(is_last: bool) -> io::Result<()> {
    // SAFETY: the path ends in NUL; the descriptor is this function's own.
    unsafe {
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        // Where that cannot be said, it is as before.
        if score >= 0 {
            libc::write(score, OUT_OF_MEMORY_SCORE.as_ptr().cast(), OUT_OF_MEMORY_SCORE.len());
            libc::close(score);
        }
    }
    if is_last {
        rustix::process::nice(NICENESS)?;
    }
    Ok(())
}

/// In the child, between fork and exec: a session of its own, nothing of the server's open but what bubblewrap is told of,
/// the account's rights.
fn leave_server(account: Option<Account>, inherited: Inherited) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(FILE_MODE_MASK));
    // SAFETY: the system call takes two numbers and flags; it closes nothing now, only at exec.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The server has raised its own.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let least = |wanted: Option<u64>| most.map_or(wanted, |most| wanted.map(|wanted| wanted.min(most)));
    let descriptors = Rlimit { current: least(DESCRIPTORS.current), maximum: least(DESCRIPTORS.maximum) };
    rustix::process::setrlimit(Resource::Nofile, descriptors)?;
    for descriptor in [inherited.status, inherited.filter] {
        // SAFETY: the descriptor is open: it was before the fork, and nothing was closed since.
        if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // Keys that whoever started the server has in the kernel would go in with the session's keyring, and what one sandbox
    // puts there into the next.
    // SAFETY: the system call takes numbers alone, the null pointer among them stands for no name.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    // A kernel without keyrings has nothing to keep.
    if keyring < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
        return Err(io::Error::last_os_error());
    }
    if let Some(account) = account {
        unistd::setgroups(&[])?;
        unistd::setgid(account.gid.into())?;
        unistd::setuid(account.uid.into())?;
    }
    Ok(())
}
