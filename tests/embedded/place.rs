//! A data directory for one test, and what looks into it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use latchkey::embedded::{Cluster, ClusterConfig, DataDirectory, DataDirectoryLock, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::account::is_root;

pub const WAIT: Duration = Duration::from_secs(30);

/// A data directory of a test's own; whatever still runs there when the test ends is ended.
pub struct Place {
    pub directory: DataDirectory,
    outer: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self::inside("data")
    }

    pub fn inside(name: &str) -> Self {
        let outer = TempDir::new().unwrap();
        if is_root() {
            std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        }
        Self { directory: DataDirectory::open(outer.path().join(name)).unwrap(), outer }
    }

    pub async fn open(&self) -> (Cluster, DataDirectoryLock) {
        let cluster = Cluster::open(&self.directory, ClusterConfig::default()).unwrap();
        (cluster, DataDirectoryLock::for_server(&self.directory, WAIT).await.unwrap())
    }

    pub async fn start(&self) -> (Cluster, DataDirectoryLock) {
        let (cluster, lock) = self.open().await;
        cluster.ensure_running(&lock).await.unwrap();
        (cluster, lock)
    }

    pub fn socket_directory(&self, cluster: &Cluster) -> PathBuf {
        let connection: tokio_postgres::Config = cluster.connection(Role::Serving).parse().unwrap();
        match &connection.get_hosts()[0] {
            tokio_postgres::config::Host::Unix(path) => path.clone(),
            tokio_postgres::config::Host::Tcp(host) => panic!("not a socket: {host}"),
        }
    }

    /// Every living process that works in this place.
    pub fn processes(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let here = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|path| path.starts_with(self.outer.path()))
        };
        pids.filter(here).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let note = std::fs::read_to_string(self.directory.postgres().join("data/postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = note.lines().collect();
        if let Some(pid) = lines.first().and_then(|pid| pid.parse().ok())
            && self.processes().contains(&pid)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
        // An initdb that outlived a killed helper ends by itself.
        let until = Instant::now() + WAIT;
        while !self.processes().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(socket) = lines.get(4).map(Path::new)
            && !socket.starts_with(self.outer.path())
        {
            let _ = std::fs::remove_dir_all(socket);
        }
    }
}

pub async fn connect(connection: &str) -> Client {
    let (client, task) = tokio_postgres::connect(connection, NoTls).await.unwrap();
    tokio::spawn(task);
    client
}

pub async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Waits for something outside this process that nothing announces.
pub fn await_true(condition: impl Fn() -> bool, what: &str) {
    let until = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
