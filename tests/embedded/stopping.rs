//! Stopping.

use std::time::Duration;

use latchkey::embedded::{Cluster, ClusterConfig, DataDirectoryLock, Role, Start, Stop};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::{Place, WAIT, connect};

pub async fn stop_ends_a_postmaster_that_does_not_end_in_time() {
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

pub async fn stop_leaves_no_process_and_no_socket() {
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
