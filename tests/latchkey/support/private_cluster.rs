//! A PostgreSQL for one test alone: to be stopped, paused and started again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use latchkey::embedded::{Cluster, ClusterConfig, DATABASE, DataDirectory, DataDirectoryLock, Role, Stop};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{cluster::server_account, eventually};

/// Ended with this value, and with this process, however that ends.
pub struct PrivateCluster {
    cluster: Cluster,
    lock: DataDirectoryLock,
    guard: Child,
}

/// Waits for the end of a pipe that this process holds; then nothing of the cluster is left. The postmaster is this
/// process's child: once ended it may stay a zombie for as long as [`PrivateCluster::drop`] keeps the runtime from
/// collecting it, so a zombie counts as gone.
const GUARD: &str = r#"
    read -r _
    postmaster=$(head -n 1 "$0/postgres/data/postmaster.pid" 2>/dev/null)
    if [ -n "$postmaster" ]; then
        children=$(cat "/proc/$postmaster/task/$postmaster/children" 2>/dev/null)
        kill -QUIT "$postmaster" 2>/dev/null
        kill -CONT "$postmaster" $children 2>/dev/null
        while grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$postmaster/status" 2>/dev/null; do sleep 0.05; done
    fi
    rm -rf "$0"
"#;

impl PrivateCluster {
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-private-").tempdir().unwrap().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
        let data = DataDirectory::open(&directory).unwrap();
        let lock = DataDirectoryLock::for_server(&data, Duration::from_secs(1)).await.unwrap();
        let options = vec![("fsync".to_owned(), "off".to_owned()), ("shared_buffers".to_owned(), "16MB".to_owned())];
        let config = ClusterConfig { options, accounts: server_account(), ..ClusterConfig::default() };
        let cluster = Cluster::open(&data, config).unwrap();
        let guard = guard(&directory);
        cluster.ensure_running(&lock).await.unwrap();
        Self { cluster, lock, guard }
    }

    pub fn url(&self, role: Role) -> String {
        self.url_of(role, DATABASE)
    }

    /// The same for another database of the cluster.
    pub fn url_of(&self, role: Role, database: &str) -> String {
        self.cluster.connection_to(role, database)
    }

    /// Lets a server that root started in as a role that it does not serve as otherwise.
    pub async fn let_server_in_as(&self, role: Role, superuser: &tokio_postgres::Client) {
        let map = self.cluster.log_directory().with_file_name("config").join("pg_ident.conf");
        let mut text = fs::read_to_string(&map).unwrap();
        for account in server_account() {
            text.push_str(&format!("latchkey \"{account}\" \"{}\"\n", role.name()));
        }
        fs::write(&map, text).unwrap();
        let loaded = async || -> std::time::SystemTime {
            superuser.query_one("SELECT pg_conf_load_time()", &[]).await.unwrap().get(0)
        };
        let before = loaded().await;
        superuser.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        eventually("the map is read anew", async || (loaded().await > before).then_some(())).await;
    }

    /// Stops it in good order: connections end.
    pub async fn stop(&self) {
        assert_ne!(self.cluster.stop(&self.lock).await.unwrap(), Stop::NotRunning);
    }

    pub async fn start_again(&self) {
        self.cluster.ensure_running(&self.lock).await.unwrap();
    }

    /// Makes a black hole of it: connections are taken, and nothing is answered.
    pub async fn pause(&self) {
        let postmaster = self.postmaster().await;
        signal(postmaster, Signal::SIGSTOP);
        stopped(postmaster).await;
        // It has no more children from now on.
        for child in children(postmaster) {
            signal(child, Signal::SIGSTOP);
            stopped(child).await;
        }
    }

    /// Goes on where it was paused.
    pub async fn resume(&self) {
        let postmaster = self.postmaster().await;
        for child in children(postmaster) {
            signal(child, Signal::SIGCONT);
        }
        signal(postmaster, Signal::SIGCONT);
    }

    async fn postmaster(&self) -> i32 {
        self.cluster.postmaster_pid().await.unwrap().expect("it runs")
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn guard(directory: &PathBuf) -> Child {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", GUARD]).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn children(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn signal(pid: i32, signal: Signal) {
    // One that has ended meanwhile needs none.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Waits until it does stand still, or is no more.
async fn stopped(pid: i32) {
    eventually("a process is stopped", async || {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return Some(()) };
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
        matches!(state, Some('T' | 'Z')).then_some(())
    })
    .await;
}
