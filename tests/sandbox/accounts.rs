//! Whose the processes of a sandbox are, seen from outside.

use latchkey::environments::runner::Runner;

use crate::support::{
    machine::{Machine, command, eventually, run, running, sandbox},
    outside,
};

#[tokio::test]
async fn outside_its_processes_are_the_accounts() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // As whoever runs the tests, if that is not root.
    let (user, group) = match machine.config.account {
        Some(account) => (account.uid, account.gid),
        None => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
    };
    assert_ne!((user, group), (0, 0));

    let look = async {
        let first = sandbox(&machine.directory_of(id)).expect("it runs").as_raw_nonzero().get();
        let names = |seen: &[outside::Seen]| seen.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        eventually("the command runs", || names(&outside::of_sandbox(first)).contains(&"sleep".to_owned())).await;
        let seen = outside::of_sandbox(first);
        for name in ["bwrap", "latchkey", "sh", "sleep"] {
            assert!(names(&seen).iter().any(|one| one == name), "{name} is not in {seen:?}");
        }
        for one in seen {
            assert_eq!(one.users, [user; 4], "{one:?}");
            // Whoever is not root cannot lay down the groups that they are in besides.
            let is_ours = |other: &u32| *other == group || machine.config.account.is_none();
            assert!(one.groups.iter().all(is_ours), "{one:?}");
        }
    };
    tokio::select! {
        // Not the last command, so that the shell does not become it.
        output = run(&runner, id, command("id -u; sleep 1000; true")) => panic!("{output:?}"),
        () = look => {}
    }
    runner.delete(id).await.unwrap();
}
