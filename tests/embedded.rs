//! The embedded PostgreSQL and its data directory, with real PostgreSQL in temporary directories.
//!
//! Run by root, most tests run twice: as root (PostgreSQL as the account postgres), and once more in a process of the
//! account nobody, where everything is one account's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "skipped tests say why, helper processes report")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use latchkey::embedded::{
    Account, Cluster, ClusterConfig, CommandSession, DataDirectory, DataDirectoryLock, EmbeddedError, Role, Start, Stop,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

const WAIT: Duration = Duration::from_secs(30);

/// Each of these runs as the account of this process, and, if that is root, again as nobody.
macro_rules! as_both_accounts {
    ($($name:ident)*) => {
        mod as_this_account {
            $(#[test] fn $name() { super::run(super::$name()) })*
        }
        mod as_an_unprivileged_account {
            $(#[test] fn $name() { super::run_again_as_nobody(concat!("as_this_account::", stringify!($name))) })*
        }
    };
}

as_both_accounts! {
    the_first_start_makes_everything
    a_second_start_finds_what_was_there
    a_start_adopts_what_a_killed_process_left
    a_start_recovers_from_a_killed_postmaster
    a_start_finishes_what_a_start_killed_at_any_step_began
    a_start_finishes_a_half_done_bootstrap
    a_start_cut_short_in_this_process_is_finished_by_the_next
    a_start_that_takes_too_long_goes_on_in_the_background
    two_starts_at_once_are_one
    the_postmaster_inherits_nothing
    stop_ends_a_postmaster_that_does_not_end_in_time
    a_start_is_not_misled_by_a_living_process_with_the_old_id
    a_start_waits_for_a_postmaster_that_is_writing_its_note
    a_start_ends_what_outlives_a_killed_postmaster
    a_start_repairs_a_postmaster_whose_socket_is_gone
    a_missing_major_version_is_named
    a_failed_start_shows_the_log
    a_second_server_is_refused_with_the_pid_of_the_first
    a_server_waits_for_a_command
    a_command_works_beside_a_server
    a_command_alone_starts_and_stops
    a_long_path_gets_a_short_socket
    the_serving_role_makes_nothing
    stop_leaves_no_process_and_no_socket
    extra_options_reach_postgresql_but_not_those_that_guard_it
    a_directory_of_something_else_is_refused
}

async fn the_first_start_makes_everything() {
    let place = Place::new();
    let (cluster, lock) = place.open().await;
    let began = Instant::now();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    println!("first start: {:?}", began.elapsed());
    for (role, name) in [(Role::Owner, "latchkey_owner"), (Role::Serving, "latchkey_serving")] {
        let client = connect(&cluster.connection(role)).await;
        let row = client.query_one("SELECT current_user::text, current_database()::text", &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (name, "latchkey"));
    }
    let client = connect(&cluster.connection(Role::Serving)).await;
    for (name, value) in [
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("fsync", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("jit", "off"),
    ] {
        assert_eq!(text(&client, &format!("SELECT current_setting('{name}')")).await, value, "{name}");
    }
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(place.directory.path()), if is_root() { 0o711 } else { 0o700 });
    assert_eq!(mode(&place.directory.postgres().join("socket")), 0o700);
    let postmaster = cluster.postmaster_pid().await.unwrap().unwrap();
    let owner = Path::new("/proc").join(postmaster.to_string()).metadata().unwrap().uid();
    let wanted = if is_root() { Account::named("postgres").unwrap() } else { Account::current().unwrap() };
    assert_eq!(owner, wanted.uid().as_raw());
}

async fn a_second_start_finds_what_was_there() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let owner = connect(&cluster.connection(Role::Owner)).await;
    owner.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.unwrap();
    let began = Instant::now();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
    println!("adoption: {:?}", began.elapsed());
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::Fast);
    let began = Instant::now();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    println!("second start: {:?}", began.elapsed());
    let owner = connect(&cluster.connection(Role::Owner)).await;
    assert_eq!(text(&owner, "SELECT n::text FROM kept").await, "7");
}

