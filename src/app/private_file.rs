//! Files that nobody else may read: looked at through the descriptor that they are read by, so that it is the same file.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Why one is not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The system says why.
    File(io::Error),
    /// Others may read or write it: its mode.
    Permissions(u32),
    /// It is another account's, by this number.
    Owner(u32),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Reads so many bytes of a text that only this account, or root, owns and reads.
///
/// # Errors
/// [`Unread`]
pub(super) fn read(file: File, limit: u64) -> Result<Zeroizing<String>, Unread> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    let owner_is_us = metadata.uid() == geteuid().as_raw() || metadata.uid() == 0;
    if !owner_is_us {
        return Err(Unread::Owner(metadata.uid()));
    }
    if mode & 0o077 != 0 {
        return Err(Unread::Permissions(mode));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}
