//! A PostgreSQL for one benchmark.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use latchkey::{
    domain::token::{Generation, SigningKeys},
    embedded::{Cluster, ClusterConfig, DataDirectory, DataDirectoryLock, Role},
};
use tokio_postgres::NoTls;

/// PostgreSQL as the embedded default runs it, in a temporary directory. Ends with this value, and also when this process
/// is killed.
pub struct Postgres {
    directory: PathBuf,
    cluster: Cluster,
    postmaster: i32,
    keys: SigningKeys,
    cleaner: Option<Child>,
    _lock: DataDirectoryLock,
}

impl Postgres {
    /// Starts it, empty, beside a file of signing keys for the servers on it.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-bench-").tempdir().unwrap().keep();
        // PostgreSQL and sandboxes pass through it as accounts of their own.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711)).unwrap();
        let data = DataDirectory::open(directory.join("database")).unwrap();
        let lock = DataDirectoryLock::for_server(&data, Duration::from_secs(1)).await.unwrap();
        // A server that root starts connects as an account of its own.
        let accounts = if nix::unistd::geteuid().is_root() { vec!["latchkey".to_owned()] } else { Vec::new() };
        let cluster = Cluster::open(&data, ClusterConfig { accounts, ..ClusterConfig::default() }).unwrap();
        cluster.ensure_running(&lock).await.unwrap();
        let postmaster = cluster.postmaster_pid().await.unwrap().expect("it has just been started");
        let cleaner = clean_up_after(postmaster, &directory);
        let line = SigningKeys::generate_line(Generation::FIRST).unwrap();
        let path = directory.join("signing-keys");
        std::fs::write(&path, line.expose()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let keys = SigningKeys::parse(line.expose()).unwrap();
        let started = Self { directory, cluster, postmaster, keys, cleaner: Some(cleaner), _lock: lock };
        started.print_conditions().await;
        started
    }

    /// Which PostgreSQL it is, and how it is set up: once, since all of a benchmark's are alike.
    async fn print_conditions(&self) {
        static PRINTED: AtomicBool = AtomicBool::new(false);
        if PRINTED.swap(true, Ordering::Relaxed) {
            return;
        }
        let settings = "
            SELECT string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
            WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'shared_buffers', 'max_connections', 'jit')";
        let settings: String = self.superuser().await.query_one(settings, &[]).await.unwrap().get(0);
        println!("PostgreSQL: {settings}");
    }

    /// Where files that go with it can be put.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The signing keys of the servers on it.
    pub const fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// A connection string for Latchkey's database.
    pub fn url(&self, role: Role) -> String {
        self.cluster.connection(role)
    }

    /// A connection of the superuser.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(Role::Superuser), NoTls).await.unwrap();
        tokio::spawn(async move {
            // Ends when the client is dropped.
            let _ = connection.await;
        });
        client
    }

    /// Adds a runner that no server looks after, with a class: what is made of it stays as it was made.
    pub async fn add_runner_elsewhere(&self) {
        let rows = "
            WITH runner AS (
                INSERT INTO runners (id, organization_id, name) SELECT gen_random_uuid(), id, 'elsewhere' FROM organizations
                RETURNING id
            )
            INSERT INTO environment_classes
                (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            SELECT gen_random_uuid(), id, 'Small', 'Small', 1000, 1 << 30, 256, true FROM runner";
        self.superuser().await.batch_execute(rows).await.unwrap();
    }

    /// Does what PostgreSQL would do in the background sooner or later for tables that were filled.
    pub async fn settle(&self, tables: &[&str]) {
        let client = self.superuser().await;
        client.batch_execute(&format!("VACUUM ANALYZE {}", tables.join(", "))).await.unwrap();
        client.batch_execute("CHECKPOINT").await.unwrap();
    }

    /// The process that all of PostgreSQL's others are children of.
    pub const fn postmaster(&self) -> i32 {
        self.postmaster
    }

    /// One of PostgreSQL's programs, of the version that runs here.
    pub fn program(&self, name: &str) -> PathBuf {
        let postgres = std::fs::read_link(format!("/proc/{}/exe", self.postmaster)).unwrap();
        let beside = postgres.with_file_name(name);
        assert!(beside.exists(), "there is no {name} beside {}", postgres.display());
        beside
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut cleaner) = self.cleaner.take() {
            drop(cleaner.stdin.take());
            // The next benchmark is not to be disturbed by the end of this one.
            let _ = cleaner.wait();
        }
    }
}

/// Starts a process that ends PostgreSQL and removes its files once this process has closed the pipe between them, be it
/// by its own end.
fn clean_up_after(postmaster: i32, directory: &Path) -> Child {
    // A zombie counts as ended: whoever could collect it may be waiting for this very script.
    let script = format!(
        "read -r _; kill -INT {postmaster}; \
         while grep -q '^State:[[:space:]]*[^ZX[:space:]]' /proc/{postmaster}/status 2>/dev/null; do sleep 0.1; done; rm -rf \"$0\""
    );
    Command::new("setsid")
        .args(["--wait", "sh", "-c", &script])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
