//! The real PgBouncer in front of a test's database, in transaction mode.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio_postgres::config::Host;

use super::{TestDatabase, cluster::server_account, eventually};

/// Ended with this value.
pub struct PgBouncer {
    child: Child,
    directory: TempDir,
    database: String,
}

/// The number in its socket's name.
const PORT: u16 = 6432;

impl PgBouncer {
    /// Starts it in front of a database with a few connections, each transaction on the one that was not used for longest.
    /// `more` are further settings.
    pub async fn start(database: &TestDatabase, more: &str) -> Self {
        let config: tokio_postgres::Config = database.serving_url().parse().unwrap();
        let Some(Host::Unix(socket)) = config.get_hosts().first() else { panic!("it listens on a socket") };
        let (socket, port) = (socket.display(), config.get_ports().first().copied().unwrap_or(5432));
        let directory = tempfile::Builder::new().prefix("latchkey-pgbouncer-").tempdir().unwrap();
        let (place, name) = (directory.path().display(), database.name());
        let users = directory.path().join("users");
        fs::write(&users, "\"latchkey_serving\" \"\"\n\"latchkey_owner\" \"\"\n").unwrap();
        let ini = format!(
            "[databases]\n{name} = host={socket} port={port} dbname={name}\n\
             [pgbouncer]\npool_mode = transaction\nserver_round_robin = 1\ndefault_pool_size = 4\nmax_client_conn = 500\n\
             listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {place}\nauth_type = trust\nauth_file = {}\n{more}\n",
            users.display()
        );
        let settings = directory.path().join("pgbouncer.ini");
        fs::write(&settings, ini).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        // It does not run as root; PostgreSQL lets it in as it lets the server in.
        let accounts = server_account();
        let who = accounts.iter().flat_map(|account| {
            let ids = [format!("--reuid={account}"), format!("--regid={account}")];
            ["setpriv".to_owned()].into_iter().chain(ids).chain(["--clear-groups".to_owned()])
        });
        let mut words: Vec<String> = who.collect();
        words.extend(["pgbouncer".to_owned(), "--quiet".to_owned(), settings.display().to_string()]);
        // Debian has it where only root looks for programs.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let pgbouncer = Self { child, directory, database: name.to_owned() };
        let socket = pgbouncer.directory.path().join(format!(".s.PGSQL.{PORT}"));
        eventually("PgBouncer listens", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
        pgbouncer
    }

    fn url(&self, user: &str) -> String {
        url(self.directory.path(), user, &self.database)
    }

    /// How the serving role connects through it.
    pub fn serving_url(&self) -> String {
        self.url("latchkey_serving")
    }

    /// How the owner connects through it.
    pub fn owner_url(&self) -> String {
        self.url("latchkey_owner")
    }

    /// Its process.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }
}

fn url(socket: &Path, user: &str, database: &str) -> String {
    format!("host={} port={PORT} user={user} dbname={database}", socket.display())
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