async fn a_start_adopts_what_a_killed_process_left() {
    let place = Place::new();
    let mut helper = Helper::new("start", &place.directory);
    let pid: i32 = helper.await_ready();
    helper.kill();
    let (cluster, lock) = place.open().await;
    let began = Instant::now();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
    println!("adoption: {:?}", began.elapsed());
    assert_eq!(cluster.postmaster_pid().await.unwrap(), Some(pid));
    connect(&cluster.connection(Role::Serving)).await;
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::Fast);
    assert_eq!(place.processes(), Vec::<i32>::new());
}

async fn a_start_recovers_from_a_killed_postmaster() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let owner = connect(&cluster.connection(Role::Owner)).await;
    owner.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").await.unwrap();
    let pid = cluster.postmaster_pid().await.unwrap().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    assert_ne!(cluster.postmaster_pid().await.unwrap().unwrap(), pid);
    let owner = connect(&cluster.connection(Role::Owner)).await;
    assert_eq!(text(&owner, "SELECT n::text FROM kept").await, "7");
}

async fn a_start_finishes_what_a_start_killed_at_any_step_began() {
    let steps =
        ["initializing", "initializing/global/pg_control", "data", "data/postmaster.pid", "socket/.s.PGSQL.5432"];
    for step in steps {
        let place = Place::new();
        let mut helper = Helper::new("start", &place.directory);
        let step = step.replace("initializing", &format!("initializing-{}-0", helper.child.id()));
        let awaited = place.directory.postgres().join(&step);
        await_true(|| awaited.exists(), &step);
        helper.kill();
        let (cluster, lock) = place.open().await;
        let start = cluster.ensure_running(&lock).await.unwrap();
        println!("killed at {step}: {start:?}");
        connect(&cluster.connection(Role::Serving)).await;
        connect(&cluster.connection(Role::Owner)).await.batch_execute("CREATE TABLE made (n int)").await.unwrap();
    }
}

async fn a_start_finishes_a_half_done_bootstrap() {
    let place = Place::new();
    let junk = place.directory.postgres().join("initializing-1");
    std::fs::create_dir_all(junk.join("base")).unwrap();
    std::fs::write(junk.join("base/junk"), "x").unwrap();
    let (cluster, lock) = place.start().await;
    assert!(!junk.exists());
    // Each state that a start may leave when it is cut short, last step first.
    for undo in [
        vec!["REVOKE CONNECT ON DATABASE latchkey FROM latchkey_serving", "ALTER ROLE latchkey_serving CREATEDB"],
        vec!["DROP DATABASE latchkey"],
        vec!["DROP DATABASE latchkey", "DROP ROLE latchkey_serving"],
        vec!["DROP DATABASE latchkey", "DROP ROLE latchkey_serving", "DROP ROLE latchkey_owner"],
    ] {
        let superuser = connect(&cluster.connection_to(Role::Superuser, "postgres")).await;
        for statement in undo {
            superuser.batch_execute(statement).await.unwrap();
        }
        assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
        connect(&cluster.connection(Role::Owner)).await;
        let serving = connect(&cluster.connection(Role::Serving)).await;
        let rights = "SELECT rolcreatedb::text FROM pg_roles WHERE rolname = current_user";
        assert_eq!(text(&serving, rights).await, "false");
    }
}

async fn a_start_cut_short_in_this_process_is_finished_by_the_next() {
    let place = Place::new();
    let (cluster, lock) = place.open().await;
    let initializing = || {
        let entries = std::fs::read_dir(place.directory.postgres()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).find(|name| name.starts_with("initializing-"))
    };
    tokio::select! {
        start = cluster.ensure_running(&lock) => panic!("ready too soon: {start:?}"),
        () = async { while initializing().is_none() { tokio::time::sleep(Duration::from_millis(1)).await } } => {}
    }
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    connect(&cluster.connection(Role::Serving)).await;
    assert_eq!(initializing(), None);
}

