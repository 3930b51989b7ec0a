//! Directories and files whose owner and mode are exactly what they should be.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::{Gid, Uid};

use super::error::EmbeddedError;

/// Owner, group and mode that a directory or file is to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ownership {
    /// The user that owns it; one other than ours can only be given by root.
    pub(super) uid: Uid,
    /// Its group; likewise.
    pub(super) gid: Gid,
    /// Its permission bits.
    pub(super) mode: u32,
}

impl Ownership {
    /// Ours, with this mode.
    pub(super) fn ours(mode: u32) -> Self {
        Self { uid: Uid::effective(), gid: Gid::effective(), mode }
    }
}

/// Makes the directory if there is none, and sets its owner and mode if they differ: a crash between the two is
/// repaired by the next call. A symbolic link in its place is refused, and so is a directory of somebody else's
/// (neither ours nor, being root, already handed to the right account): in /tmp it may be a trap.
pub(super) fn ensure_directory(path: &Path, wanted: Ownership) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(EmbeddedError::io("create the directory", path)(error)),
    }
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(O_DIRECTORY | O_NOFOLLOW)
        .open(path)
        .map_err(EmbeddedError::io("open the directory", path))?;
    let owner = directory.metadata().map_err(EmbeddedError::io("inspect", path))?.uid();
    let current = Uid::effective().as_raw();
    if owner != current && !(current == 0 && owner == wanted.uid.as_raw()) {
        return Err(EmbeddedError::ForeignDirectory { path: path.to_path_buf(), owner, current });
    }
    set_ownership(&directory, path, wanted)
}

/// Replaces the file's content in one step, so that whoever reads it sees the old or the new one; true if it differed.
pub(super) fn replace_file(path: &Path, content: &str, wanted: Ownership) -> Result<bool, EmbeddedError> {
    if read_bounded(path, content.len() + 1).is_ok_and(|old| old == content.as_bytes()) {
        return Ok(false);
    }
    let new = path.with_extension("new");
    let mut file = create_file(&new, wanted)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(EmbeddedError::io("write", &new))?;
    std::fs::rename(&new, path).map_err(EmbeddedError::io("replace", path))?;
    Ok(true)
}

/// Makes the file, or empties it, and sets its owner and mode. For directories that only we write to.
pub(super) fn create_file(path: &Path, wanted: Ownership) -> Result<File, EmbeddedError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
        .map_err(EmbeddedError::io("create", path))?;
    set_ownership(&file, path, wanted)?;
    Ok(file)
}

/// At most the last `limit` bytes of a regular file. Another account may own the directory and put a link or a pipe in
/// its place: neither is followed or waited for.
pub(super) fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    use std::io::Seek;
    let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.seek(io::SeekFrom::Start(metadata.len().saturating_sub(limit)))?;
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Removes the file; that there is none is fine.
pub(super) fn remove_file(path: &Path) -> Result<(), EmbeddedError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EmbeddedError::io("remove", path)(error)),
    }
}

fn set_ownership(file: &File, path: &Path, wanted: Ownership) -> Result<(), EmbeddedError> {
    let metadata = file.metadata().map_err(EmbeddedError::io("inspect", path))?;
    // An unprivileged account leaves the group alone: a set-group-ID parent may have chosen it.
    let groups_differ = Uid::effective().is_root() && metadata.gid() != wanted.gid.as_raw();
    if metadata.uid() != wanted.uid.as_raw() || groups_differ {
        std::os::unix::fs::fchown(file, Some(wanted.uid.as_raw()), Some(wanted.gid.as_raw()))
            .map_err(EmbeddedError::io("change the owner of", path))?;
    }
    if metadata.mode() & 0o7777 != wanted.mode {
        file.set_permissions(std::fs::Permissions::from_mode(wanted.mode))
            .map_err(EmbeddedError::io("change the mode of", path))?;
    }
    Ok(())
}
