//! Empties a directory, whatever is in it: without permissions, deeper than a path can be long, or on a disk that has no room
//! for another name.

use std::{ffi::CString, io, path::Path};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, renameat, statat, unlinkat},
    io::Errno,
};

/// The most directories within each other that are open at once; each takes a descriptor. What is deeper is lifted to the top
/// and met there again.
const DEPTH: usize = 256;
/// Opens a directory to empty it.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes everything in `directory` and keeps the directory.
///
/// Nothing else may be running that writes there. Files and directories are removed from the inside out, by descriptors: no path
/// is longer than a name, and nothing takes room that was not there. Who deletes may do so because the disk is full.
pub(super) fn empty(directory: &Path) -> io::Result<()> {
    // The owner may have taken their own permissions away.
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let top = openat(CWD, directory, DIRECTORY, Mode::empty())?;
    let mut lifted = 0;
    loop {
        let round = Round::of(&top, &mut lifted)?;
        match round {
            Round { met: 0, .. } => return Ok(()),
            Round { done: 0, refused, .. } => return Err(refused.unwrap_or(Errno::NOTEMPTY).into()),
            // Reading a directory that changes may miss entries: the next round finds them.
            Round { .. } => {}
        }
    }
}

/// What came of one walk through all that is there.
#[derive(Default)]
struct Round {
    /// How much there was.
    met: u64,
    /// How much of it was removed, or lifted.
    done: u64,
    /// Why something could not be lifted, the last time.
    refused: Option<Errno>,
}

impl Round {
    fn of(top: &OwnedFd, lifted: &mut u64) -> io::Result<Self> {
        let mut round = Self::default();
        let mut open = vec![(Dir::read_from(top)?, CString::default())];
        loop {
            let depth = open.len();
            let Some((directory, _)) = open.last_mut() else { return Ok(round) };
            let Some(entry) = directory.read() else {
                let emptied = open.pop();
                if let (Some((_, name)), Some((above, _))) = (emptied, open.last()) {
                    match unlinkat(above.fd()?, &name, AtFlags::REMOVEDIR) {
                        Ok(()) => round.done += 1,
                        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                continue;
            };
            let entry = entry?;
            let (within, name) = (directory.fd()?, entry.file_name());
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            round.met += 1;
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                // Some file systems do not say.
                kind = FileType::from_raw_mode(statat(within, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            }
            if kind != FileType::Directory {
                unlinkat(within, name, AtFlags::empty())?;
                round.done += 1;
                continue;
            }
            // To read it; and moving a directory writes its `..`.
            chmodat(within, name, Mode::RWXU, AtFlags::empty())?;
            if depth < DEPTH {
                let inner = Dir::new(openat(within, name, DIRECTORY, Mode::empty())?)?;
                let name = name.to_owned();
                open.push((inner, name));
            } else {
                match renameat(within, name, top, free_name(top, lifted)) {
                    Ok(()) => round.done += 1,
                    // There is room when something else was removed.
                    Err(error @ (Errno::NOSPC | Errno::DQUOT)) => round.refused = Some(error),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

fn free_name(directory: impl AsFd, lifted: &mut u64) -> String {
    loop {
        let name = format!(".lifted-{lifted}");
        *lifted += 1;
        if statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn everything_goes_but_what_links_point_to() {
        let top = tempfile::tempdir().unwrap();
        let outside = top.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let directory = top.path().join("ws");
        fs::create_dir_all(directory.join("a/b/c/d")).unwrap();
        fs::create_dir_all(directory.join(".lifted-0/e")).unwrap();
        fs::write(directory.join("a/b/file"), "x").unwrap();
        symlink(&outside, directory.join("link")).unwrap();
        symlink(&outside, directory.join("a/b/c/link")).unwrap();
        fs::set_permissions(directory.join("a/b/c"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(directory.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
        empty(&directory).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_be_long_goes_too() {
        let top = tempfile::tempdir().unwrap();
        let name = "n".repeat(200);
        // Built from the inside out, as its innermost path could not be written down. Deeper than descriptors are open, too.
        for _ in 0..3 * DEPTH {
            let (inner, outer) = (top.path().join("inner"), top.path().join("outer"));
            fs::create_dir(&outer).unwrap();
            if inner.exists() {
                fs::rename(&inner, outer.join(&name)).unwrap();
            }
            fs::rename(&outer, &inner).unwrap();
        }
        empty(top.path()).unwrap();
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
    }
}
