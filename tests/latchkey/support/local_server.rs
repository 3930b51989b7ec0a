//! A server that runs environments on this machine, and the world that they are cloned from.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use latchkey::domain::ids::RunnerId;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::{
    Api, ServerOptions, TestDatabase, TestServer,
    git_server::{GitServer, Manners},
    small_disk,
    watch::Watch,
};

const RESERVE: &str = "--free-space-reserve";

/// The server, its database, and a Git server that `https://github.com/` leads to. Whatever a failed test leaves running
/// ends with it.
pub struct LocalServer {
    pub database: TestDatabase,
    pub git: GitServer,
    // Before the directory, so that nobody writes to it any more when it is removed.
    server: Option<TestServer>,
    directory: TempDir,
    more: ServerOptions,
    variables: Vec<(String, String)>,
}

impl LocalServer {
    /// Starts it, and waits until it serves.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts it by a program that becomes the server in the end.
    pub async fn start_in(wrapper: Vec<String>) -> Self {
        Self::start_with(ServerOptions { wrapper, ..ServerOptions::default() }).await
    }

    /// Starts it as somebody, by a program that becomes the server in the end.
    pub async fn start_by(starter: Starter, wrapper: Vec<String>) -> Self {
        let options = |directory: &Path| {
            let admin_wrapper = starter.words(directory);
            let wrapper = [wrapper, admin_wrapper.clone()].concat();
            ServerOptions { wrapper, admin_wrapper, ..ServerOptions::default() }
        };
        Self::start_as(options).await
    }

    /// Starts it as somebody.
    pub async fn start_of(starter: Starter) -> Self {
        Self::start_by(starter, Vec::new()).await
    }

    /// Starts it with more flags and variables.
    pub async fn start_with(more: ServerOptions) -> Self {
        Self::start_as(|_| more).await
    }

    /// Starts it with environments on a disk of their own, of so many bytes. What outside of the server can be seen of files
    /// and processes is not to be seen then.
    pub async fn start_on_small_disk(bytes: u64, args: &[&str]) -> Self {
        Self::start_on_small_disk_with_part_of_root(bytes, 0, args).await
    }

    /// The same, with so many hundredths of the disk for root alone.
    pub async fn start_on_small_disk_with_part_of_root(bytes: u64, of_root: u8, args: &[&str]) -> Self {
        let options = |directory: &Path| {
            let (image, place) = (directory.join("disk"), place_for_environments(directory));
            small_disk::make(&image, bytes, of_root);
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            ServerOptions { args, wrapper: small_disk::mounted(&image, &place), ..ServerOptions::default() }
        };
        Self::start_as(options).await
    }

    /// The same, with environments where a watch sees who opens what.
    pub async fn start_watched(starter: Starter) -> (Self, Watch) {
        let mut watch = None;
        let options = |directory: &Path| {
            let watching = watch.insert(Watch::start(&place_for_environments(directory)));
            let admin_wrapper = starter.words(directory);
            let wrapper = [watching.words(), admin_wrapper.clone()].concat();
            ServerOptions { wrapper, admin_wrapper, ..ServerOptions::default() }
        };
        let local = Self::start_as(options).await;
        (local, watch.expect("it was started first"))
    }

