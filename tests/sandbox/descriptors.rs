//! What of the server's is open in a sandbox: nothing.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream,
    path::Path,
};

use latchkey::{domain::environment::GitTarget, domain::ids::EnvironmentId, environments::runner::Runner};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
    process::Pid,
};

use crate::support::{
    git_server::Manners,
    machine::{Machine, RESOURCES, eventually, exec, repository, running, sandbox},
};

/// Descriptors of every kind, which every child of this process inherits.
fn inheritable(directory: &Path) -> Vec<OwnedFd> {
    let file = directory.join("secret");
    fs::write(&file, "hunter2").unwrap();
    let pipe = rustix::pipe::pipe().unwrap();
    let sockets = UnixStream::pair().unwrap();
    let all: Vec<OwnedFd> = vec![
        fs::File::open(&file).unwrap().into(),
        fs::File::open(directory).unwrap().into(),
        fs::File::open("/proc/self/ns/net").unwrap().into(),
        pipe.0,
        pipe.1,
        sockets.0.into(),
        sockets.1.into(),
        memfd_create("secret", MemfdFlags::empty()).unwrap(),
    ];
    for descriptor in &all {
        fcntl_setfd(descriptor.as_fd(), FdFlags::empty()).unwrap();
    }
    all
}

/// What a process has open, by number; nothing of one that has ended.
fn open(process: i32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let opened = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    });
    opened.collect()
}

/// The living processes of a sandbox with their names, and the bubblewrap outside that waits for it.
fn processes(first: Pid) -> Vec<(i32, String)> {
    let first = first.as_raw_nonzero().get();
    let namespace = |process: i32| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let parent: i32 = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    let wanted = namespace(first).unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = all.filter(|process| *process == parent || namespace(*process).as_ref() == Some(&wanted));
    let mut named: Vec<_> = found
        .filter_map(|process| {
            Some((process, fs::read_to_string(format!("/proc/{process}/comm")).ok()?.trim().to_owned()))
        })
        .collect();
    named.sort_by(|one, other| one.1.cmp(&other.1));
    named
}

/// The same, once it has those names: a process has its own a moment after it was made.
async fn processes_when(directory: &Path, is_so: impl Fn(&[&str]) -> bool) -> Vec<(i32, String)> {
    let first = sandbox(directory).unwrap();
    let are_there = || is_so(&processes(first).iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>());
    eventually("the processes are there", are_there).await;
    processes(first)
}

/// Checks that each descriptor of a process is of a kind that it may have, and nothing of this process's own but, in a clone,
/// where the supervisor tells how far it is.
fn check(directory: &Path, process: i32, name: &str, is_clone: bool) {
    let own = open(rustix::process::getpid().as_raw_nonzero().get());
    let (log, status) = (directory.join("log").display().to_string(), directory.join("status").display().to_string());
    let open = open(process);
    // The supervisor is closed to everybody but root.
    let is_seen = open.contains_key(&0) || (name == "latchkey" && !nix::unistd::geteuid().is_root());
    assert!(is_seen, "{name}: what it has open cannot be seen");
    for (number, what) in open {
        let is_new =
            ["socket:", "pipe:"].iter().any(|kind| what.starts_with(kind)) && !own.values().any(|own| *own == what);
        // The kernel's own: what waits for others, what is woken, what signals come to.
        let is_plain = ["eventpoll", "eventfd", "signalfd"].map(|kind| format!("anon_inode:[{kind}]")).contains(&what);
        let is_standard = number <= 2 && (what == "/dev/null" || what == log);
        let is_status = name == "bwrap" && what == status;
        let is_told = is_clone && number == 1 && what.starts_with("pipe:") && ["bwrap", "latchkey"].contains(&name);
        assert!(is_new || is_plain || is_standard || is_status || is_told, "{name} has {number} open: {what}");
    }
}

#[tokio::test]
async fn no_descriptor_of_the_servers_gets_into_a_sandbox() {
    let machine = Machine::new().await;
    machine.git.add_repository("owner/slow", &[("a", "b")]);
    machine.git.set_manners("owner/slow", Manners::Silent);
    let runner = machine.runner().await;
    let inherited = inheritable(&machine.config.data_dir);

    let id = running(&runner).await;
    assert_eq!(exec(&runner, id, "ls /proc/self/fd | tr '\\n' ' '").await.stdout, "0 1 2 3 ", "and that of ls");
    exec(&runner, id, "sleep 1000 >/dev/null 2>&1 & sleep 1000 &").await;
    let found =
        processes_when(&machine.directory_of(id), |names| names == ["bwrap", "latchkey", "sleep", "sleep"]).await;
    // A program that has just begun reads its libraries and its language.
    eventually("they have closed what they began with", || found[2..].iter().all(|sleep| open(sleep.0).len() == 3))
        .await;
    for (process, name) in &found {
        check(&machine.directory_of(id), *process, name, false);
    }
    assert_eq!(open(found[3].0).into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    runner.delete(id).await.unwrap();

    // While git waits for an answer.
    let id = EnvironmentId::generate();
    let content = repository("owner/slow", GitTarget::RemoteHead);
    let mut create = runner.create(id, &content, &RESOURCES);
    tokio::select! {
        result = &mut create => panic!("{result:?}"),
        () = eventually("the clone reaches the server", || !machine.git.requests().is_empty()) => {}
    }
    let found = processes_when(&machine.directory_of(id), |names| names.contains(&"git-remote-http")).await;
    for (process, name) in found {
        check(&machine.directory_of(id), process, &name, true);
    }
    drop(create);
    drop(inherited);
    runner.delete(id).await.unwrap();
}
