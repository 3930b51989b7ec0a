//! What environments fill of the disk, and what holds those that fill too much.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support {
    pub(crate) mod git_server;
    pub(crate) mod machine;
}

use latchkey::{
    domain::{
        environment::{Content, GitTarget},
        ids::EnvironmentId,
    },
    environments::runner::{FailureKind, Resources, Runner},
};
use support::machine::{Machine, RESOURCES, exec, repository};

const MEBIBYTE: u64 = 1 << 20;

/// A text that hardly gets smaller when it is packed.
fn noise(length: usize) -> String {
    let mut state: u64 = 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 58) as u8)
    };
    (0..length).map(|_| next()).collect()
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
        ("fallocate --length 5000000 /workspace/c", "File too large"),
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