async fn a_start_that_takes_too_long_goes_on_in_the_background() {
    let place = Place::new();
    let impatient = ClusterConfig { start_deadline: Duration::ZERO, ..ClusterConfig::default() };
    let cluster = Cluster::open(&place.directory, impatient).unwrap();
    let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
    let error = cluster.ensure_running(&lock).await.unwrap_err();
    let EmbeddedError::StartTimeout { pid, .. } = error else { panic!("{error}") };
    let cluster = Cluster::open(&place.directory, ClusterConfig::default()).unwrap();
    await_true(|| place.directory.postgres().join("data/postmaster.pid").exists(), "postmaster.pid");
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
    assert_eq!(cluster.postmaster_pid().await.unwrap(), Some(pid));
}

async fn two_starts_at_once_are_one() {
    let place = Place::new();
    let (cluster, lock) = place.open().await;
    let (one, two) = tokio::join!(cluster.ensure_running(&lock), cluster.ensure_running(&lock));
    assert_eq!((one.unwrap(), two.unwrap()), (Start::Started, Start::Adopted));
}

async fn the_postmaster_inherits_nothing() {
    let place = Place::new();
    let (cluster, lock) = place.open().await;
    let leak = tempfile::tempfile().unwrap();
    let _inheritable = nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    cluster.ensure_running(&lock).await.unwrap();
    let pid = cluster.postmaster_pid().await.unwrap().unwrap();
    let inode = leak.metadata().unwrap().ino();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let inherited = open.filter(|entry| entry.path().metadata().is_ok_and(|metadata| metadata.ino() == inode)).count();
    assert_eq!(inherited, 0);
    let session = nix::unistd::getsid(Some(Pid::from_raw(pid))).unwrap();
    assert_eq!(session.as_raw(), pid);
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("HOME="));
}

async fn stop_ends_a_postmaster_that_does_not_end_in_time() {
    let place = Place::new();
    let impatient = ClusterConfig { stop_deadline: Duration::ZERO, ..ClusterConfig::default() };
    let cluster = Cluster::open(&place.directory, impatient).unwrap();
    let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
    cluster.ensure_running(&lock).await.unwrap();
    let pid = cluster.postmaster_pid().await.unwrap().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::Immediate);
    assert_eq!(place.processes(), Vec::<i32>::new());
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
}

async fn a_start_is_not_misled_by_a_living_process_with_the_old_id() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let pid = cluster.postmaster_pid().await.unwrap().unwrap();
    let (note, socket) = (place.directory.postgres().join("data/postmaster.pid"), place.socket_directory(&cluster));
    let content = std::fs::read_to_string(&note).unwrap();
    cluster.stop(&lock).await.unwrap();
    // This very process, or as root one that PostgreSQL could signal.
    let other = Stranger::new();
    let content = content.replacen(&pid.to_string(), &other.pid().to_string(), 1);
    std::fs::write(&note, &content).unwrap();
    std::fs::write(socket.join(".s.PGSQL.5432.lock"), &content).unwrap();
    std::fs::write(socket.join(".s.PGSQL.5432"), "").unwrap();
    assert_eq!(cluster.postmaster_pid().await.unwrap(), None);
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::NotRunning);
    std::fs::write(&note, &content).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    connect(&cluster.connection(Role::Serving)).await;
}

async fn a_start_waits_for_a_postmaster_that_is_writing_its_note() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let note = place.directory.postgres().join("data/postmaster.pid");
    let content = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, "").unwrap();
    // Nothing tells when the empty note has been looked at; too early would test nothing, and fail nothing.
    let write = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::write(&note, &content).unwrap();
    };
    let (start, ()) = tokio::join!(cluster.ensure_running(&lock), write);
    assert_eq!(start.unwrap(), Start::Adopted);
}

async fn a_start_ends_what_outlives_a_killed_postmaster() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let postmaster = cluster.postmaster_pid().await.unwrap().unwrap();
    let straggler = place.processes().into_iter().find(|pid| *pid != postmaster).unwrap();
    kill(Pid::from_raw(straggler), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    assert!(!place.processes().contains(&straggler));
}

