//! Servers and commands on one data directory.

use std::time::Duration;

use latchkey::embedded::{Cluster, ClusterConfig, CommandSession, DataDirectoryLock, EmbeddedError, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::{Place, WAIT, await_true, connect};
use crate::processes::Helper;

pub async fn a_second_server_is_refused_with_the_pid_of_the_first() {
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

pub async fn a_server_waits_for_a_command() {
    let place = Place::new();
    let mut helper = Helper::new("hold_command", &place.directory);
    let pid: i32 = helper.await_ready();
    let error = DataDirectoryLock::for_server(&place.directory, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::CommandRunning { pid: Some(named), .. } if named == pid), "{error}");
    let server = DataDirectoryLock::for_server(&place.directory, WAIT);
    let (lock, ()) = tokio::join!(server, async { helper.end() });
    lock.unwrap();
}

pub async fn a_command_works_beside_a_server() {
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

pub async fn a_command_alone_starts_and_stops() {
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
