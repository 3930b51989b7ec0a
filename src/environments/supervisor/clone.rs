//! Clones a repository into the workspace, tells how far it is, and reports how it went.

use std::{
    cell::Cell,
    convert::Infallible,
    fs,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::net::unix::pipe::Receiver;

use super::{
    forwarder,
    reaper::{Child, Reaper},
    said::{Answer, Complaint},
    surroundings,
    task::{CloneFailure, CloneReport, CloneStep, CloneTarget, CloneTask, REPORT_LIMIT, places},
};
use crate::domain::environment::Progress;

/// How often it is told how far git is.
const TELLING: Duration = Duration::from_millis(250);
/// The exit code of who was killed: by the kernel, for want of memory, as nobody else in here does.
const KILLED: i32 = 128 + 9;
/// Writes files, and says nothing but how far it is.
const CHECKOUT: &[&str] = &["checkout", "--quiet", "--progress"];

/// Clones, and writes the report. An error is one of the sandbox, not of the clone: that is in the report.
pub(super) async fn run(task: &CloneTask) -> io::Result<()> {
    forwarder::start().await?;
    let git = Git { reaper: Reaper::start()?, directory: Path::new(places::WORKSPACE).join(&task.directory) };
    let report = match git.clone(task).await {
        Ok(()) => CloneReport { branch: git.branch().await, commit: git.commit("HEAD").await, failure: None },
        Err(failure) => CloneReport { branch: None, commit: None, failure: Some(failure) },
    };
    let text = serde_json::to_vec(&report)?;
    if text.len() > REPORT_LIMIT {
        return Err(io::Error::other("the report is too long"));
    }
    // In place at once or not at all.
    let temporary = Path::new(places::RUN).join(".report");
    fs::write(&temporary, text)?;
    fs::rename(temporary, Path::new(places::RUN).join(places::REPORT))
}

struct Git {
    reaper: Reaper,
    directory: PathBuf,
}

/// What a run of git has said.
struct Said {
    succeeded: bool,
    /// The beginning of its standard output.
    answer: String,
    /// The end of its standard error, without progress, and without what it passes on of the host's.
    complaint: String,
    /// The end of that.
    remote: String,
}

impl Git {
    async fn clone(&self, task: &CloneTask) -> Result<(), CloneFailure> {
        self.fetch(task).await?;
        self.checkout(&task.target).await?;
        if let Some(upstream) = &task.upstream_url {
            self.must(CloneStep::Checkout, &["remote", "add", "--", "upstream", upstream]).await?;
        }
        Ok(())
    }

    async fn fetch(&self, task: &CloneTask) -> Result<(), CloneFailure> {
        let mut command = self.command(Path::new(places::WORKSPACE));
        command.args(["clone", "--progress", "--template=", "--no-recurse-submodules"]);
        if !is_head(&task.target) {
            command.arg("--no-checkout");
        }
        command.arg("--").arg(&task.remote_url).arg(&self.directory);
        let said = self.run(&mut command).await.map_err(|error| begin(&error))?;
        said.or_failed(CloneStep::Fetch).map(drop)
    }

    async fn checkout(&self, target: &CloneTarget) -> Result<(), CloneFailure> {
        match target {
            CloneTarget::RemoteHead => Ok(()),
            CloneTarget::RemoteBranch(branch) => {
                let reference = format!("refs/remotes/origin/{branch}");
                self.find(&reference).await?;
                self.must(CloneStep::Checkout, &[CHECKOUT, &["-B", branch, "--track", &reference]].concat()).await
            }
            CloneTarget::LocalBranch(branch) => {
                if self.commit("HEAD").await.is_none() {
                    // A repository without a commit: the branch begins with the first one.
                    let reference = format!("refs/heads/{branch}");
                    return self.must(CloneStep::Checkout, &["symbolic-ref", "HEAD", &reference]).await;
                }
                self.must(CloneStep::Checkout, &[CHECKOUT, &["--no-track", "-B", branch, "HEAD"]].concat()).await
            }
            CloneTarget::RemoteCommit(commit) => {
                if self.commit(commit).await.is_none() {
                    // Commits that no branch leads to (of a pull request, say) are not in a clone; many hosts give them
                    // to who asks by name. If this one does not, the next line says so.
                    let _ = self.must(CloneStep::FindTarget, &["fetch", "--quiet", "--", "origin", commit]).await;
                }
                self.find(commit).await?;
                self.must(CloneStep::Checkout, &[CHECKOUT, &["--detach", commit]].concat()).await
            }
            CloneTarget::RemoteTag(tag) => {
                let reference = format!("refs/tags/{tag}");
                self.find(&reference).await?;
                let commit = format!("{reference}^{{commit}}");
                self.must(CloneStep::Checkout, &[CHECKOUT, &["--detach", &commit]].concat()).await
            }
        }
    }

    async fn find(&self, revision: &str) -> Result<(), CloneFailure> {
        match self.commit(revision).await {
            Some(_) => Ok(()),
            None => Err(CloneFailure { step: CloneStep::FindTarget, text: String::new(), remote: String::new() }),
        }
    }

    /// The commit that a revision names.
    async fn commit(&self, revision: &str) -> Option<String> {
        let revision = format!("{revision}^{{commit}}");
        self.ask(&["rev-parse", "--verify", "--quiet", &revision]).await
    }

    /// The branch that is checked out.
    async fn branch(&self) -> Option<String> {
        self.ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]).await
    }

    async fn ask(&self, arguments: &[&str]) -> Option<String> {
        let said = self.run(self.command(&self.directory).args(arguments)).await.ok()?;
        let answer = said.answer.trim();
        (said.succeeded && !answer.is_empty()).then(|| answer.to_owned())
    }

    async fn must(&self, step: CloneStep, arguments: &[&str]) -> Result<(), CloneFailure> {
        let said = self.run(self.command(&self.directory).args(arguments)).await.map_err(|error| begin(&error))?;
        said.or_failed(step).map(drop)
    }

    /// Git, with the operator's configuration and no other, and nobody to ask.
    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new("git");
        surroundings::set(&mut command, forwarder::ADDRESS, "");
        command.current_dir(directory).envs([
            ("GIT_CONFIG_GLOBAL", places::CLONE_CONFIG),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("LC_ALL", "C"),
        ]);
        command
    }

    /// Runs git to its end, reading all that it says.
    async fn run(&self, command: &mut Command) -> io::Result<Said> {
        let Child { exit, stdout, stderr, .. } = self.reaper.spawn(command)?;
        let progress = Cell::new(None);
        let (mut answer, mut complaint) = (Answer::default(), Complaint::new(&progress));
        let all_is_said = async {
            tokio::try_join!(
                read(stdout.into(), |bytes| answer.take(bytes)),
                read(stderr.into(), |bytes| complaint.take(bytes)),
            )
        };
        tokio::select! {
            read = all_is_said => read.map(drop)?,
            never = tell(&progress) => match never {},
        }
        let code = exit.await.unwrap_or(255);
        let (mut complaint, remote) = complaint.into_texts();
        if code == KILLED {
            // In Git's words of its own children.
            complaint.push_str("error: git died of signal 9\n");
        }
        Ok(Said { succeeded: code == 0, answer: answer.into_text(), complaint, remote })
    }
}

impl Said {
    fn or_failed(self, step: CloneStep) -> Result<Self, CloneFailure> {
        if self.succeeded { Ok(self) } else { Err(CloneFailure { step, text: self.complaint, remote: self.remote }) }
    }
}

fn is_head(target: &CloneTarget) -> bool {
    // A new local branch begins at the remote's HEAD: that is checked out first, an empty repository included.
    matches!(target, CloneTarget::RemoteHead | CloneTarget::LocalBranch(_))
}

fn begin(error: &io::Error) -> CloneFailure {
    CloneFailure { step: CloneStep::Begin, text: error.to_string(), remote: String::new() }
}

/// Tells the server now and then how far git is. A server that is gone does not keep git from going on.
async fn tell(progress: &Cell<Option<Progress>>) -> Infallible {
    loop {
        tokio::time::sleep(TELLING).await;
        if let Some(progress) = progress.take()
            && let Ok(mut line) = serde_json::to_vec(&progress)
        {
            line.push(b'\n');
            let _ = io::stdout().write_all(&line);
        }
    }
}

async fn read(pipe: OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let pipe = Receiver::from_owned_fd(pipe)?;
    let mut buffer = [0; 8 * 1024];
    loop {
        pipe.readable().await?;
        match pipe.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
