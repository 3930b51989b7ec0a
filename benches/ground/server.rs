//! A Latchkey server to be measured: the real program, as an operator starts it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use latchkey::embedded::Role;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::Postgres;

/// The server's program, built as it is released.
pub const LATCHKEY: &str = env!("CARGO_BIN_EXE_latchkey");

const METRICS_LISTEN: &str = "--metrics-listen=";

/// A running server. Killed with this value.
pub struct Server {
    child: Child,
    address: String,
    program: PathBuf,
    owner: String,
    keys: String,
}

impl Server {
    /// Starts a server and waits until it serves.
    pub async fn start(program: &Path, postgres: &Postgres, args: &[&str]) -> Self {
        let owner = postgres.url(Role::Owner);
        let keys = postgres.directory().join("signing-keys").to_str().unwrap().to_owned();
        // Logs go where an operator's go: to a file, at the level that is the default.
        let log = postgres.directory().join("server.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        // On a port of their own, if anybody is to read them.
        let is_read = args.iter().any(|argument| argument.starts_with(METRICS_LISTEN));
        let metrics = (!is_read).then(|| format!("{METRICS_LISTEN}off"));
        let mut child = Command::new(program)
            .arg("serve")
            .args(["--database-url", &postgres.url(Role::Serving), "--owner-database-url", &owner])
            .args(["--signing-keys", &keys])
            .args(["--listen", "127.0.0.1:0"])
            .args(metrics)
            .args(args)
            .env_remove("LATCHKEY_LOG")
            .env_remove("GIT_CONFIG_GLOBAL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap_or_default();
        let address = first.strip_prefix("latchkey serves http://").unwrap_or_else(|| {
            panic!("no server: {}", std::fs::read_to_string(postgres.directory().join("server.log")).unwrap())
        });
        Self { child, address: address.to_owned(), program: program.to_owned(), owner, keys }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The ID of the process that serves: as root, a child of the one that was started.
    pub fn pid(&self) -> i32 {
        let started = self.started();
        let children = std::fs::read_to_string(format!("/proc/{started}/task/{started}/children")).unwrap_or_default();
        let serves = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("serve-prepared"))
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(serves).unwrap_or(started)
    }

    /// The IDs of all its processes.
    pub fn processes(&self) -> Vec<i32> {
        let (started, serves) = (self.started(), self.pid());
        if started == serves { vec![serves] } else { vec![started, serves] }
    }

    /// The ID of the process that was started.
    fn started(&self) -> i32 {
        self.child.id().expect("it has not been waited for").cast_signed()
    }

    /// A new connection to it.
    pub async fn connect(&self) -> Channel {
        Endpoint::from_shared(self.url()).unwrap().connect().await.unwrap()
    }

    /// A user and a token of theirs, made as an operator does.
    pub async fn user(&self, email: &str) -> String {
        self.admin(&["create-user", "--email", email]).await;
        self.admin(&["create-token", "--user", email, "--description", "benchmark"]).await
    }

    /// A link that signs a user in with a browser.
    pub async fn sign_in_link(&self, email: &str) -> String {
        self.admin(&["sign-in-link", "--user", email]).await
    }

    /// A token of a service that may ask about others' tokens.
    pub async fn service_token(&self) -> String {
        let id = self.admin(&["create-service-account", "--name", "asking", "--service"]).await;
        self.admin(&["create-token", "--service-account", &id, "--description", "asks"]).await
    }

    /// Runs `latchkey admin` beside it. Returns what it printed.
    async fn admin(&self, args: &[&str]) -> String {
        let place = ["--database-url", &self.owner, "--signing-keys", &self.keys];
        let output = Command::new(&self.program).arg("admin").args(args).args(place).output().await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Where a server could tell its metrics, and the argument that makes it do so.
    pub fn place_of_metrics() -> (String, String) {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let argument = format!("{METRICS_LISTEN}{address}");
        (address, argument)
    }

    /// A metric without labels, of the server that tells them there.
    pub async fn metric(address: &str, name: &str) -> f64 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.started());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.child.wait().await.unwrap().success(), "the server ends in good order");
    }
}

/// The header that a token travels in.
pub fn bearer(token: &str) -> MetadataValue<Ascii> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().unwrap();
    value.set_sensitive(true);
    value
}

/// A request with a token.
pub fn with_token<T>(token: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", token.clone());
    request
}
