//! What is known of one environment on this machine, kept beside its directories where the sandbox cannot reach.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    allowance::Allowance,
    process::{Identity, Process},
};
use crate::environments::runner::Checkout;

/// The directories and files of one environment.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    purpose: Purpose,
    group: Option<String>,
}

/// What a sandbox is for: an environment has at most one of each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To clone, to take commands, to remove.
    Life,
    /// To count what is there, whatever else goes on.
    Measuring,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        let group = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { path, purpose: Purpose::Life, group }
    }

    /// The same directory, with the files of the sandbox that measures it.
    pub(super) fn for_measuring(&self) -> Self {
        Self { path: self.path.clone(), purpose: Purpose::Measuring, group: None }
    }

    /// The same directory, with a sandbox in another control group.
    pub(super) fn in_group(&self, name: String) -> Self {
        Self { group: Some(name), ..self.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the control group that its sandbox is in, if it is in one.
    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The files that are kept; the sandbox's.
    pub(super) fn workspace(&self) -> PathBuf {
        self.path.join("ws")
    }

    /// The home directory; the sandbox's.
    pub(super) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// Where the supervisor listens; the sandbox's.
    pub(super) fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Where the egress proxy listens; the server's.
    pub(super) fn egress(&self) -> PathBuf {
        self.path.join("egress")
    }

    /// What bubblewrap says of the sandbox; locked as long as bubblewrap lives.
    pub(super) fn status(&self) -> PathBuf {
        self.path.join(match self.purpose {
            Purpose::Life => "status",
            Purpose::Measuring => "measuring.status",
        })
    }

    /// What bubblewrap and the supervisor complain about.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(match self.purpose {
            Purpose::Life => "log",
            Purpose::Measuring => "measuring.log",
        })
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state.json")
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
        let temporary = self.path.join("state.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        file.sync_all()?;
        fs::rename(temporary, self.state())?;
        // The name too: what is told of this environment elsewhere must not be older here after a power cut.
        File::open(&self.path)?.sync_all()
    }

    /// Removes what is the server's of an environment whose other directories are empty.
    pub(super) fn remove(&self) -> io::Result<()> {
        for directory in [self.workspace(), self.home(), self.run()] {
            ignore_missing(fs::remove_dir(directory))?;
        }
        // What was being made when its maker was killed.
        for unfinished in [".ws.new", ".home.new", ".run.new", ".egress.new"] {
            ignore_missing(fs::remove_dir(self.path.join(unfinished)))?;
        }
        ignore_missing(fs::remove_dir_all(self.egress()))?;
        let measuring = self.for_measuring();
        let sandboxes = [self.status(), self.log(), measuring.status(), measuring.log()];
        for file in sandboxes.into_iter().chain([self.path.join("state.json.new"), self.state()]) {
            ignore_missing(fs::remove_file(file))?;
        }
        ignore_missing(fs::remove_dir(&self.path))
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
    /// What was last counted of its files.
    #[serde(default)]
    pub(super) disk: Option<DiskUse>,
    /// Why the runner ended it by itself, the last time that it ran.
    #[serde(default)]
    pub(super) ended: Option<String>,
}

/// What files fill of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskUse {
    pub(super) bytes: u64,
    /// Whether everything could be counted; if not, there is more.
    pub(super) extent: Extent,
}

/// Whether everything was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Extent {
    /// Everything.
    Whole,
    /// There are directories within directories without an end.
    TooDeep,
    /// There are too many files to be counted in time.
    TooMany,
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
    /// What it may fill of the disk; a server that did not count began it if there is none.
    #[serde(default)]
    pub(super) allowance: Option<Allowance>,
}

impl SandboxRecord {
    /// Of a sandbox that carries out a task of our own, to its end.
    pub(super) fn of_task(first: &Process) -> Self {
        Self { serves: false, identity: first.identity().clone(), warning: None, allowance: None }
    }
}
