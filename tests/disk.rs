//! What environments fill of the disk, and what holds those that fill too much.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{path::Path, process::Command};

mod support {
    pub(crate) mod git_server;
    pub(crate) mod machine;
}

use latchkey::{
    domain::{
        environment::{Content, GitTarget},
        ids::EnvironmentId,
    },
    environments::runner::{FailureKind, Resources, Runner, local::LocalRunner},
};
use rustix::process::{Pid, Signal, kill_process};
use support::machine::{Machine, RESOURCES, counting, eventually, exec, processes_with, repository, running, until};

const MEBIBYTE: u64 = 1 << 20;
/// `capabilities(7)`: the number of the one to read whatever the permissions of files are.
const CAP_DAC_READ_SEARCH: u32 = 2;

/// A text that hardly gets smaller when it is packed.
fn noise(length: usize) -> String {
    let mut state: u64 = 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 58) as u8)
    };
    (0..length).map(|_| next()).collect()
}

/// What the system's own program says of all that is an environment's own.
fn du(directory: &Path) -> u64 {
    let own = ["ws", "home", "run"].map(|name| directory.join(name));
    let output = Command::new("du").args(["--summarize", "--total", "--block-size=1"]).args(own).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_an_environment_fills_is_counted_after_its_clone_while_it_runs_and_when_it_stops() {
    let machine = Machine::new().await;
    machine.git.add_repository("owner/name", &[("noise", &noise(3_000_000))]);
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let directory = machine.directory_of(id);
    let counted = async || runner.observe(id).await.unwrap().disk_bytes.unwrap_or_default();
    runner.create(id, &repository("owner/name", GitTarget::RemoteHead), &RESOURCES).await.unwrap();
    assert_eq!(counted().await, du(&directory));
    assert!(counted().await > 4 * MEBIBYTE, "the file, and the pack that it came in: {}", counted().await);

    runner.start(id, &RESOURCES).await.unwrap();
    // A file with many names, one with holes, some that are nobody else's, and what would be read if it were asked.
    let fill = "mkdir -p ~/closed/within; head -c 20000000 /dev/urandom > ~/closed/within/noise; \
                for i in 1 2 3 4; do ln ~/closed/within/noise ~/closed/$i; done; \
                truncate --size 900M holes; ln -s / root; mkfifo fifo; \
                for place in /run/latchkey /workspace ~; do echo '{\"bytes\":1,\"files\":1,\"state\":\"done\"}' \
                | tee $place/report.json $place/measuring.status > $place/measuring.log; done; \
                chmod 0 ~/closed/within ~/closed ~";
    assert_eq!(exec(&runner, id, fill).await.exit_code, 0);
    let while_it_runs =
        until("it is counted while it runs", async || Some(counted().await).filter(|bytes| *bytes > 23 * MEBIBYTE))
            .await;
    assert!(while_it_runs < 26 * MEBIBYTE, "{while_it_runs}");

    exec(&runner, id, "chmod 700 ~; head -c 5000000 /dev/urandom > ~/more").await;
    runner.stop(id).await.unwrap();
    if rustix::process::geteuid().is_root() {
        assert_eq!(counted().await, du(&directory));
    }
    assert!(counted().await > 28 * MEBIBYTE, "{}", counted().await);
    // The next server knows it as well.
    let before = counted().await;
    drop(runner);
    let runner = machine.runner().await;
    assert_eq!(runner.observe(id).await.unwrap().disk_bytes, Some(before));
    runner.delete(id).await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn an_environment_that_fills_too_much_is_ended_and_runs_again_to_remove_files() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let resources = Resources { disk_bytes: 8 * MEBIBYTE, ..RESOURCES };
    runner.create(id, &Content::Empty, &resources).await.unwrap();
    assert_eq!(runner.start(id, &resources).await.unwrap().warning, unlimited(&runner).await);
    let ended = async || {
        until("it is ended", async || Some(runner.observe(id).await.unwrap()).filter(|seen| !seen.is_running)).await
    };
    // One after the other, as no file may be so long.
    exec(&runner, id, "for i in 1 2 3; do head -c 4M /dev/urandom > $i; done; truncate --size 7M sparse").await;
    let seen = ended().await;
    let why = seen.ended.unwrap();
    assert!(why.contains("fills 12.0 MiB of the disk, and its class allows 8 MiB"), "{why}");
    assert!(why.contains("start it to remove files"), "{why}");
    assert!(seen.disk_bytes.is_some_and(|bytes| bytes > 12 * MEBIBYTE));
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());

    // Nothing can be written, whatever is tried.
    let warning = runner.start(id, &resources).await.unwrap().warning.unwrap();
    assert!(warning.contains("files can be removed, and none can be written"), "{warning}");
    for command in [
        "echo x > new",
        "echo x >> 1",
        "echo x > /tmp/new",
        "truncate --size 8M 1",
        "dd if=/dev/zero of=3 conv=notrunc",
    ] {
        assert_ne!(exec(&runner, id, command).await.exit_code, 0, "{command}");
    }
    // Holes are filled without any write; that is noticed when it is counted.
    let filled = "fallocate --keep-size --length 7M sparse && sync sparse";
    if exec(&runner, id, filled).await.exit_code == 0 {
        let why = ended().await.ended.unwrap();
        assert!(why.contains("fills 19.0 MiB"), "{why}");
        runner.start(id, &resources).await.unwrap();
    }
    assert_eq!(exec(&runner, id, "mkdir d && rm -r 1 2 sparse new d && ls").await.stdout, "3\n");
    runner.stop(id).await.unwrap();
    assert_eq!(runner.start(id, &resources).await.unwrap().warning, unlimited(&runner).await);
    assert_eq!(exec(&runner, id, "echo x > new && cat new").await.stdout, "x\n");
    runner.delete(id).await.unwrap();
}

