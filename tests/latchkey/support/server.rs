//! A server for one test: the real binary, on a port of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use latchkey::domain::token::{Generation, SigningKeys};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{Api, SOON, TestDatabase};

/// The server's program.
pub const LATCHKEY: &str = env!("CARGO_BIN_EXE_latchkey");

/// How a server is started.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Flags besides those that say where the data is and where to listen.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// A data directory to use; by default one that goes with the server.
    pub data_dir: Option<PathBuf>,
    /// The text of the file of signing keys; by default a new key, kept in the data directory for the next server there.
    pub signing_keys: Option<String>,
    /// Where to listen; by default a free port of 127.0.0.1.
    pub listen: Option<String>,
    /// A program, with its arguments, that becomes the server in the end.
    pub wrapper: Vec<String>,
    /// The same of `latchkey admin`.
    pub admin_wrapper: Vec<String>,
}

/// A running server. Killed with this value.
pub struct TestServer {
    child: Child,
    announced: Arc<Mutex<String>>,
    address: String,
    data_dir: PathBuf,
    log: PathBuf,
    admin_wrapper: Vec<String>,
    _own: Option<TempDir>,
}

impl TestServer {
    /// Starts one that asks PostgreSQL about each request: another goes on for a while by what it remembers.
    pub async fn without_memory(database: &TestDatabase) -> Self {
        let options = ServerOptions { args: vec!["--revocation-bound=0".to_owned()], ..ServerOptions::default() };
        Self::start_with(database, options).await
    }

