//! The tokens that were stored by `gitpod login`, by origin.
//!
//! One file, `credentials.json`, readable by its owner alone. It is replaced as a whole: a reader sees the old one or
//! the new one, also after a power cut.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use latchkey::domain::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Mode bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;
/// Mode bits that let anybody but the owner change something.
const OTHERS_WRITE: u32 = 0o022;
/// The most bytes that are read: some thousand tokens.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// Why stored tokens cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// The user has no home.
    #[error("cannot tell where to store tokens: neither XDG_CONFIG_HOME nor HOME is set; set GITPOD_TOKEN instead")]
    NoHome,
    /// The system says no.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Others may read or change the file.
    #[error(
        "{path} holds tokens, and others can read or change it (mode {mode:04o}); make it yours alone with `chmod 600 \
         {path}`; if others use this machine, revoke those tokens and make new ones"
    )]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// The file is another user's, or no file.
    #[error("{path} is not a file of yours; remove it and sign in again")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The file is not what this program wrote.
    #[error("{path} is damaged (line {line}); remove it and sign in again")]
    Damaged {
        /// The file.
        path: String,
        /// Where. The parser's own words are not shown: they quote what they found.
        line: usize,
    },
}

/// What is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// Address of the server that was signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    /// Tokens by origin.
    #[serde(default)]
    tokens: BTreeMap<String, StoredToken>,
}

#[derive(Debug, Clone)]
struct StoredToken(Secret);

impl Serialize for StoredToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for StoredToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl Credentials {
    /// Address of the server that was signed in to last.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// The token that is stored for an origin, and for no other.
    pub(crate) fn token(&self, origin: &str) -> Option<Secret> {
        self.tokens.get(origin).map(|token| token.0.clone())
    }

    /// Keeps a token for an origin, in place of the one before.
    pub(crate) fn sign_in(&mut self, origin: String, base: String, token: Secret) {
        self.tokens.insert(origin, StoredToken(token));
        self.current = Some(base);
    }

    /// Forgets the token of an origin and, if `base` was signed in to last, that too.
    pub(crate) fn sign_out(&mut self, origin: &str, base: &str) -> Option<Secret> {
        let token = self.tokens.remove(origin);
        if self.current.as_deref() == Some(base) || self.tokens.is_empty() {
            self.current = None;
        }
        token.map(|token| token.0)
    }
}

/// Where tokens are stored.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// `$XDG_CONFIG_HOME/gitpod`, or else `~/.config/gitpod`.
    ///
    /// # Errors
    /// [`CredentialsError::NoHome`]
    pub(crate) fn locate() -> Result<Self, CredentialsError> {
        // The XDG specification: a path that is not absolute is invalid and is to be ignored.
        let configured = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || env::home_dir().filter(|path| path.is_absolute()).map(|home| home.join(".config"));
        let directory = configured.or_else(home).ok_or(CredentialsError::NoHome)?.join("gitpod");
        Ok(Self { directory })
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("credentials.json")
    }

    /// Reads what is stored; nothing when nothing ever was.
    ///
    /// # Errors
    /// [`CredentialsError::Exposed`] when others can read it, and all that can go wrong with a file.
    pub(crate) fn read(&self) -> Result<Credentials, CredentialsError> {
        self.load(OTHERS)
    }

    /// Address of the server that was signed in to last, for signing in again: that repairs a file that others can read.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub(crate) fn current(&self) -> Result<Option<String>, CredentialsError> {
        self.load(OTHERS_WRITE).map(|credentials| credentials.current)
    }

    /// Changes what is stored. Two that change it at once do so one after the other. The directory and the file are the
    /// owner's alone afterwards, whatever they were before.
    ///
    /// # Errors
    /// [`CredentialsError::Exposed`] when others could have changed the file, and all that can go wrong with a file.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Credentials) -> T) -> Result<T, CredentialsError> {
        let directory = &self.directory;
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(io_error("create", directory))?;
        let handle = File::open(directory).map_err(io_error("open", directory))?;
        let mode = handle.metadata().map_err(io_error("look at", directory))?.mode();
        if mode & OTHERS != 0 {
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
                .map_err(io_error("make yours alone", directory))?;
        }
        // The lock ends with the handle.
        handle.lock().map_err(io_error("lock", directory))?;
        let mut credentials = self.load(OTHERS_WRITE)?;
        let result = change(&mut credentials);
        self.replace(&credentials)?;
        handle.sync_all().map_err(io_error("write", directory))?;
        Ok(result)
    }

    /// Reads the file, unless its mode has one of the bits `refused`.
    fn load(&self, refused: u32) -> Result<Credentials, CredentialsError> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::default()),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let metadata = file.metadata().map_err(io_error("look at", &path))?;
        let user = rustix::process::geteuid();
        if !metadata.is_file() || (metadata.uid() != user.as_raw() && !user.is_root()) {
            return Err(CredentialsError::Foreign { path: path.display().to_string() });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & refused != 0 {
            return Err(CredentialsError::Exposed { path: path.display().to_string(), mode });
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(SIZE_LIMIT).read_to_end(&mut text).map_err(io_error("read", &path))?;
        serde_json::from_slice(&text)
            .map_err(|error| CredentialsError::Damaged { path: path.display().to_string(), line: error.line() })
    }

    fn replace(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        let path = self.path();
        let text = serde_json::to_vec_pretty(credentials).map(Zeroizing::new);
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".credentials")
                .permissions(Permissions::from_mode(FILE_MODE))
                .tempfile_in(&self.directory)?;
            file.write_all(&text?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(io_error("write", &path))
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CredentialsError {
    let path = path.display().to_string();
    move |error| CredentialsError::Io { what, path, error }
}