async fn a_start_repairs_a_postmaster_whose_socket_is_gone() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    std::fs::remove_file(place.socket_directory(&cluster).join(".s.PGSQL.5432")).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    connect(&cluster.connection(Role::Serving)).await;
}

async fn a_missing_major_version_is_named() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    cluster.stop(&lock).await.unwrap();
    std::fs::write(place.directory.postgres().join("data/PG_VERSION"), "9.6\n").unwrap();
    let message = cluster.ensure_running(&lock).await.unwrap_err().to_string();
    for part in ["was made by PostgreSQL 9.6", "apt-get install postgresql-9.6", "pg_upgrade", "installed: 15"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    std::fs::write(place.directory.postgres().join("data/PG_VERSION"), "nonsense").unwrap();
    let error = cluster.ensure_running(&lock).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Damaged { .. }), "{error}");
}

async fn a_failed_start_shows_the_log() {
    let place = Place::new();
    let options = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let cluster = Cluster::open(&place.directory, ClusterConfig { options, ..ClusterConfig::default() }).unwrap();
    let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
    let error = cluster.ensure_running(&lock).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("invalid value for parameter \"shared_buffers\""), "{error}");
    assert_eq!(place.processes(), Vec::<i32>::new());
}

async fn a_second_server_is_refused_with_the_pid_of_the_first() {
    let place = Place::new();
    let mut helper = Helper::new("hold_server", &place.directory);
    let pid: i32 = helper.await_ready();
    let error = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::ServerRunning { pid: Some(named), .. } if named == pid), "{error}");
    assert!(error.to_string().contains(&format!("(PID {pid})")), "{error}");
    // The lock dies with its holder, whatever the file still says.
    helper.kill();
    DataDirectoryLock::for_server(&place.directory, Duration::ZERO).await.unwrap();
}

async fn a_server_waits_for_a_command() {
    let place = Place::new();
    let mut helper = Helper::new("hold_command", &place.directory);
    let pid: i32 = helper.await_ready();
    let error = DataDirectoryLock::for_server(&place.directory, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::CommandRunning { pid: Some(named), .. } if named == pid), "{error}");
    let server = DataDirectoryLock::for_server(&place.directory, WAIT);
    let (lock, ()) = tokio::join!(server, async { helper.end() });
    lock.unwrap();
}

async fn a_command_works_beside_a_server() {
    let place = Place::new();
    let mut helper = Helper::new("start", &place.directory);
    let pid: i32 = helper.await_ready();
    let session = CommandSession::begin(&place.directory, ClusterConfig::default(), WAIT).await.unwrap();
    assert!(session.is_beside_server());
    connect(&session.cluster().connection(Role::Owner)).await;
    let cluster = Cluster::open(&place.directory, ClusterConfig::default()).unwrap();
    session.end().await.unwrap();
    assert_eq!(cluster.postmaster_pid().await.unwrap(), Some(pid));
    // A server whose PostgreSQL does not answer: no waiting for ever.
    kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
    await_true(|| place.processes().is_empty(), "the end of PostgreSQL");
    let wait = Duration::from_millis(50);
    let error = CommandSession::begin(&place.directory, ClusterConfig::default(), wait).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::NotAnswering { .. }), "{error}");
}

async fn a_command_alone_starts_and_stops() {
    let place = Place::new();
    let session = CommandSession::begin(&place.directory, ClusterConfig::default(), WAIT).await.unwrap();
    assert!(!session.is_beside_server());
    connect(&session.cluster().connection(Role::Owner)).await;
    let error = DataDirectoryLock::for_server(&place.directory, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::CommandRunning { .. }), "{error}");
    session.end().await.unwrap();
    assert_eq!(place.processes(), Vec::<i32>::new());
    DataDirectoryLock::for_server(&place.directory, Duration::ZERO).await.unwrap();
}

