//! Empties a directory, whatever is in it: without permissions, or deeper than a path can be long.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Removes everything in `directory` and keeps the directory.
///
/// Nothing else may be running that writes there. Directories are lifted to the top before they are emptied: no path
/// gets longer than two names, and no recursion deeper than one.
pub(super) fn empty(directory: &Path) -> io::Result<()> {
    // The owner may have taken their own permissions away.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o711))?;
    let mut lifted: u64 = 0;
    loop {
        let mut is_empty = true;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            is_empty = false;
            if entry.file_type()?.is_dir() {
                flatten(&entry.path(), directory, &mut lifted)?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        if is_empty {
            return Ok(());
        }
    }
}

/// Removes a directory, its files, and lifts its directories to `top`.
fn flatten(directory: &Path, top: &Path, lifted: &mut u64) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // Moving a directory writes its `..`.
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
            fs::rename(entry.path(), free_name(top, lifted))?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        // Reading a directory that changes may miss entries: the next round finds them.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

fn free_name(directory: &Path, lifted: &mut u64) -> PathBuf {
    loop {
        let path = directory.join(format!(".lifted-{lifted}"));
        *lifted += 1;
        if path.symlink_metadata().is_err() {
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        // Built from the inside out, as its innermost path could not be written down.
        for _ in 0..60 {
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