    async fn start_as(more: impl FnOnce(&Path) -> ServerOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-local-").tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        // Sandboxes pass through them as an account of their own.
        for directory in [directory.path(), &data] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).unwrap();
        }
        let git = GitServer::start().await;
        let git_config = directory.path().join("gitconfig");
        fs::write(&git_config, git.rewriting("https://github.com/")).unwrap();
        let variables = vec![("LATCHKEY_GIT_CONFIG".to_owned(), git_config.to_str().unwrap().to_owned())];
        let more = more(directory.path());
        let mut local = Self { database: TestDatabase::create().await, git, server: None, directory, more, variables };
        local.start_again().await;
        local
    }

    /// How another server on the same data directory is started.
    pub fn options(&self) -> ServerOptions {
        let mut more = self.more.clone();
        if !more.args.iter().any(|arg| arg == RESERVE) {
            // Tests are not about how much is free of the disk that they are on.
            more.args.extend([RESERVE, "16MiB"].map(str::to_owned));
        }
        ServerOptions {
            args: [vec!["--local-runner".to_owned()], more.args].concat(),
            env: [self.variables.clone(), more.env].concat(),
            data_dir: Some(self.data_dir()),
            ..more
        }
    }

    /// Sets the variables of the servers that are started from now on, the Git configuration among them.
    pub fn set_variables(&mut self, variables: &[(&str, &str)]) {
        self.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// The Git configuration that leads to the Git server.
    pub fn git_config(&self) -> PathBuf {
        self.directory.path().join("gitconfig")
    }

    /// Starts the server in the place of one that has ended.
    pub async fn start_again(&mut self) {
        self.server = None;
        self.server = Some(TestServer::start_with(&self.database, self.options()).await);
    }

    /// Ends the server as `kill -9` does.
    pub async fn kill(&mut self) {
        self.server.as_mut().expect("it runs").kill().await;
    }

    /// Ends the process that serves as `kill -9` does: where root has started it, the child of whoever was started, who then
    /// ends as well.
    pub async fn kill_server(&mut self) {
        self.server.as_mut().expect("it runs").kill_server().await;
    }

    /// Asks the server to end, and waits until it has.
    pub async fn stop(&mut self) {
        assert!(self.server.as_mut().expect("it runs").stop().await);
    }

    /// The server that runs now.
    pub fn server(&self) -> &TestServer {
        self.server.as_ref().expect("it runs")
    }

    /// A user and a token of theirs.
    pub async fn user(&self, email: &str) -> String {
        self.server().user(&self.database, email).await
    }

    /// Clients of the API.
    pub async fn api(&self, token: &str) -> Api {
        self.server().api(token).await
    }

    /// Clients of the API, for a new user.
    pub async fn api_of_user(&self, email: &str) -> Api {
        self.api(&self.user(email).await).await
    }

    /// Where the server's files are.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where an environment's files are.
    pub fn directory_of(&self, environment: &str) -> PathBuf {
        self.data_dir().join("environments").join(environment)
    }

    /// The first process of an environment's sandbox.
    pub fn sandbox_of(&self, environment: &str) -> Option<Pid> {
        sandbox(&self.directory_of(environment))
    }

    /// What a file of an environment's control groups holds; none if there is no such group.
    pub fn control_group(&self, environment: &str, file: &str) -> Option<String> {
        control_groups(environment).into_iter().find_map(|group| fs::read_to_string(group.join(file)).ok())
    }

    /// Checks that nothing of an environment runs: no process, no mount, no control group.
    pub fn is_at_rest(&self, environment: &str) {
        assert_eq!(processes_around(environment), Vec::<String>::new());
        assert_eq!(control_groups(environment), Vec::<PathBuf>::new());
    }

    /// Checks that nothing is left of an environment: no file, no process, no mount, no control group, no row.
    pub async fn is_gone(&self, environment: &str) {
        assert!(!self.directory_of(environment).exists(), "files are left of {environment}");
        self.is_at_rest(environment);
        let rows = self
            .database
            .superuser()
            .await
            .query_one(
                "SELECT (SELECT count(*) FROM environments WHERE id = $1::text::uuid)
                      + (SELECT count(*) FROM environment_tokens WHERE environment_id = $1::text::uuid)",
                &[&environment],
            )
            .await
            .unwrap();
        assert_eq!(rows.get::<_, i64>(0), 0, "rows are left of {environment}");
    }

    /// Waits until the Git server has been asked for a repository that does not answer.
    pub async fn stalls(&self, name: &str) {
        let path = format!("/{name}/");
        super::eventually("the clone reaches the Git server", async || {
            self.git.requests().iter().any(|request| request.contains(&path)).then_some(())
        })
        .await;
    }

    /// A repository whose clone begins and does not end.
    pub fn add_stalling_repository(&self, name: &str) {
        self.git.add_repository(name, &[("README.md", "slow\n")]);
        self.git.set_manners(name, Manners::Silent);
    }
}

/// Where environments will be, for something to be mounted there first.
fn place_for_environments(directory: &Path) -> PathBuf {
    let place = directory.join("data/environments");
    fs::create_dir(&place).unwrap();
    // By this the server knows a directory that is not empty for its own.
    fs::write(directory.join("data/runner-id"), RunnerId::generate().to_string()).unwrap();
    place
}

