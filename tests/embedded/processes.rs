//! Other processes: ones to kill, strangers, and small disks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use latchkey::embedded::{Account, Cluster, ClusterConfig, DataDirectory, DataDirectoryLock};

use crate::account::{is_root, run};
use crate::place::WAIT;

/// Not a test: what this file starts again as a process of its own, for the tests to kill.
#[test]
#[ignore = "started by other tests"]
fn helper() {
    let (Ok(role), Ok(path)) = (std::env::var("LATCHKEY_TEST_HELPER"), std::env::var("LATCHKEY_TEST_DIRECTORY")) else {
        return;
    };
    run(async {
        let directory = DataDirectory::open(path).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let (pid, _lock) = match role.as_str() {
            "start" => {
                let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
                let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
                cluster.ensure_running(&lock).await.unwrap();
                (cluster.postmaster_pid().await.unwrap().unwrap(), lock)
            }
            "hold_server" => (own, DataDirectoryLock::for_server(&directory, WAIT).await.unwrap()),
            "hold_command" => match DataDirectoryLock::for_command(&directory, WAIT).await.unwrap() {
                latchkey::embedded::CommandAccess::Alone(lock) => (own, lock),
                latchkey::embedded::CommandAccess::BesideServer { pid } => panic!("a server runs: {pid}"),
            },
            other => panic!("unknown helper {other}"),
        };
        println!("\nhelper ready {pid}");
        // Until its test is done with it, or has ended.
        std::io::stdin().read_line(&mut String::new()).unwrap();
    });
}

/// A process of this file's `helper`.
pub struct Helper {
    pub child: Child,
}

impl Helper {
    pub fn new(role: &str, directory: &DataDirectory) -> Self {
        let child = Command::new("/proc/self/exe")
            .args(["--exact", "processes::helper", "--ignored", "--nocapture"])
            .env("LATCHKEY_TEST_HELPER", role)
            .env("LATCHKEY_TEST_DIRECTORY", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// The process ID that it reports.
    pub fn await_ready(&mut self) -> i32 {
        let output = BufReader::new(self.child.stdout.as_mut().unwrap());
        let lines = output.lines().map_while(Result::ok);
        let mut reports = lines.filter_map(|line| line.strip_prefix("helper ready ")?.parse().ok());
        reports.next().expect("the helper failed")
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn end(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A living process of the account that runs PostgreSQL, which has nothing to do with it.
pub struct Stranger(Child);

impl Stranger {
    pub fn new() -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").current_dir("/");
        if is_root() {
            let account = Account::named("postgres").unwrap();
            command.uid(account.uid().as_raw()).gid(account.gid().as_raw());
        }
        Self(command.spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small disk of its own.
pub struct Disk(pub PathBuf);

impl Disk {
    pub fn mount(path: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0711");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status().unwrap();
        assert!(status.success(), "mount");
        Self(path.to_path_buf())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
