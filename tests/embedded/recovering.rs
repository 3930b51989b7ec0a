//! Starting where an earlier start, or PostgreSQL itself, was cut short.

use std::time::Duration;

use latchkey::embedded::{Role, Start, Stop};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::{Place, await_true, connect, text};
use crate::processes::{Helper, Stranger};

pub async fn a_start_recovers_from_a_killed_postmaster() {
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

pub async fn a_start_finishes_what_a_start_killed_at_any_step_began() {
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

pub async fn a_start_finishes_a_half_done_bootstrap() {
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

pub async fn a_start_cut_short_in_this_process_is_finished_by_the_next() {
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

pub async fn a_start_is_not_misled_by_a_living_process_with_the_old_id() {
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

pub async fn a_start_waits_for_a_postmaster_that_is_writing_its_note() {
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

pub async fn a_start_ends_what_outlives_a_killed_postmaster() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    let postmaster = cluster.postmaster_pid().await.unwrap().unwrap();
    let straggler = place.processes().into_iter().find(|pid| *pid != postmaster).unwrap();
    kill(Pid::from_raw(straggler), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    assert!(!place.processes().contains(&straggler));
}

pub async fn a_start_repairs_a_postmaster_whose_socket_is_gone() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    std::fs::remove_file(place.socket_directory(&cluster).join(".s.PGSQL.5432")).unwrap();
    assert_eq!(cluster.ensure_running(&lock).await.unwrap(), Start::Started);
    connect(&cluster.connection(Role::Serving)).await;
}
