//! A primary and its standby, on addresses of the loopback of their own.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use latchkey::embedded::{DATABASE, Role};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{cluster, eventually};

/// One PostgreSQL. Ended with this value.
pub struct Node {
    address: String,
    postmaster: Child,
}

/// Two of them, the second a standby of the first.
pub struct Replication {
    pub nodes: [Node; 2],
    _directory: TempDir,
}

impl Replication {
    /// Makes both, with the database of a server that has not been there yet.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-replication-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        let superuser = Role::Superuser.name();
        ran(program("initdb")
            .arg("-D")
            .arg(&first)
            .args(["-U", superuser, "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C"]));
        fs::write(first.join("pg_hba.conf"), "host all,replication all 127.0.0.0/8 trust\n").unwrap();
        let primary = Node::start(&first).await;
        let sql = primary.superuser("postgres").await;
        for role in [Role::Owner, Role::Serving] {
            sql.batch_execute(&format!("CREATE ROLE {} LOGIN", role.name())).await.unwrap();
        }
        let owner = Role::Owner.name();
        sql.batch_execute(&format!("CREATE DATABASE {DATABASE} OWNER {owner}")).await.unwrap();
        ran(program("pg_basebackup")
            .args(["-h", &primary.address, "-p", "5432", "-U", superuser, "-R", "-X", "stream"])
            .args(["-c", "fast", "--no-sync", "-D", second.to_str().unwrap()]));
        let standby = Node::start(&second).await;
        Self { nodes: [primary, standby], _directory: directory }
    }

    /// How a role connects to whichever is the primary.
    pub fn url(&self, role: Role) -> String {
        let [first, second] = &self.nodes;
        format!("host={},{} port=5432 user={} dbname={DATABASE}", first.address, second.address, role.name())
    }

    /// Waits until the standby has all that the primary has.
    pub async fn in_step(&self) {
        let [first, second] = &self.nodes;
        let lsn: String = first.sql().await.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        let standby = second.sql().await;
        let reached = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        eventually("the standby is in step", async || {
            standby.query_one(reached, &[&lsn]).await.unwrap().get::<_, Option<bool>>(0)?.then_some(())
        })
        .await;
    }

    /// Makes a primary of the standby, whatever becomes of the first one.
    pub async fn promote(&self) {
        assert!(self.nodes[1].sql().await.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    }
}

impl Node {
    async fn start(data: &Path) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // Nobody else's: no port has to be found that is free.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = format!("127.{}.{low}.{}", 128 | high >> 1, NEXT.fetch_add(1, Ordering::Relaxed));
        let mut postgres = program("postgres");
        let listen = format!("listen_addresses={address}");
        postgres.arg("-D").arg(data).args(["-c", &listen, "-c", "port=5432", "-c", "unix_socket_directories="]);
        postgres.args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=100"]);
        let log = fs::File::create(data.with_extension("log")).unwrap();
        let postmaster = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let node = Self { address, postmaster };
        let url = node.url("postgres");
        eventually("PostgreSQL takes connections", async || {
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok().map(|_| ())
        })
        .await;
        node
    }

    fn url(&self, database: &str) -> String {
        format!("host={} port=5432 user={} dbname={database}", self.address, Role::Superuser.name())
    }

    async fn superuser(&self, database: &str) -> tokio_postgres::Client {
        cluster::connect(&self.url(database)).await
    }

    /// A connection of the superuser to Latchkey's database.
    pub async fn sql(&self) -> tokio_postgres::Client {
        self.superuser(DATABASE).await
    }

    /// Makes all of its processes stand still, or go on.
    pub fn signal(&self, signal: Signal) {
        let postmaster = i32::try_from(self.postmaster.id()).unwrap();
        let children = || fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        // Those that it has made until it stands still itself.
        kill(Pid::from_raw(postmaster), signal).unwrap();
        for child in children().split_whitespace() {
            // One that has ended meanwhile needs none.
            let _ = kill(Pid::from_raw(child.parse().unwrap()), signal);
        }
    }

    /// Ends it at once, as a machine that fails does.
    pub fn end(&mut self) {
        self.signal(Signal::SIGCONT);
        let _ = kill(Pid::from_raw(i32::try_from(self.postmaster.id()).unwrap()), Signal::SIGQUIT);
        let _ = self.postmaster.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.postmaster.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

/// A program of PostgreSQL's, as an account that is not root, that ends with the thread that starts it.
fn program(name: &str) -> Command {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    let program = found.pop().unwrap_or_else(|| PathBuf::from(name));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/").process_group(0);
    command
}

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
