//! Who runs on which core: servers and PostgreSQL on the first, clients on the second.

use std::fs;

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::ground::Postgres;

const SERVERS: usize = 0;
const CLIENTS: usize = 1;

fn pin(thread: i32, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    match sched_setaffinity(Pid::from_raw(thread), &cores) {
        // One that has ended meanwhile runs nowhere.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!(
            "thread {thread} cannot be confined to core {core}: {error}. Two cores are needed: {SERVERS} for servers and \
             PostgreSQL, {CLIENTS} for clients"
        ),
    }
}

fn pin_process(process: i32, core: usize) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    for thread in threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()) {
        pin(thread, core);
    }
}

/// This process, and all threads of it from now on.
pub(super) fn clients() {
    pin_process(std::process::id().cast_signed(), CLIENTS);
}

/// The calling thread alone.
pub(super) fn this_thread_to_servers() {
    pin(0, SERVERS);
}

/// Starts a server on its core: so it finds itself on a machine with one, and has as many threads.
pub(super) async fn starting<T>(server: impl Future<Output = T>) -> T {
    // Processes begin where the thread that starts them is.
    this_thread_to_servers();
    let started = server.await;
    pin(0, CLIENTS);
    started
}

/// PostgreSQL, with all processes that it has now and will have.
pub(super) fn postgres(postgres: &Postgres) {
    let postmaster = postgres.postmaster();
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
    for process in children.split_whitespace().filter_map(|child| child.parse().ok()).chain([postmaster]) {
        pin_process(process, SERVERS);
    }
}