async fn a_long_path_gets_a_short_socket() {
    for name in ["long".repeat(30), "a comma, a 'quote' and a blank".to_owned()] {
        let place = Place::inside(&name);
        let (cluster, lock) = place.start().await;
        let socket = place.socket_directory(&cluster);
        assert!(!socket.starts_with(place.directory.path()), "{}", socket.display());
        assert_eq!(socket.metadata().unwrap().mode() & 0o777, 0o700);
        connect(&cluster.connection(Role::Serving)).await;
        assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
        cluster.stop(&lock).await.unwrap();
        assert!(!socket.exists());
    }
}

async fn the_serving_role_makes_nothing() {
    let place = Place::new();
    let (cluster, _lock) = place.start().await;
    let serving = connect(&cluster.connection(Role::Serving)).await;
    for statement in [
        "CREATE TABLE t (n int)",
        "CREATE TEMPORARY TABLE t (n int)",
        "CREATE SCHEMA s",
        "CREATE DATABASE d",
        "CREATE ROLE r",
        "SET ROLE latchkey_owner",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER SYSTEM SET fsync = off",
    ] {
        let error = serving.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{statement}: {error:?}");
    }
    let rights = "SELECT concat(rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls) FROM pg_roles \
                  WHERE rolname = current_user";
    assert_eq!(text(&serving, rights).await, "fffff");
    for database in ["postgres", "template1"] {
        let Err(error) = tokio_postgres::connect(&cluster.connection_to(Role::Serving, database), NoTls).await else {
            panic!("the serving role may connect to {database}");
        };
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error:?}");
    }
}

async fn stop_leaves_no_process_and_no_socket() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let socket = place.socket_directory(&cluster);
    // One that waits and one that is in a transaction: a fast shutdown ends both.
    let _idle = connect(&cluster.connection(Role::Serving)).await;
    let busy = connect(&cluster.connection(Role::Owner)).await;
    busy.batch_execute("BEGIN; CREATE TABLE t (n int)").await.unwrap();
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::Fast);
    assert_eq!(place.processes(), Vec::<i32>::new());
    assert_eq!(std::fs::read_dir(socket).unwrap().count(), 0);
    assert!(!place.directory.postgres().join("data/postmaster.pid").exists());
    assert_eq!(cluster.stop(&lock).await.unwrap(), Stop::NotRunning);
}

