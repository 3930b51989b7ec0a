//! The directory of PostgreSQL's Unix socket, and who may enter it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::account::Account;
use super::data_directory::DataDirectory;
use super::error::EmbeddedError;
use super::files::{Ownership, ensure_directory, remove_file};
use super::layout::Layout;

/// What PostgreSQL names its socket on its usual port.
const SOCKET_FILE: &str = ".s.PGSQL.5432";

/// The longest path that a Unix socket's address can hold, in bytes (`sun_path` in unix(7), less its final NUL).
const LONGEST_ADDRESS: usize = 107;

/// Where the socket of this data directory goes: inside it, or if that path is too long for a socket (or has characters
/// that connection strings and PostgreSQL's settings give a meaning), in a short directory named after it.
///
/// That one is in /tmp for an unprivileged account, not in the XDG runtime directory: PostgreSQL may outlive the login
/// session, at whose end the latter is removed.
pub(super) fn choose(directory: &DataDirectory) -> PathBuf {
    let inside = directory.postgres().join("socket");
    if is_plain(&inside) && inside.join(SOCKET_FILE).as_os_str().len() <= LONGEST_ADDRESS {
        return inside;
    }
    let (user, digest) = (Uid::effective(), directory.path_digest());
    PathBuf::from(if user.is_root() {
        format!("/run/latchkey-{digest}")
    } else {
        format!("/tmp/latchkey-{user}-{digest}")
    })
}

/// Makes the socket's directory: 0700, or open to pass for the group of the account that is to connect, or for all if
/// those accounts have several groups (the peer check stands behind it in any case).
pub(super) fn prepare(path: &Path, layout: &Layout, guests: &[Account]) -> Result<(), EmbeddedError> {
    let closed = layout.of_postgres(0o700);
    let mut groups: Vec<Gid> = guests.iter().filter(|guest| guest.uid() != closed.uid).map(Account::gid).collect();
    groups.sort_by_key(|group| group.as_raw());
    groups.dedup();
    let ownership = match groups.as_slice() {
        [] => closed,
        [group] => Ownership { gid: *group, mode: 0o710, ..closed },
        [_, ..] => Ownership { mode: 0o711, ..closed },
    };
    ensure_directory(path, ownership)
}

/// Removes what a postmaster that was killed left there. Only for a cluster that no process runs: its own check takes
/// any living process with the old ID for a postmaster.
pub(super) fn remove_sockets(path: &Path) -> Result<(), EmbeddedError> {
    remove_file(&path.join(SOCKET_FILE))?;
    remove_file(&path.join(format!("{SOCKET_FILE}.lock")))
}

/// Removes the directory after a stop if it lies outside the data directory.
pub(super) fn remove_outside(path: &Path, layout: &Layout) -> Result<(), EmbeddedError> {
    if path.starts_with(layout.root()) {
        return Ok(());
    }
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EmbeddedError::io("remove the directory", path)(error)),
    }
}

/// Whether every character stands for itself in a connection string and in a list of PostgreSQL's.
fn is_plain(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(byte))
}
