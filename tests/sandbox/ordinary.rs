//! The same tests as an ordinary account: one whose sandboxes run as itself, without control groups, and without a right to
//! give to anybody.

use std::{collections::BTreeSet, env, fs, os::unix::process::CommandExt, process::Command};

use nix::unistd::geteuid;

use crate::support::left_out::left_out;
use crate::support::machine::{PROGRAM, program};

/// An account that nothing else on a machine has: what the kernel counts for one is this test's alone.
const ACCOUNT: u32 = 60_124;
/// Tests that leave something out there, for want of root's rights.
const INCOMPLETE: [&str; 5] = [
    "files::a_data_directory_that_every_sandbox_would_see_is_refused",
    "ordinary::an_ordinary_account_keeps_environments_apart_as_well",
    "rights::a_setuid_program_gives_nobody_its_owners_rights",
    "rights::there_are_no_devices_but_those_that_give_nothing_away",
    "shares::what_each_sandbox_may_have_is_not_for_all_of_them_together",
];

#[test]
fn an_ordinary_account_keeps_environments_apart_as_well() {
    if !geteuid().is_root() {
        left_out("it is an ordinary account already that runs these tests");
        return;
    }
    let directory = tempfile::Builder::new().prefix("latchkey-ordinary-").tempdir().unwrap();
    // Where the account can read them. Copied by another process: what this one has open for writing, children of the tests
    // around this one would have open too, and nobody can run it then.
    let copied = Command::new("cp").args([env::current_exe().unwrap(), program()]).arg(directory.path()).status();
    assert!(copied.unwrap().success());
    std::os::unix::fs::chown(directory.path(), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    let here = |path: std::path::PathBuf| directory.path().join(path.file_name().unwrap());
    let tests = || {
        let mut command = Command::new(here(env::current_exe().unwrap()));
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", directory.path()).env("TMPDIR", directory.path()).env(PROGRAM, here(program()));
        command.current_dir(directory.path()).uid(ACCOUNT).gid(ACCOUNT);
        command
    };
    let listed = tests().arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let all: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();

    let ran = tests().arg("--show-output").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let passed: BTreeSet<&str> =
        said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok")).collect();
    assert_eq!(passed, all);
    // What is told of a test is below its name.
    let mut name = "";
    let mut incomplete = BTreeSet::new();
    for line in said.lines() {
        if let Some(next) = line.strip_prefix("---- ") {
            name = next.trim_end_matches(" stdout ----");
        } else if line.starts_with("left out") {
            incomplete.insert(name);
        }
    }
    assert_eq!(incomplete, BTreeSet::from(INCOMPLETE));
    // Whatever else comes to be left out: these are there, and whole.
    for whole in ["files", "impostors", "neighbours", "network", "rights", "system_calls"] {
        let count = passed.difference(&incomplete).filter(|name| name.split("::").next() == Some(whole)).count();
        assert!(count > 0, "nothing of {whole} was tried");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something is left");
}