/// Who starts a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// Whoever runs the tests.
    Oneself,
    /// Somebody who has no right of root's, where root runs the tests.
    OrdinaryAccount,
}

impl Starter {
    /// All that there are for whoever runs the tests.
    pub fn all() -> Vec<Self> {
        let is_root = rustix::process::geteuid().is_root();
        if is_root { vec![Self::Oneself, Self::OrdinaryAccount] } else { vec![Self::Oneself] }
    }

    /// The words before a server's program, whose files are in this directory.
    fn words(self, directory: &Path) -> Vec<String> {
        match self {
            Self::Oneself => Vec::new(),
            Self::OrdinaryAccount => {
                // The one that the tests' PostgreSQL lets in as every role. `$1` is the program, and `$0` its copy where the
                // account can read it; the data is there by then.
                let program = directory.join("latchkey");
                let script = r#"{ [ -e "$0" ] || { cp "$1" "$0" && chown -R postgres: "${0%/*}/data"; }; } && shift &&
                                exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@""#;
                ["sh", "-c", script, program.to_str().unwrap()].map(str::to_owned).to_vec()
            }
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take().and_then(TestServer::into_pid) {
            wait_for_end(server);
        }
        let Ok(entries) = fs::read_dir(self.data_dir().join("environments")) else { return };
        for entry in entries.flatten() {
            if let Some(process) = sandbox(&entry.path()) {
                // Gone between two looks is as good.
                let _ = kill(process, Signal::SIGKILL);
                wait_for_end(process);
            }
            // Of what a test has left running: the machine keeps them otherwise. One that is not empty yet stays.
            for group in control_groups(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_dir(group);
            }
        }
    }
}

/// Whether there is such a process; a zombie is none.
pub fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A command that lasts for a year, unlike that of any other environment.
pub fn long_sleep(environment: &str) -> String {
    format!("sleep 31536000.{}", environment.parse::<uuid::Uuid>().unwrap().as_u128())
}

/// Waits until a process that was killed is gone.
fn wait_for_end(process: Pid) {
    for _ in 0..1000 {
        if !is_alive(process) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The first process of a sandbox, if bubblewrap still holds its lock.
pub fn sandbox(directory: &Path) -> Option<Pid> {
    let status = directory.join("status");
    let file = File::open(&status).ok()?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let text = fs::read_to_string(status).ok()?;
    let status: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
    Some(Pid::from_raw(i32::try_from(status.get("child-pid")?.as_i64()?).ok()?))
}

/// The control groups of an environment, in every hierarchy: below the groups that this process is in, as the server is, or
/// below those around them.
fn control_groups(environment: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let hierarchies: Vec<PathBuf> = hierarchies.chain([root.to_owned()]).collect();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own: BTreeSet<&Path> = own
        .lines()
        .filter_map(|line| Some(Path::new(line.splitn(3, ':').nth(2)?.trim_start_matches('/'))))
        .flat_map(Path::ancestors)
        .collect();
    let places = hierarchies.iter().flat_map(|top| own.iter().map(|path| top.join(path)));
    let groups: BTreeSet<PathBuf> = places.map(|path| path.join("latchkey").join(environment)).collect();
    groups.into_iter().filter(|path| path.exists()).collect()
}

/// Every living process of this machine that has to do with an environment, or with another directory of a name that no other
/// has: in its command line, in what is mounted where it is, or in its control groups. A mount has no name of its own, and is
/// seen by those who have it.
pub fn processes_around(name: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap();
    let found = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        // What ends meanwhile, or is nobody's business of whoever runs the tests, is not read.
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let signs = ["cmdline", "mountinfo", "cgroup"];
        let sign = signs.into_iter().find(|file| String::from_utf8_lossy(&read(file)).contains(name))?;
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        is_alive(Pid::from_raw(pid)).then(|| format!("{pid}: {line} (by its {sign})"))
    });
    found.collect()
}

/// Every living process of this machine that has `text` in its command line.
pub fn processes_with(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap();
    let found = entries.flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(text).then(|| format!("{}: {line}", entry.file_name().to_string_lossy()))
    });
    found.collect()
}
