//! What a sandbox is launched with: a program in bubblewrap's place takes it down before it becomes bubblewrap. And the
//! terminal of whoever started the server, which stays theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, File},
    io::{ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    pty::openpty,
    unistd::ttyname,
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::support::{
    LocalServer, Starter,
    environments::{from_nothing, from_url},
    long_sleep, processes_with,
};

/// Puts a key into the keyring of its session, opens a file that its children inherit, and becomes the server.
const STARTER: &str = r#"
    $^F = 1000;
    open($file, "<", "/etc/passwd") or die;
    ($type, $name, $value) = ("user\0", "latchkey-outside\0", "hunter2");
    syscall(ADD_KEY, $type, $name, $value, 7, -3) > 0 or die "no key: $!";
    syscall(KEYCTL, 10, -3, $type, $name, 0) > 0 or die "the key is not found: $!";
    exec @ARGV;
"#;

/// Writes a line for each launch, and becomes bubblewrap.
const WITNESS: &str = r#"#!/usr/bin/perl
    use JSON::PP;
    sub text { local $/; open(my $file, "<", $_[0]) or return "$!"; return scalar(<$file>) // "" }
    my %open = map { $_ => readlink("/proc/$$/fd/$_") } grep { -e "/proc/$$/fd/$_" } 0 .. 1000;
    my ($type, $name) = ("user\0", "latchkey-outside\0");
    my $key = syscall(KEYCTL, 10, -3, $type, $name, 0) < 0 ? "none" : "found";
    my $keyring = syscall(KEYCTL, 0, -3, 0);
    my @numbers = split(/ /, text("/proc/$$/stat") =~ s/.*\) //sr);
    open(my $record, ">>", "RECORD") or die;
    syswrite($record, encode_json({
        task => $ARGV[-1], arguments => \@ARGV, descriptors => \%open,
        variables => text("/proc/$$/environ"), key => $key, keyring => $keyring,
        leads_its_session => $numbers[3] == $$ ? 1 : 0, terminal => $numbers[4] + 0, status => text("/proc/$$/status"),
    }) . "\n");
    exec("BWRAP", @ARGV);
"#;

/// A line of the witness's.
#[derive(Debug, Deserialize)]
struct Launch {
    task: String,
    arguments: Vec<String>,
    descriptors: BTreeMap<String, Option<String>>,
    variables: String,
    key: String,
    keyring: i64,
    leads_its_session: u8,
    terminal: i32,
    status: String,
}

/// A directory with the witness under bubblewrap's name.
struct Witness(TempDir);

impl Witness {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-witness-").tempdir().unwrap();
        let (record, program) = (directory.path().join("record"), directory.path().join("bwrap"));
        let path = env::var_os("PATH").unwrap();
        let real: PathBuf =
            env::split_paths(&path).map(|directory| directory.join("bwrap")).find(|path| path.exists()).unwrap();
        let script =
            with_numbers(WITNESS).replace("RECORD", record.to_str().unwrap()).replace("BWRAP", real.to_str().unwrap());
        fs::write(&record, "").unwrap();
        fs::write(&program, script).unwrap();
        // It runs as the sandboxes' account.
        for (path, mode) in [(directory.path(), 0o755), (&record, 0o666), (&program, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Self(directory)
    }

    /// The variable that makes a server find it.
    fn path(&self) -> String {
        format!("PATH={}:{}", self.0.path().display(), env::var("PATH").unwrap())
    }

    fn launches(&self) -> Vec<Launch> {
        let record = fs::read_to_string(self.0.path().join("record")).unwrap();
        record.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn with_numbers(script: &str) -> String {
    script.replace("ADD_KEY", &libc::SYS_add_key.to_string()).replace("KEYCTL", &libc::SYS_keyctl.to_string())
}

#[tokio::test]
async fn a_sandbox_of_any_kind_is_launched_with_the_filter_and_nothing_of_the_servers() {
    for starter in Starter::all() {
        launched_with_nothing_of_the_servers(starter).await;
    }
}

async fn launched_with_nothing_of_the_servers(starter: Starter) {
    let witness = Witness::new();
    let words = ["perl", "-e", &with_numbers(STARTER), "env", &witness.path(), "SECRET=hunter2"];
    let local = LocalServer::start_by(starter, words.map(str::to_owned).to_vec()).await;
    local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    api.delete_whole(&id).await;

    let launches = witness.launches();
    let tasks: Vec<&str> = launches.iter().map(|launch| kind(&launch.task)).collect();
    // What is on the disk is counted after a clone, and perhaps again.
    let (counts, others): (Vec<&str>, Vec<&str>) = tasks.iter().partition(|task| **task == "measure");
    assert_eq!(others, ["probe", "clone", "serve", "wipe"]);
    assert!(!counts.is_empty());
    let keyrings: BTreeSet<i64> = launches.iter().map(|launch| launch.keyring).collect();
    assert!(keyrings.len() == tasks.len() && keyrings.iter().all(|keyring| *keyring > 0), "one for each: {keyrings:?}");
    for launch in &launches {
        let open = |number: &str| launch.descriptors.get(number).cloned().flatten().unwrap_or_default();
        let option = |name: &str| {
            let at = launch.arguments.iter().position(|argument| argument == name).unwrap();
            launch.arguments[at + 1].clone()
        };
        let (filter, status) = (option("--seccomp"), option("--json-status-fd"));
        assert!(open(&filter).starts_with("/memfd:seccomp"), "{launch:?}");
        assert_eq!(open("0"), "/dev/null");
        let kind = kind(&launch.task);
        // What it counts, or how far it is, it tells the server by a pipe that nothing else has.
        let tells = ["measure", "clone"].contains(&kind);
        assert!(if tells { open("1").starts_with("pipe:[") } else { open("1").ends_with("/log") }, "{launch:?}");
        let named = if kind == "measure" { ["/measuring.status", "/measuring.log"] } else { ["/status", "/log"] };
        assert!(open(&status).ends_with(named[0]) && open("2").ends_with(named[1]), "{launch:?}");
        // Perl has its script open.
        let witness = witness.0.path().join("bwrap");
        let others = launch.descriptors.iter().filter(|(number, path)| {
            let is_known = ["0", "1", "2", &filter, &status].contains(&number.as_str());
            !is_known && path.as_deref() != witness.to_str()
        });
        assert_eq!(others.count(), 0, "{launch:?}");
        assert_eq!(launch.variables, "", "{launch:?}");
        assert_eq!(launch.key, "none", "{launch:?}");
        assert_eq!((launch.leads_its_session, launch.terminal), (1, 0), "{launch:?}");
        for line in launch.status.lines().filter(|line| line.starts_with("CapEff") || line.starts_with("CapPrm")) {
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
        for bound in
            ["--disable-userns", "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--clearenv"]
        {
            assert!(launch.arguments.iter().any(|argument| argument == bound), "{bound}: {launch:?}");
        }
    }
}

/// The name of a task: `"probe"`, or `{"clone": …}`.
fn kind(task: &str) -> &str {
    task.trim_start_matches(['{', '"']).split('"').next().unwrap()
}

#[tokio::test]
async fn the_terminal_of_whoever_started_the_server_is_not_reached() {
    for starter in Starter::all() {
        the_terminal_is_not_reached(starter).await;
    }
}

async fn the_terminal_is_not_reached(starter: Starter) {
    let terminal = openpty(None, None).unwrap();
    for side in [&terminal.master, &terminal.slave] {
        rustix::io::fcntl_setfd(side, rustix::io::FdFlags::CLOEXEC).unwrap();
    }
    let name = ttyname(&terminal.slave).unwrap().display().to_string();
    let become_server = format!("exec setsid --ctty \"$0\" \"$@\" <{name}");
    let local = LocalServer::start_by(starter, ["sh", "-c", &become_server].map(str::to_owned).to_vec()).await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    assert_ne!(terminal_of(local.server().pid().cast_signed()), 0, "the server has a terminal");

    let waiting = long_sleep(&id);
    api.run(&id, &format!("{waiting} >/dev/null 2>&1 &")).await;
    // Bubblewrap has the environment's ID in its arguments.
    let (bubblewrap, commands) = (processes_with(&id), processes_with(&waiting));
    assert!(!bubblewrap.is_empty() && !commands.is_empty());
    let number = |line: &String| line.split_once(':').unwrap().0.parse().unwrap();
    let supervisor = local.sandbox_of(&id).unwrap().as_raw();
    for process in bubblewrap.iter().chain(&commands).map(number).chain([supervisor]) {
        assert_eq!(terminal_of(process), 0);
        let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        for link in open.filter_map(|entry| fs::read_link(entry.path()).ok()) {
            assert_ne!(link, Path::new(&name));
        }
    }
    let opened = api.run(&id, "exec 3<>/dev/tty").await;
    assert!(opened.exit_code != 0 && opened.stderr.contains("/dev/tty"), "{opened:?}");
    // A line for whoever reads there, by every descriptor that there may be.
    let ioctl = libc::SYS_ioctl;
    let typing = format!(
        r#"perl -e 'open($t, "+<", "/dev/tty"); $c = "\n"; syscall({ioctl}, $_, 0x5412, $c) or print "$_ " for 0 .. 1023'"#
    );
    assert_eq!(api.run(&id, &typing).await.stdout, "");

    // Nothing has been typed, and nothing has been shown.
    let mut waiting: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the number is as wide as FIONREAD wants it.
    let asked =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&terminal.slave), libc::FIONREAD, &raw mut waiting) };
    assert_eq!((asked, waiting), (0, 0));
    fcntl(&terminal.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    // Open to the end: its own end would end the server.
    let mut screen = File::from(terminal.master);
    assert_eq!(screen.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    api.delete_whole(&id).await;
    drop(screen);
}

/// The number of a process's terminal, 0 for none: the fifth after the name in `/proc/PID/stat`.
fn terminal_of(process: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(4).unwrap().parse().unwrap()
}