/// What the runner warns of whatever an environment fills.
async fn unlimited(runner: &LocalRunner) -> Option<String> {
    let id = EnvironmentId::generate();
    runner.create(id, &Content::Empty, &RESOURCES).await.unwrap();
    let warning = runner.start(id, &RESOURCES).await.unwrap().warning;
    runner.delete(id).await.unwrap();
    warning
}

#[tokio::test]
async fn a_repository_that_unpacks_without_an_end_is_given_up_and_removed() {
    let machine = Machine::new().await;
    // A terabyte, from some kilobytes.
    machine.git.add_copies("owner/bomb", &"0".repeat(10_000_000), 100_000);
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let resources = Resources { disk_bytes: 32 * MEBIBYTE, ..RESOURCES };
    let failure = runner.create(id, &repository("owner/bomb", GitTarget::RemoteHead), &resources).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TooLarge, "{failure}");
    assert!(failure.message().contains("its class allows 32 MiB") && failure.message().contains("larger class"));
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert!(du(&machine.directory_of(id)) < MEBIBYTE, "nothing of it is left");

    // One that has come to its end meanwhile.
    machine.git.add_copies("owner/much", &"0".repeat(1_000_000), 40);
    let failure = runner.create(id, &repository("owner/much", GitTarget::RemoteHead), &resources).await.unwrap_err();
    assert!(failure.message().contains("larger class"), "{failure}");
    assert!(du(&machine.directory_of(id)) < MEBIBYTE);
    runner.create(id, &repository("owner/much", GitTarget::RemoteHead), &RESOURCES).await.unwrap();
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_counting_that_stands_still_is_held_like_any_sandbox_and_holds_nothing_up() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    assert_eq!(exec(&runner, id, "seq 50000 | xargs touch").await.exit_code, 0);
    let of = |counting: Pid, file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", counting.as_raw_nonzero())).unwrap_or_default()
    };
    let mut stopped = None;
    let mut stop = runner.stop(id);
    tokio::select! {
        _ = &mut stop => panic!("it was counted before it could be caught"),
        () = eventually("it is counted", || {
            // Once it is our own program, which bubblewrap becomes when it has made everything ready.
            stopped = counting(&machine.directory_of(id)).filter(|counting| of(*counting, "comm").starts_with("latchkey"));
            stopped.is_some()
        }) => {}
    }
    drop(stop);
    kill_process(stopped.unwrap(), Signal::STOP).unwrap();
    let status = of(stopped.unwrap(), "status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    // The filter of system calls, and of all capabilities the one to look into directories that are closed.
    assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2", "1"), "{status}");
    for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(u64::from_str_radix(field(name), 16), Ok(1 << CAP_DAC_READ_SEARCH), "{status}");
    }
    runner.delete(id).await.unwrap();
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert!(!machine.directory_of(id).exists());
}

#[tokio::test]
async fn no_file_gets_longer_than_the_disk_of_the_class() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let resources = Resources { disk_bytes: 4 * MEBIBYTE, ..RESOURCES };
    runner.create(id, &Content::Empty, &resources).await.unwrap();
    runner.start(id, &resources).await.unwrap();
    for (command, words) in [
        ("head -c 5000000 /dev/zero > /workspace/a", "File too large"),
        ("truncate --size 5000000 /workspace/b", "File too large"),
        ("fallocate --length 5000000 /workspace/c", "Operation not supported"),
        ("head -c 5000000 /dev/zero > /tmp/d", "File too large"),
        ("ulimit -f unlimited", "not permitted"),
    ] {
        let said = exec(&runner, id, command).await;
        assert!(said.exit_code != 0 && said.stderr.contains(words), "{command}: {said:?}");
    }
    assert_eq!(exec(&runner, id, "stat --format %s /workspace/a").await.stdout, "4194304\n");
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_repository_with_a_file_that_does_not_fit_is_too_large() {
    let machine = Machine::new().await;
    // One that is small as long as it is packed, and one that is not.
    machine.git.add_repository("owner/zeros", &[("zeros", &"0".repeat(5_000_000))]);
    machine.git.add_repository("owner/noise", &[("noise", &noise(8_000_000))]);
    let runner = machine.runner().await;
    for name in ["owner/zeros", "owner/noise"] {
        let id = EnvironmentId::generate();
        let content = repository(name, GitTarget::RemoteHead);
        let resources = Resources { disk_bytes: 4 * MEBIBYTE, ..RESOURCES };
        let failure = runner.create(id, &content, &resources).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TooLarge, "{failure}");
        assert!(failure.message().contains("larger class"), "{failure}");
        runner.create(id, &content, &RESOURCES).await.unwrap();
        runner.delete(id).await.unwrap();
    }
}