    /// Starts a server on a database, without environments.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, ServerOptions::default()).await
    }

    /// Starts a server on a database and waits until it serves.
    pub async fn start_with(database: &TestDatabase, options: ServerOptions) -> Self {
        Self::try_start_with(database, options).await.unwrap_or_else(|log| panic!("the server did not start: {log}"))
    }

    /// The same, or what the server said instead of serving.
    pub async fn try_start_with(database: &TestDatabase, options: ServerOptions) -> Result<Self, String> {
        let mut args = vec!["--database-url".to_owned(), database.serving_url()];
        args.extend(["--owner-database-url".to_owned(), database.owner_url()]);
        args.extend(options.args.clone());
        Self::launch(ServerOptions { args, ..options }).await
    }

    /// Starts a server with just these options: without a database URL it has a PostgreSQL of its own.
    pub async fn launch(options: ServerOptions) -> Result<Self, String> {
        let own = options.data_dir.is_none().then(|| {
            let directory = tempfile::Builder::new().prefix("latchkey-server-").tempdir().unwrap();
            // Sandboxes pass through it as an account of their own.
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
            directory
        });
        let data_dir = options.data_dir.unwrap_or_else(|| own.as_ref().unwrap().path().to_owned());
        let external = options.args.iter().any(|arg| arg == "--database-url");
        if let Some(text) = &options.signing_keys {
            write_keys(&data_dir, text);
        } else if external && !data_dir.join("signing-keys").exists() {
            write_keys(&data_dir, SigningKeys::generate_line(Generation::FIRST).unwrap().expose());
        }
        let log = tempfile::Builder::new().prefix("latchkey-log-").tempfile().unwrap().keep().unwrap();
        let mut words = options.wrapper.iter().map(String::as_str).chain([LATCHKEY]);
        let mut child = Command::new(words.next().unwrap_or(LATCHKEY))
            .args(words)
            .arg("serve")
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["--listen", options.listen.as_deref().unwrap_or("127.0.0.1:0")])
            .args(&options.args)
            .env("LATCHKEY_LOG", "latchkey=trace,info")
            .env("LATCHKEY_METRICS_LISTEN", "off")
            .env_remove("GIT_CONFIG_GLOBAL")
            .env_remove("LATCHKEY_GIT_CONFIG")
            .envs(options.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(SOON, lines.next_line()).await.expect("the server starts in time").unwrap();
        let Some(address) = first.as_deref().and_then(|line| line.strip_prefix("latchkey serves http://")) else {
            child.wait().await.unwrap();
            let said = fs::read_to_string(&log.1).unwrap();
            fs::remove_file(&log.1).unwrap();
            return Err(said);
        };
        let address = address.to_owned();
        // Whoever writes to a pipe that nobody reads stands still one day.
        let announced: Arc<Mutex<String>> = Arc::default();
        tokio::spawn({
            let announced = Arc::clone(&announced);
            async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    announced.lock().unwrap().push_str(&format!("{line}\n"));
                }
            }
        });
        Ok(Self { child, announced, address, data_dir, log: log.1, admin_wrapper: options.admin_wrapper, _own: own })
    }

    /// What it has announced on its standard output, but for the first line.
    pub fn announced(&self) -> String {
        self.announced.lock().unwrap().clone()
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its files are.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Gives up the server, which is being killed; its process ID, if it has not ended yet.
    pub fn into_pid(self) -> Option<nix::unistd::Pid> {
        self.child.id().map(|pid| nix::unistd::Pid::from_raw(pid.cast_signed()))
    }

    /// Everything it has logged, at the most talkative level.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Clients of its API without a token.
    pub async fn anonymous(&self) -> Api {
        Api::connect(&self.url(), None).await
    }

    /// Clients of its API with a token.
    pub async fn api(&self, token: &str) -> Api {
        Api::connect(&self.url(), Some(token)).await
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// The process that serves: where root has started it, the child of the one that was started.
    pub fn serving(&self) -> nix::unistd::Pid {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let serves = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("serve-prepared"))
        };
        let mut found = children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(serves);
        let server = found.next().unwrap_or(pid);
        assert_eq!(found.next(), None);
        nix::unistd::Pid::from_raw(server.cast_signed())
    }

    /// Ends the process that serves as `kill -9` does, and waits until whoever was started has ended as well.
    pub async fn kill_server(&mut self) {
        nix::sys::signal::kill(self.serving(), nix::sys::signal::Signal::SIGKILL).unwrap();
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends in time").unwrap();
    }

    /// Asks it to end, and waits until it has. Returns whether it says that all went well.
    pub async fn stop(&mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends in time").unwrap().success()
    }

    /// Runs `latchkey admin` beside it, on the same database. Returns what it printed, or what it complained of.
    pub async fn admin(&self, database: &TestDatabase, args: &[&str]) -> Result<String, String> {
        admin_by(&self.admin_wrapper, database, &self.data_dir, args).await
    }

    /// A user and a token of theirs with everything by default.
    pub async fn user(&self, database: &TestDatabase, email: &str) -> String {
        self.admin(database, &["create-user", "--email", email]).await.unwrap();
        self.token(database, email, &[]).await
    }

    /// An admin and a token of theirs.
    pub async fn admin_user(&self, database: &TestDatabase, email: &str) -> String {
        self.admin(database, &["create-user", "--email", email, "--admin"]).await.unwrap();
        self.token(database, email, &[]).await
    }

    /// Another token for a user.
    pub async fn token(&self, database: &TestDatabase, email: &str, args: &[&str]) -> String {
        let args = [&["create-token", "--user", email, "--description", "test"], args].concat();
        self.admin(database, &args).await.unwrap().trim().to_owned()
    }

    /// A token of a new service account; with `--service`, of one that may ask about others' tokens.
    pub async fn service_account(&self, database: &TestDatabase, args: &[&str]) -> String {
        let create = [&["create-service-account", "--name", "gateway"], args].concat();
        let id = self.admin(database, &create).await.unwrap();
        let create = ["create-token", "--service-account", id.trim(), "--description", "asks", "--read-only"];
        self.admin(database, &create).await.unwrap().trim().to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}

/// Runs `latchkey admin` on a database. Returns what it printed, or what it complained of.
pub async fn admin(database: &TestDatabase, data_dir: &Path, args: &[&str]) -> Result<String, String> {
    admin_by(&[], database, data_dir, args).await
}

async fn admin_by(
    wrapper: &[String],
    database: &TestDatabase,
    data_dir: &Path,
    args: &[&str],
) -> Result<String, String> {
    let mut words = wrapper.iter().map(String::as_str).chain([LATCHKEY]);
    let output = Command::new(words.next().unwrap_or(LATCHKEY))
        .args(words)
        .arg("admin")
        .args(args)
        .arg("--database-url")
        .arg(database.owner_url())
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Writes a file of signing keys.
pub fn write_keys(data_dir: &Path, text: &str) {
    let path = data_dir.join("signing-keys");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
