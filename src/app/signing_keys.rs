//! The file of signing keys.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{
    AppError,
    private_file::{self, Unread},
};
use crate::{
    config::DataArgs,
    domain::{
        secret::Secret,
        token::{Generation, InvalidSigningKeys, SigningKeys},
    },
    embedded::DataDirectory,
    service::check_signing_keys,
    store::Store,
};

/// The name of the file in the data directory and among systemd's credentials.
const NAME: &str = "signing-keys";

/// Why there are no signing keys.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// Nobody said where they are.
    #[error(
        "no file of signing keys: make one with '(umask 077; latchkey admin generate-signing-key > FILE)' and name it with \
         --signing-keys"
    )]
    Nowhere,
    /// The file is not there, and no key was ever used with the database.
    #[error("{0} does not exist: make it with '(umask 077; latchkey admin generate-signing-key > {0})'")]
    Missing(PathBuf),
    /// The file is gone while the database knows keys.
    #[error(
        "{0} is missing, and without its signing keys no token can be verified; bring it back from a backup, or make a new key \
         with another generation: 'latchkey admin generate-signing-key --generation N'"
    )]
    Lost(PathBuf),
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// Others may read it.
    #[error(
        "{path} may be read or written by others (mode {mode:o}); make it safe with 'chmod 600 {path}', and think of who has read it"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another account owns it, and may change it.
    #[error("{path} belongs to another account (user ID {uid}); make it the server's with 'chown'")]
    Owner {
        /// The file.
        path: PathBuf,
        /// The account's number.
        uid: u32,
    },
    /// What is in it.
    #[error("{0}: {1}")]
    Invalid(PathBuf, InvalidSigningKeys),
    /// The system gives no randomness.
    #[error("the system's random source failed")]
    Random,
}

/// Reads the text of the file of signing keys, which was looked at: it can be read. In the embedded default the first key is
/// made, once, together with the database.
pub(super) async fn load(
    data: &DataArgs,
    directory: Option<&DataDirectory>,
    is_embedded: bool,
    store: &Store,
) -> Result<Secret, AppError> {
    let path = locate(data, directory).ok_or(SigningKeyError::Nowhere)?;
    match open(&path) {
        Ok(file) => Ok(read(&path, file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let known = store.signing_key_list().await?;
            if !known.is_empty() {
                return Err(SigningKeyError::Lost(path).into());
            }
            if !is_embedded || data.signing_keys.is_some() {
                return Err(SigningKeyError::Missing(path).into());
            }
            create(&path)?;
            let file = open(&path).map_err(|error| SigningKeyError::File(path.clone(), error))?;
            Ok(read(&path, file)?)
        }
        Err(error) => Err(SigningKeyError::File(path, error).into()),
    }
}

/// The keys of a text that [`load`] gave.
pub(super) fn parse(text: &Secret) -> Result<SigningKeys, AppError> {
    SigningKeys::parse(text.expose())
        .map_err(|error| SigningKeyError::Invalid(PathBuf::from("the file of signing keys"), error).into())
}

/// Reads the signing keys for a command, which makes none: but for the very first of an embedded database, so that a token
/// can be had before the first start.
pub(super) async fn for_command(data: &DataArgs, store: &Store) -> Result<SigningKeys, AppError> {
    let directory = match (&data.database_url, &data.data_dir) {
        (Some(_), None) => None,
        (Some(_), Some(path)) => Some(DataDirectory::open(path)?),
        (None, _) => Some(super::database::data_directory(data)?),
    };
    let keys = parse(&load(data, directory.as_ref(), data.database_url.is_none(), store).await?)?;
    check_signing_keys(store, &keys).await?;
    Ok(keys)
}

fn locate(data: &DataArgs, directory: Option<&DataDirectory>) -> Option<PathBuf> {
    let given = data.signing_keys.clone();
    let credential = || {
        let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(NAME);
        path.exists().then_some(path)
    };
    given.or_else(credential).or_else(|| directory.map(DataDirectory::signing_keys))
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads the file, which is as long as the operator has made it.
fn read(path: &Path, file: File) -> Result<Secret, SigningKeyError> {
    let mut text = private_file::read(file, u64::MAX).map_err(|unread| match unread {
        Unread::File(error) => SigningKeyError::File(path.to_owned(), error),
        Unread::Owner(uid) => SigningKeyError::Owner { path: path.to_owned(), uid },
        Unread::Permissions(mode) => SigningKeyError::Permissions { path: path.to_owned(), mode },
    })?;
    // A mistake in it is told with its place.
    SigningKeys::parse(&text).map_err(|error| SigningKeyError::Invalid(path.to_owned(), error))?;
    Ok(Secret::new(std::mem::take(&mut text)))
}

/// Writes a first key: whole and on disk, or not at all; and not over one that somebody else has just written.
fn create(path: &Path) -> Result<(), SigningKeyError> {
    let failed = |error| SigningKeyError::File(path.to_owned(), error);
    let line = SigningKeys::generate_line(Generation::FIRST).map_err(|_| SigningKeyError::Random)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(line.expose().as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error.error)),
    }
}
