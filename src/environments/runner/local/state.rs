//! What is known of one environment on this machine, kept beside its directories where the sandbox cannot reach.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::process::Identity;
use crate::environments::runner::Checkout;

/// The directories and files of one environment.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The files that are kept; the sandbox's.
    pub(super) fn workspace(&self) -> PathBuf {
        self.0.join("ws")
    }

    /// The home directory; the sandbox's.
    pub(super) fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// Where the supervisor listens; the sandbox's.
    pub(super) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where the egress proxy listens; the server's.
    pub(super) fn egress(&self) -> PathBuf {
        self.0.join("egress")
    }

    /// What bubblewrap says of the sandbox; locked as long as bubblewrap lives.
    pub(super) fn status(&self) -> PathBuf {
        self.0.join("status")
    }

    /// What bubblewrap and the supervisor complain about.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Reads the state; an environment without one has nothing yet.
    pub(super) fn load(&self) -> io::Result<State> {
        match fs::read(self.state()) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the state: the old one or the new one is there at any time, after a crash too.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
        let temporary = self.0.join("state.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        file.sync_all()?;
        fs::rename(temporary, self.state())?;
        // The name too: what is told of this environment elsewhere must not be older here after a power cut.
        File::open(&self.0)?.sync_all()
    }

    /// Removes what is the server's of an environment whose other directories are empty.
    pub(super) fn remove(&self) -> io::Result<()> {
        for directory in [self.workspace(), self.home(), self.run()] {
            ignore_missing(fs::remove_dir(directory))?;
        }
        // What was being made when its maker was killed.
        for unfinished in [".ws.new", ".home.new", ".run.new", ".egress.new"] {
            ignore_missing(fs::remove_dir(self.0.join(unfinished)))?;
        }
        ignore_missing(fs::remove_dir_all(self.egress()))?;
        for file in [self.status(), self.log(), self.0.join("state.json.new"), self.state()] {
            ignore_missing(fs::remove_file(file))?;
        }
        ignore_missing(fs::remove_dir(&self.0))
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What is known of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Its files.
    pub(super) content: Content,
    /// The sandbox that was last started, as long as it is not known to be gone.
    pub(super) sandbox: Option<SandboxRecord>,
}

/// What is there of an environment's files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// Nothing.
    #[default]
    Absent,
    /// Perhaps something.
    Incomplete,
    /// Everything.
    Ready {
        checkout: Checkout,
        /// Of the checkout, below the workspace; none if that is empty.
        directory: Option<String>,
    },
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    /// Whether it is there to take commands; if not, it is of no use to a later server.
    pub(super) serves: bool,
    /// Its first process.
    pub(super) identity: Identity,
    /// What its launch has warned about.
    pub(super) warning: Option<String>,
}
