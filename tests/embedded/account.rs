//! Tests as root, and as somebody else.

use std::os::unix::process::CommandExt;
use std::process::Command;

use latchkey::embedded::Account;
use nix::unistd::Uid;

pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

pub fn skip_unless_root() -> bool {
    if !is_root() {
        println!("skipped: only root can start PostgreSQL as another account");
    }
    !is_root()
}

/// Runs one test of this file again, in a process of the account nobody.
pub fn run_again_as_nobody(test: &str) {
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
