//! Starting: what the first start makes, what later ones find, and what PostgreSQL is started with.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use latchkey::embedded::{Account, Cluster, ClusterConfig, DataDirectoryLock, EmbeddedError, Role, Start, Stop};
use nix::unistd::Pid;

use crate::account::is_root;
use crate::place::{Place, WAIT, await_true, connect, text};
use crate::processes::Helper;

pub async fn the_first_start_makes_everything() {
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

pub async fn a_second_start_finds_what_was_there() {
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

pub async fn a_start_adopts_what_a_killed_process_left() {
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

pub async fn two_starts_at_once_are_one() {
    let place = Place::new();
    let (cluster, lock) = place.open().await;
    let (one, two) = tokio::join!(cluster.ensure_running(&lock), cluster.ensure_running(&lock));
    assert_eq!((one.unwrap(), two.unwrap()), (Start::Started, Start::Adopted));
}

pub async fn a_start_that_takes_too_long_goes_on_in_the_background() {
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

pub async fn the_postmaster_inherits_nothing() {
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

pub async fn a_long_path_gets_a_short_socket() {
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

pub async fn extra_options_reach_postgresql_but_not_those_that_guard_it() {
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
