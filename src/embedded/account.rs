//! The accounts of the operating system, and the one place that starts a process as another account.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{Gid, Uid, User};

use super::error::EmbeddedError;

/// An account of the operating system, by its name and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// The account that this process runs as (its effective user).
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NamelessAccount`] where the user ID has no name: PostgreSQL's peer authentication goes by names.
    pub fn current() -> Result<Self, EmbeddedError> {
        let uid = Uid::effective();
        let user = User::from_uid(uid).ok().flatten().ok_or(EmbeddedError::NamelessAccount { uid: uid.as_raw() })?;
        Ok(Self { name: user.name, uid, gid: Gid::effective() })
    }

    /// The account of this name.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NoSuchAccount`] where there is none.
    pub fn named(name: &str) -> Result<Self, EmbeddedError> {
        let user = User::from_name(name).ok().flatten();
        let user = user.ok_or_else(|| EmbeddedError::NoSuchAccount { name: name.to_owned() })?;
        Ok(Self { name: user.name, uid: user.uid, gid: user.gid })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its user ID.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Its primary group.
    #[must_use]
    pub fn gid(&self) -> Gid {
        self.gid
    }

    /// Whether this process runs as it.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.uid == Uid::effective()
    }

    /// Starts a program as this account, detached: in a session of its own (a terminal's Ctrl-C does not reach it), in
    /// `directory`, with both outputs in `output`, no input, no other descriptor of ours and none of our environment.
    ///
    /// Every process of another account is started here, so that this is all that changes for a server that has given
    /// up root and must ask somebody else.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::CannotEnter`] where the account cannot reach `directory`, [`EmbeddedError::Spawn`] otherwise.
    pub(super) fn spawn(
        &self,
        program: &Path,
        arguments: &[OsString],
        directory: &Path,
        output: File,
    ) -> Result<Child, EmbeddedError> {
        self.try_spawn(program, arguments, directory, output).map_err(|source| {
            let closed = if self.is_current() { None } else { self.first_closed(directory) };
            match closed {
                Some(closed) => EmbeddedError::CannotEnter { account: self.name.clone(), closed },
                None => EmbeddedError::Spawn { program: program.to_path_buf(), account: self.name.clone(), source },
            }
        })
    }

    fn try_spawn(&self, program: &Path, arguments: &[OsString], directory: &Path, output: File) -> io::Result<Child> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // PGDATA, PGOPTIONS and their like would change what the programs do; a fixed time zone also spares initdb
        // a search of the whole zone database.
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").env("TZ", "UTC");
        if !self.is_current() {
            // The standard library drops the supplementary groups along with the user ID.
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        // SAFETY: between fork and exec only system calls are made (setsid, close_range), which allocate nothing and
        // take no lock.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // Our own descriptors are close-on-exec; those that we inherited may not be. A kernel before 5.11
                // does not know the flag: nothing is lost but this precaution.
                nix::libc::syscall(nix::libc::SYS_close_range, 3_u32, u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC);
                Ok(())
            });
        }
        command.spawn()
    }

    /// The outermost directory on the way to `path` (itself included) that this account may not pass through, judged
    /// by its permission bits.
    fn first_closed(&self, path: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        ancestors.into_iter().find(|ancestor| !self.may_pass(ancestor)).map(Path::to_path_buf)
    }

    fn may_pass(&self, directory: &Path) -> bool {
        let Ok(metadata) = directory.metadata() else { return false };
        let bit = if metadata.uid() == self.uid.as_raw() {
            0o100
        } else if metadata.gid() == self.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        metadata.mode() & bit != 0
    }
}