async fn extra_options_reach_postgresql_but_not_those_that_guard_it() {
    let place = Place::new();
    let config = |options: &[(&str, &str)]| ClusterConfig {
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::open(&place.directory, config(&[("fsync", "off"), ("max_connections", "17")])).unwrap();
    let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
    let began = Instant::now();
    cluster.ensure_running(&lock).await.unwrap();
    println!("first start without fsync: {:?}", began.elapsed());
    let client = connect(&cluster.connection(Role::Serving)).await;
    let settings = "SELECT current_setting('fsync') || current_setting('max_connections')";
    assert_eq!(text(&client, settings).await, "off17");
    for name in ["listen_addresses", "HBA_FILE", "port -c x", ""] {
        let error = Cluster::open(&place.directory, config(&[(name, "x")])).unwrap_err();
        assert!(matches!(error, EmbeddedError::Setting { .. }), "{error}");
    }
}

async fn a_directory_of_something_else_is_refused() {
    let outer = TempDir::new().unwrap();
    std::fs::write(outer.path().join("letter.txt"), "x").unwrap();
    let before = outer.path().metadata().unwrap().mode();
    let error = DataDirectory::open(outer.path()).unwrap_err();
    assert!(matches!(&error, EmbeddedError::NotLatchkeys { entry, .. } if entry == "letter.txt"), "{error}");
    assert_eq!(outer.path().metadata().unwrap().mode(), before);
}

#[test]
fn other_accounts_get_in_only_by_the_map() {
    if skip_unless_root() {
        return;
    }
    run(async {
        let place = Place::new();
        let (daemon, nobody) = (Account::named("daemon").unwrap(), Account::named("nobody").unwrap());
        let config = ClusterConfig { accounts: vec!["daemon".to_owned()], ..ClusterConfig::default() };
        let cluster = Cluster::open(&place.directory, config).unwrap();
        let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
        cluster.ensure_running(&lock).await.unwrap();
        let psql = |uid: Uid, gid: nix::unistd::Gid, role| {
            let connection = cluster.connection(role);
            let output = Command::new("setpriv")
                .args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "psql"])
                .args(["-XAtc", "SELECT current_user", &connection])
                .current_dir("/")
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
        };
        assert_eq!(psql(daemon.uid(), daemon.gid(), Role::Serving), (true, "latchkey_serving".to_owned()));
        assert_eq!(psql(daemon.uid(), daemon.gid(), Role::Owner), (true, "latchkey_owner".to_owned()));
        for (uid, gid, role, reason) in [
            (daemon.uid(), daemon.gid(), Role::Superuser, "Peer authentication failed"),
            // With the group that passes the directory, so that it is the peer check that refuses.
            (nobody.uid(), daemon.gid(), Role::Serving, "Peer authentication failed"),
            (nobody.uid(), daemon.gid(), Role::Superuser, "Peer authentication failed"),
            (nobody.uid(), nobody.gid(), Role::Serving, "Permission denied"),
        ] {
            let (success, said) = psql(uid, gid, role);
            assert!(!success && said.contains(reason), "{uid} {gid} {role:?}: {said}");
        }
        // Who may connect follows the configuration, also of a PostgreSQL that is adopted.
        let cluster = Cluster::open(&place.directory, ClusterConfig::default()).unwrap();
        assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Adopted);
        await_true(|| !psql(daemon.uid(), daemon.gid(), Role::Serving).0, "the refusal of an account no longer named");
    });
}

#[test]
fn root_is_told_what_keeps_other_accounts_out() {
    if skip_unless_root() {
        return;
    }
    run(async {
        let outer = TempDir::new().unwrap();
        std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let directory = DataDirectory::open(outer.path().join("data")).unwrap();
        let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
        let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
        let error = cluster.ensure_running(&lock).await.unwrap_err();
        assert!(matches!(&error, EmbeddedError::CannotEnter { closed, .. } if closed == outer.path()), "{error}");
        let foreign = TempDir::new().unwrap();
        std::os::unix::fs::chown(foreign.path(), Some(65534), None).unwrap();
        let error = DataDirectory::open(foreign.path()).unwrap_err();
        assert!(matches!(error, EmbeddedError::ForeignDirectory { owner: 65534, .. }), "{error}");
    });
}

#[test]
fn a_full_disk_is_told() {
    if skip_unless_root() {
        return;
    }
    let outer = TempDir::new().unwrap();
    std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let disk = Disk::mount(outer.path(), "16m");
    run(async {
        let directory = DataDirectory::open(disk.0.join("data")).unwrap();
        let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
        let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
        for _ in 0..2 {
            let error = cluster.ensure_running(&lock).await.unwrap_err();
            assert!(matches!(error, EmbeddedError::DiskFull { .. }), "{error}");
            assert!(!directory.postgres().join("data").exists());
        }
    });
}

/// Not a test: what this file starts again as a process of its own, for the tests to kill.
#[test]
#[ignore = "started by other tests"]
fn helper() {
    let (Ok(role), Ok(path)) = (std::env::var("LATCHKEY_TEST_HELPER"), std::env::var("LATCHKEY_TEST_DIRECTORY")) else {
        return;
    };
    run(async {
        let directory = DataDirectory::open(path).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let (pid, _lock) = match role.as_str() {
            "start" => {
                let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
                let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
                cluster.ensure_running(&lock).await.unwrap();
                (cluster.postmaster_pid().await.unwrap().unwrap(), lock)
            }
            "hold_server" => (own, DataDirectoryLock::for_server(&directory, WAIT).await.unwrap()),
            "hold_command" => match DataDirectoryLock::for_command(&directory, WAIT).await.unwrap() {
                latchkey::embedded::CommandAccess::Alone(lock) => (own, lock),
                latchkey::embedded::CommandAccess::BesideServer { pid } => panic!("a server runs: {pid}"),
            },
            other => panic!("unknown helper {other}"),
        };
        println!("\nhelper ready {pid}");
        // Until its test is done with it, or has ended.
        std::io::stdin().read_line(&mut String::new()).unwrap();
    });
}

