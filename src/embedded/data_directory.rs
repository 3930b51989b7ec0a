//! The data directory: where it is, who may enter it, and what is where inside it.
//!
//! Mode 0700, except that root's is 0711: PostgreSQL, the server after it has given up root, and the sandboxes each
//! have an account of their own and must pass through it to what is theirs. Nobody but root can list it, and
//! everything inside has a mode of its own.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::error::EmbeddedError;
use super::files::{self, Ownership};

/// The data directory of one Latchkey server. Holding this value says that the directory exists and is ours, not that
/// nobody else uses it: see [`super::DataDirectoryLock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    /// Where data is kept when nothing else is said: `/var/lib/latchkey` for root, `latchkey` in the XDG data directory
    /// (<https://specifications.freedesktop.org/basedir-spec/latest/>) for everybody else.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NoHome`] where an account has neither `XDG_DATA_HOME` nor `HOME` nor a home directory.
    pub fn default_path() -> Result<PathBuf, EmbeddedError> {
        if Uid::effective().is_root() {
            return Ok(PathBuf::from("/var/lib/latchkey"));
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(data) = absolute("XDG_DATA_HOME") {
            return Ok(data.join("latchkey"));
        }
        let registered = || User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir);
        let home = absolute("HOME").or_else(registered).filter(|home| home.is_dir());
        Ok(home.ok_or(EmbeddedError::NoHome)?.join(".local/share/latchkey"))
    }

    /// Opens the data directory, making it and its parents where they are missing.
    ///
    /// # Errors
    ///
    /// The directory belongs to another account, holds files of something else, or cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EmbeddedError> {
        let path = std::path::absolute(path.as_ref()).map_err(EmbeddedError::io("resolve", path.as_ref()))?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(EmbeddedError::io("create the directory", parent))?;
        }
        // A symbolic link that the operator made is followed, once, and then no longer looked at.
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path,
            Err(error) => return Err(EmbeddedError::io("open", &path)(error)),
        };
        if path.exists() {
            refuse_foreign_content(&path)?;
        }
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        files::ensure_directory(&path, Ownership::ours(mode))?;
        let path = path.canonicalize().map_err(EmbeddedError::io("open", &path))?;
        Ok(Self { path })
    }

    /// The directory itself: absolute, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of signing keys.
    #[must_use]
    pub fn signing_keys(&self) -> PathBuf {
        self.path.join("signing-keys")
    }

    /// The file with the ID of the local runner.
    #[must_use]
    pub fn runner_id(&self) -> PathBuf {
        self.path.join("runner-id")
    }

    /// The directory of the local runner's environments.
    #[must_use]
    pub fn environments(&self) -> PathBuf {
        self.path.join("environments")
    }

    /// The directory of everything that is PostgreSQL's.
    #[must_use]
    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The file that is locked by whoever runs this directory's PostgreSQL.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Sixteen hexadecimal digits that stand for this directory's path where the path itself is too long.
    pub(super) fn path_digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.path.as_os_str().as_bytes());
        digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Setting the mode of somebody's home directory because it was named by mistake would be a nuisance: a directory is
/// ours if it has our lock file or, beside a database of the operator's, the ID of our runner, or if it is new (empty, but
/// for what an operator or a file system puts there first).
fn refuse_foreign_content(path: &Path) -> Result<(), EmbeddedError> {
    if ["lock", "runner-id"].iter().any(|ours| path.join(ours).exists()) {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(EmbeddedError::io("read the directory", path))?;
    for entry in entries {
        let name = entry.map_err(EmbeddedError::io("read the directory", path))?.file_name();
        if name != "signing-keys" && name != "lost+found" {
            let entry = name.to_string_lossy().into_owned();
            return Err(EmbeddedError::NotLatchkeys { path: path.to_path_buf(), entry });
        }
    }
    Ok(())
}
