//! Latchkey, Envoy with `deploy/envoy`, and services of three kinds behind it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::upstream::Upstream;
use crate::support::{Caller, TestDatabase, TestServer, eventually};

/// Everything that is there.
pub(super) struct House {
    pub(super) database: TestDatabase,
    pub(super) latchkey: TestServer,
    pub(super) envoy: Envoy,
    /// HTTP/1.1, for everything that goes nowhere else.
    pub(super) web: Upstream,
    /// HTTP/2, below `/reports/`: it gets the token too.
    pub(super) reports: Upstream,
    /// gRPC: `shop.v1.Orders`.
    pub(super) orders: Upstream,
    /// The token that Envoy asks with.
    pub(super) asking: String,
}

impl House {
    pub(super) async fn start() -> Self {
        let database = TestDatabase::create().await;
        let latchkey = TestServer::start(&database).await;
        Self::with(database, latchkey).await
    }

    pub(super) async fn with(database: TestDatabase, latchkey: TestServer) -> Self {
        let asking = asking_token(&latchkey, &database).await;
        let [web, reports, orders] = [Upstream::start().await, Upstream::start().await, Upstream::start().await];
        let services = [&web, &reports, &orders].map(Upstream::address);
        let envoy = Envoy::start(latchkey.address().parse().unwrap(), services, &asking).await;
        Self { database, latchkey, envoy, web, reports, orders, asking }
    }

    /// Nothing has reached any service since it was last asked.
    #[track_caller]
    pub(super) fn assert_nothing_reached(&self) {
        for service in [&self.web, &self.reports, &self.orders] {
            let reached = service.take();
            assert!(reached.is_empty(), "{reached:#?}");
        }
    }
}

/// A service account that may ask, and a token of it, as README.md of `deploy/envoy` has it.
pub(super) async fn asking_token(latchkey: &TestServer, database: &TestDatabase) -> String {
    let create = ["create-service-account", "--name", "envoy", "--service"];
    let account = latchkey.admin(database, &create).await.unwrap();
    let create = ["create-token", "--service-account", account.trim(), "--description", "envoy", "--read-only"];
    latchkey.admin(database, &create).await.unwrap().trim().to_owned()
}

/// A running Envoy. Killed with this value.
pub(super) struct Envoy {
    _child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Envoy {
    /// Starts one with the files of `deploy/envoy`, in which nothing is another but addresses and the directory.
    pub(super) async fn start(latchkey: SocketAddr, services: [SocketAddr; 3], token: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/envoy");
        assert!(program.exists(), "{} is missing: run 'make tools'", program.display());
        let directory = tempfile::Builder::new().prefix("latchkey-envoy-").tempdir().unwrap();
        // A loopback address of its own, since a port of its own cannot be asked for.
        let [.., a, b, c] = *latchkey::domain::ids::RequestId::generate().uuid().as_bytes();
        let address = SocketAddr::new(Ipv4Addr::new(127, a, b, c | 1).into(), 10000);
        let mut changes = vec![("/etc/envoy".to_owned(), directory.path().to_str().unwrap().to_owned())];
        let places =
            [(10000, address), (8080, latchkey), (9001, services[0]), (9002, services[1]), (9003, services[2])];
        for (port, address) in places {
            let socket = |address: &str, port| format!("{{address: {address}, port_value: {port}}}");
            changes.push((socket("127.0.0.1", port), socket(&address.ip().to_string(), address.port())));
        }
        for file in ["envoy.yaml", "latchkey-token.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy").join(file);
            let mut text = fs::read_to_string(path).unwrap();
            for (from, to) in &changes {
                assert!(file != "envoy.yaml" || text.contains(from), "{file} does not have {from}");
                text = text.replace(from, to);
            }
            fs::write(directory.path().join(file), text).unwrap();
        }
        let log = fs::File::create(directory.path().join("log")).unwrap();
        fs::write(directory.path().join("latchkey-token"), format!("{token}\n")).unwrap();
        let mut child = Command::new(program)
            .arg("--config-path")
            .arg(directory.path().join("envoy.yaml"))
            // Without these, those of one machine have to do with each other.
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = directory.path().join("log");
        eventually("Envoy listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("Envoy ended with {status}: {}", fs::read_to_string(&log).unwrap());
            }
            async move { TcpStream::connect(address).await.ok() }
        })
        .await;
        Self { _child: child, address, directory }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of gRPC.
    pub(super) async fn grpc(&self) -> Caller {
        Caller::connect(&format!("http://{}", self.address)).await
    }

    /// Gives it another token, as an operator does: the file is replaced as a whole.
    pub(super) fn replace_token(&self, token: &str) {
        let new = self.path("latchkey-token.new");
        fs::write(&new, format!("{token}\n")).unwrap();
        fs::rename(new, self.path("latchkey-token")).unwrap();
    }

    /// All that it has said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}
