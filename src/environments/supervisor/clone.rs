//! Clones a repository into the workspace, and reports how it went.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use tokio::net::unix::pipe::Receiver;

use super::{
    forwarder,
    reaper::{Child, Reaper},
    surroundings,
    task::{CloneFailure, CloneReport, CloneStep, CloneTarget, CloneTask, REPORT_LIMIT, places},
};

/// The most bytes of what git says that are kept: the end of it.
const KEPT_BYTES: usize = 4 * 1024;
/// The most bytes of one line that are kept: the beginning of it.
const LINE_BYTES: usize = 1024;
/// The most bytes of an answer of git's that is used: a branch or a commit.
const ANSWER_BYTES: usize = 4 * 1024;

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
    /// The end of its standard error, without progress.
    complaint: String,
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
                self.must(CloneStep::Checkout, &["checkout", "--quiet", "-B", branch, "--track", &reference]).await
            }
            CloneTarget::LocalBranch(branch) => {
                if self.commit("HEAD").await.is_none() {
                    // A repository without a commit: the branch begins with the first one.
                    let reference = format!("refs/heads/{branch}");
                    return self.must(CloneStep::Checkout, &["symbolic-ref", "HEAD", &reference]).await;
                }
                self.must(CloneStep::Checkout, &["checkout", "--quiet", "--no-track", "-B", branch, "HEAD"]).await
            }
            CloneTarget::RemoteCommit(commit) => {
                if self.commit(commit).await.is_none() {
                    // Commits that no branch leads to (of a pull request, say) are not in a clone; many hosts give them
                    // to who asks by name. If this one does not, the next line says so.
                    let _ = self.must(CloneStep::FindTarget, &["fetch", "--quiet", "--", "origin", commit]).await;
                }
                self.find(commit).await?;
                self.must(CloneStep::Checkout, &["checkout", "--quiet", "--detach", commit]).await
            }
            CloneTarget::RemoteTag(tag) => {
                let reference = format!("refs/tags/{tag}");
                self.find(&reference).await?;
                let commit = format!("{reference}^{{commit}}");
                self.must(CloneStep::Checkout, &["checkout", "--quiet", "--detach", &commit]).await
            }
        }
    }

    async fn find(&self, revision: &str) -> Result<(), CloneFailure> {
        match self.commit(revision).await {
            Some(_) => Ok(()),
            None => Err(CloneFailure { step: CloneStep::FindTarget, text: String::new() }),
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
        let (mut answer, mut complaint) = (Beginning::default(), Complaint::default());
        let (read_answer, read_complaint) = tokio::join!(
            read(stdout.into(), |bytes| answer.take(bytes)),
            read(stderr.into(), |bytes| complaint.take(bytes)),
        );
        read_answer?;
        read_complaint?;
        let succeeded = exit.await.is_ok_and(|code| code == 0);
        Ok(Said {
            succeeded,
            answer: String::from_utf8_lossy(&answer.0).into_owned(),
            complaint: complaint.into_text(),
        })
    }
}

impl Said {
    fn or_failed(self, step: CloneStep) -> Result<Self, CloneFailure> {
        if self.succeeded { Ok(self) } else { Err(CloneFailure { step, text: self.complaint }) }
    }
}

fn is_head(target: &CloneTarget) -> bool {
    // A new local branch begins at the remote's HEAD: that is checked out first, an empty repository included.
    matches!(target, CloneTarget::RemoteHead | CloneTarget::LocalBranch(_))
}

fn begin(error: &io::Error) -> CloneFailure {
    CloneFailure { step: CloneStep::Begin, text: error.to_string() }
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

#[derive(Default)]
struct Beginning(Vec<u8>);

impl Beginning {
    fn take(&mut self, bytes: &[u8]) {
        let room = ANSWER_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// What git says, line by line. Progress ends in `\r`, and its last state in `, done.`: neither is kept.
#[derive(Default)]
struct Complaint {
    line: Vec<u8>,
    lines: String,
}

impl Complaint {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\r' => self.line.clear(),
                b'\n' => self.end_line(),
                byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim();
        if !line.is_empty() && !line.ends_with(", done.") && !line.starts_with("Cloning into ") {
            self.lines.push_str(line);
            self.lines.push('\n');
        }
        if self.lines.len() > KEPT_BYTES {
            let start = self.lines.ceil_char_boundary(self.lines.len() - KEPT_BYTES);
            self.lines.drain(..start);
        }
        self.line.clear();
    }

    fn into_text(mut self) -> String {
        self.end_line();
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_and_not_kept() {
        let mut complaint = Complaint::default();
        complaint.take(b"Cloning into '/workspace/a'...\nremote: Counting objects:  50% (1/2)\rremote: Coun");
        complaint
            .take(b"ting objects: 100% (2/2), done.\nReceiving objects:  36% (145/402)\rfatal: early EOF\nerror: x");
        assert_eq!(complaint.into_text(), "fatal: early EOF\nerror: x\n");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut complaint = Complaint::default();
        for _ in 0..1000 {
            complaint.take("remote: ä talks and talks\n".as_bytes());
        }
        complaint.take(&[b'x'; 100_000]);
        let text = complaint.into_text();
        assert!(text.len() <= KEPT_BYTES, "{}", text.len());
        assert!(text.ends_with(&format!("{}\n", "x".repeat(LINE_BYTES))));
    }
}
