//! The sandbox, as bubblewrap's arguments: every namespace of its own, no capability, no further user namespace, a
//! filter of system calls, a root built from pieces of this machine's that hold no secrets, read-only but for the
//! environment's own directories.

use std::{
    ffi::OsString,
    fs,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use super::state::Directory;
use crate::environments::supervisor::{SUBCOMMAND, task::places};

/// The user and group that processes inside see themselves as. Outside they are the account's.
const USER_INSIDE: &str = "1000";
/// The most bytes of temporary files.
const TEMPORARY_BYTES: u64 = 1 << 30;
/// The most bytes of shared memory.
const SHARED_MEMORY_BYTES: u64 = 256 << 20;

/// The top-level directories that distributions make links into `/usr`, or directories of their own.
const SYSTEM_DIRECTORIES: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What programs need of `/etc`: how libraries are found, which certificates are trusted, names of things. No
/// accounts, no keys, no names of hosts.
const SYSTEM_CONFIGURATION: [&str; 15] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Whether a path without links in it is one that every sandbox sees.
pub(super) fn is_shown(path: &Path) -> bool {
    let system = ["usr"].into_iter().chain(SYSTEM_DIRECTORIES).map(|name| Path::new("/").join(name));
    let configuration = SYSTEM_CONFIGURATION.iter().map(|name| Path::new("/etc").join(name));
    system.chain(configuration).any(|shown| shown.canonicalize().is_ok_and(|shown| path.starts_with(shown)))
}

/// What every sandbox of this server is built from.
#[derive(Debug, Clone)]
pub(super) struct Ingredients {
    /// The `latchkey` binary, where the account can read it.
    pub(super) binary: PathBuf,
    /// The directory of the files that [`SHARED_FILES`] names.
    pub(super) shared: PathBuf,
}

/// Files in the shared directory, and where they are inside.
pub(super) const SHARED_FILES: [(&str, &str); 7] = [
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("hosts", "/etc/hosts"),
    ("nsswitch.conf", "/etc/nsswitch.conf"),
    ("gitconfig", "/etc/gitconfig"),
    ("clone.gitconfig", places::CLONE_CONFIG),
    // Always there, perhaps empty and unused.
    ("ca.crt", places::CERTIFICATES),
];

/// The descriptors that bubblewrap gets; it passes neither on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    /// What it writes of the sandbox.
    pub(super) status: RawFd,
    /// The filter of system calls, which it reads.
    pub(super) filter: RawFd,
}

/// Bubblewrap's arguments for one task of the supervisor's (in JSON).
pub(super) fn arguments(
    ingredients: &Ingredients,
    directory: &Directory,
    task: &str,
    inherited: Inherited,
) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    line.namespaces(inherited);
    line.add(["--cap-drop", "ALL"]);

    line.system();
    for name in SYSTEM_CONFIGURATION {
        let path = Path::new("/etc").join(name);
        line.paths("--ro-bind-try", &path, &path);
    }
    for (name, inside) in SHARED_FILES {
        line.paths("--ro-bind", &ingredients.shared.join(name), Path::new(inside));
    }
    line.paths("--ro-bind", &ingredients.binary, Path::new(places::BINARY));

    line.add(["--dev", "/dev"]);
    line.add(["--size", &SHARED_MEMORY_BYTES.to_string(), "--perms", "1777", "--tmpfs", "/dev/shm"]);
    line.add(["--remount-ro", "/dev", "--proc", "/proc"]);
    // Settings of the namespaces belong to the account, which made them, and could be changed from inside.
    line.add(["--ro-bind", "/proc/sys", "/proc/sys"]);
    line.add(["--size", &TEMPORARY_BYTES.to_string(), "--perms", "1777", "--tmpfs", "/tmp"]);
    line.add(["--dir", "/var", "--symlink", "../tmp", "/var/tmp"]);
    line.paths("--bind", &directory.workspace(), Path::new(places::WORKSPACE));
    line.paths("--bind", &directory.home(), Path::new(places::HOME));
    line.paths("--bind", &directory.run(), Path::new(places::RUN));
    line.paths("--ro-bind", &directory.egress(), Path::new(places::EGRESS));
    line.add(["--remount-ro", "/", "--chdir", "/", "--", places::BINARY, SUBCOMMAND, task]);
    line.0
}

/// Bubblewrap's arguments for counting what is in an environment's directories: nothing but them, to be looked at alone, and
/// our own program, which may look into directories that their owner has closed.
pub(super) fn measuring_arguments(
    ingredients: &Ingredients,
    directory: &Directory,
    task: &str,
    inherited: Inherited,
) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    line.namespaces(inherited);
    line.add(["--cap-drop", "ALL", "--cap-add", "CAP_DAC_READ_SEARCH"]);
    line.system();
    line.paths("--ro-bind", &ingredients.binary, Path::new(places::BINARY));
    let own =
        [(directory.workspace(), places::WORKSPACE), (directory.home(), places::HOME), (directory.run(), places::RUN)];
    for (outside, inside) in own {
        line.paths("--ro-bind", &outside, Path::new(inside));
    }
    line.add(["--remount-ro", "/", "--chdir", "/", "--", places::BINARY, SUBCOMMAND, task]);
    line.0
}

struct Line(Vec<OsString>);

impl Line {
    /// What every sandbox is held by.
    fn namespaces(&mut self, inherited: Inherited) {
        self.add(["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]);
        self.add(["--unshare-cgroup-try", "--uid", USER_INSIDE, "--gid", USER_INSIDE, "--hostname", "environment"]);
        self.add(["--disable-userns", "--new-session", "--clearenv", "--as-pid-1"]);
        self.add(["--seccomp", &inherited.filter.to_string(), "--json-status-fd", &inherited.status.to_string()]);
    }

    /// Programs and libraries.
    fn system(&mut self) {
        self.add(["--ro-bind", "/usr", "/usr"]);
        for name in SYSTEM_DIRECTORIES {
            let path = Path::new("/").join(name);
            if let Ok(target) = fs::read_link(&path) {
                self.paths("--symlink", &target, &path);
            } else if path.is_dir() {
                self.paths("--ro-bind", &path, &path);
            }
        }
    }

    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.0.extend(arguments.map(OsString::from));
    }

    fn paths(&mut self, option: &str, from: &Path, to: &Path) {
        self.0.extend([option.into(), from.as_os_str().to_owned(), to.as_os_str().to_owned()]);
    }
}