/// A process of this file's `helper`.
struct Helper {
    child: Child,
}

impl Helper {
    fn new(role: &str, directory: &DataDirectory) -> Self {
        let child = Command::new("/proc/self/exe")
            .args(["--exact", "helper", "--ignored", "--nocapture"])
            .env("LATCHKEY_TEST_HELPER", role)
            .env("LATCHKEY_TEST_DIRECTORY", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// The process ID that it reports.
    fn await_ready(&mut self) -> i32 {
        let output = BufReader::new(self.child.stdout.as_mut().unwrap());
        let lines = output.lines().map_while(Result::ok);
        let mut reports = lines.filter_map(|line| line.strip_prefix("helper ready ")?.parse().ok());
        reports.next().expect("the helper failed")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A living process of the account that runs PostgreSQL, which has nothing to do with it.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").current_dir("/");
        if is_root() {
            let account = Account::named("postgres").unwrap();
            command.uid(account.uid().as_raw()).gid(account.gid().as_raw());
        }
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0711");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).status().unwrap();
        assert!(status.success(), "mount");
        Self(path.to_path_buf())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A data directory of a test's own; whatever still runs there when the test ends is ended.
struct Place {
    directory: DataDirectory,
    outer: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::inside("data")
    }

    fn inside(name: &str) -> Self {
        let outer = TempDir::new().unwrap();
        if is_root() {
            std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        }
        Self { directory: DataDirectory::open(outer.path().join(name)).unwrap(), outer }
    }

    async fn open(&self) -> (Cluster, DataDirectoryLock) {
        let cluster = Cluster::open(&self.directory, ClusterConfig::default()).unwrap();
        (cluster, DataDirectoryLock::for_server(&self.directory, WAIT).await.unwrap())
    }

    async fn start(&self) -> (Cluster, DataDirectoryLock) {
        let (cluster, lock) = self.open().await;
        cluster.ensure_running(&lock).await.unwrap();
        (cluster, lock)
    }

    fn socket_directory(&self, cluster: &Cluster) -> PathBuf {
        let connection: tokio_postgres::Config = cluster.connection(Role::Serving).parse().unwrap();
        match &connection.get_hosts()[0] {
            tokio_postgres::config::Host::Unix(path) => path.clone(),
            tokio_postgres::config::Host::Tcp(host) => panic!("not a socket: {host}"),
        }
    }

    /// Every living process that works in this place.
    fn processes(&self) -> Vec<i32> {
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

async fn connect(connection: &str) -> Client {
    let (client, task) = tokio_postgres::connect(connection, NoTls).await.unwrap();
    tokio::spawn(task);
    client
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Waits for something outside this process that nothing announces.
fn await_true(condition: impl Fn() -> bool, what: &str) {
    let until = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

fn is_root() -> bool {
    Uid::effective().is_root()
}

fn skip_unless_root() -> bool {
    if !is_root() {
        println!("skipped: only root can start PostgreSQL as another account");
    }
    !is_root()
}

/// Runs one test of this file again, in a process of the account nobody.
fn run_again_as_nobody(test: &str) {
    if !is_root() {
        println!("skipped: this is an unprivileged account already");
        return;
    }
    let nobody = Account::named("nobody").unwrap();
    // By this name the new process reaches its program even where its account may not pass the directories.
    let output = Command::new("/proc/self/exe")
        .args(["--exact", test, "--nocapture"])
        .uid(nobody.uid().as_raw())
        .gid(nobody.gid().as_raw())
        .current_dir("/")
        .env_remove("TMPDIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "failed as nobody");
}
