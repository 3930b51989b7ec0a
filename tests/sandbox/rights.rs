//! What may be done in a sandbox, and what no trick gets.

use latchkey::environments::runner::Runner;

use crate::support::machine::{Machine, exec, running};

#[tokio::test]
async fn rights_cannot_be_had_inside() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let capabilities = exec(&runner, id, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status").await.stdout;
    for line in capabilities.lines() {
        let (name, value) = line.split_once(":\t").unwrap();
        assert_eq!(value.trim_start_matches('0'), if name == "NoNewPrivs" { "1" } else { "" }, "{line}");
    }
    for text in [
        "unshare --user true",
        "unshare --user --map-root-user --mount mount -t tmpfs none /mnt",
        "unshare --mount true",
        "mount -t tmpfs none /tmp",
        "nsenter --target 1 --mount true",
        "kill -KILL 1 && sleep 0.2 && kill -0 1 && false",
        "chroot / true",
        "hostname other",
    ] {
        assert_ne!(exec(&runner, id, text).await.exit_code, 0, "{text}");
    }
    // Process 1 is still there.
    assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    runner.delete(id).await.unwrap();
}
