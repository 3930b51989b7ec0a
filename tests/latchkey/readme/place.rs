//! Where a newcomer would be: a checkout that is built, a home, a shell, and the world that repositories come from.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use crate::support::{LATCHKEY, git_server::GitServer, network::own_address};

/// How long a block may take; only a broken test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The place. Whatever was started in it ends with it.
pub(super) struct Place {
    address: Ipv4Addr,
    directory: TempDir,
    variables: Vec<(String, String)>,
    server: Option<Child>,
    _git: GitServer,
}

impl Place {
    /// A place with a loopback address of its own, so that the ports can be those of README.md; `number` tells apart the
    /// places of one process.
    pub(super) async fn new(number: u8) -> Self {
        let address = own_address(number);
        let directory = tempfile::Builder::new().prefix("latchkey-readme-").tempdir().unwrap();
        // Sandboxes pass through it as an account of their own.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let git = GitServer::start().await;
        git.add_repository("octocat/Hello-World", &[("README", "Hello World!\n")]);
        fs::create_dir_all(directory.path().join("checkout/target")).unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        symlink(Path::new(LATCHKEY).parent().unwrap(), directory.path().join("checkout/target/release")).unwrap();
        fs::write(directory.path().join("gitconfig"), git.rewriting("https://github.com/")).unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/venv/bin");
        let search = std::env::var("PATH").unwrap();
        let variables = [
            ("PATH", format!("{search}:{tools}")),
            ("HOME", path("home")),
            ("LANG", "C.UTF-8".to_owned()),
            ("LATCHKEY_DATA_DIR", path("data")),
            ("LATCHKEY_GIT_CONFIG", path("gitconfig")),
            ("LATCHKEY_LISTEN", format!("{address}:8080")),
            ("LATCHKEY_METRICS_LISTEN", format!("{address}:9464")),
            ("GITPOD_HOST", format!("http://{address}:8080")),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { address, directory, variables, server: None, _git: git }
    }

    /// Sets a variable, or with none takes it away, for everything that is started from now on.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// Where commands are run.
    pub(super) fn checkout(&self) -> PathBuf {
        self.directory.path().join("checkout")
    }

    /// README.md's text with this place's address, and output without what only this place has.
    pub(super) fn localize(&self, text: &str) -> String {
        text.replace("127.0.0.1", &self.address.to_string())
            .replace(&format!(" --data-dir {}", self.data().display()), "")
    }

    /// Starts a server by the command that README.md shows; gives what it prints until `last` is in a line.
    pub(super) fn serve(&mut self, command: &str, last: &str) -> String {
        let log = File::create(self.directory.path().join("log")).unwrap();
        let mut command = self.command("bash", &["-c", &format!("exec {command}")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        self.server = Some(child);
        let mut output = String::new();
        // What differs each time begins at the ellipsis.
        let last = last.split('…').next().unwrap_or(last);
        while !output.contains(last) {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
                panic!("the server does not print {last:?}, only:\n{output}\n{log}");
            };
            output.push_str(&line);
            output.push('\n');
        }
        output
    }

    /// Asks the server to end, and waits until it has.
    pub(super) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        kill(pid(&server), Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        while server.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Opens a terminal.
    pub(super) fn shell(&self) -> Shell {
        let mut command = self.command("bash", &["--norc", "-s"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), lines(child.stdout.take().unwrap()));
        let mut shell = Shell { child, input, output, script: self.directory.path().join("pasted") };
        // A command that fails without anybody having expected it is told apart from one whose failure is shown.
        writeln!(shell.input, "exec 2>&1; set -E; trap 'echo \"failed ($?): $BASH_COMMAND\"' ERR").unwrap();
        shell
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.variables.iter().cloned());
        command.current_dir(self.checkout());
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // In good order, so that it ends its PostgreSQL.
            let _ = kill(pid(server), Signal::SIGTERM);
            let _ = server.wait();
        }
        for environment in fs::read_dir(self.data().join("environments")).into_iter().flatten().flatten() {
            if let Some(sandbox) = sandbox(&environment.path().join("status")) {
                let _ = kill(sandbox, Signal::SIGKILL);
            }
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// The first process of a sandbox that runs: as long as it does, its status is locked.
fn sandbox(status: &Path) -> Option<Pid> {
    let file = File::open(status).ok()?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let text = fs::read_to_string(status).ok()?;
    let status: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
    i32::try_from(status.get("child-pid")?.as_i64()?).ok().map(Pid::from_raw)
}

fn lines(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Whoever has stopped listening does not keep the writer from writing.
        BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    receiver
}

/// A terminal that blocks are pasted into.
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    script: PathBuf,
}

impl Shell {
    /// Pastes commands; gives what they print, both outputs in one.
    pub(super) fn paste(&mut self, text: &str) -> String {
        fs::write(&self.script, text).unwrap();
        writeln!(self.input, ". '{}' </dev/null; printf '\\nend of paste\\n'", self.script.display()).unwrap();
        let mut output = String::new();
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(line) if line == "end of paste" => break,
                Ok(line) => {
                    output.push_str(&line);
                    output.push('\n');
                }
                Err(_) => panic!("these commands do not end:\n{text}\nSo far:\n{output}"),
            }
        }
        assert!(!output.contains("failed ("), "a command failed:\n{text}\n{output}");
        output
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
