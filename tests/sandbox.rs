//! What a sandbox keeps from the code in it, and what commands in it get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support {
    pub(crate) mod git_server;
    pub(crate) mod machine;
    pub(crate) mod outside;
}

use std::{fs, time::Duration};

use latchkey::{
    domain::{
        environment::Content,
        exec::{Command, OUTPUT_LIMIT, Operations, OperationsError},
        ids::EnvironmentId,
    },
    environments::runner::{Resources, Runner},
};
use support::{
    machine::{Machine, command, eventually, exec, processes_with, running, sandbox},
    outside,
};

#[tokio::test]
async fn nothing_of_the_machine_gets_in() {
    let machine = Machine::new().await;
    let secret = machine.config.data_dir.join("secret");
    fs::write(&secret, "hunter2").unwrap();
    // A descriptor that every child would inherit.
    let open = fs::File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let said = async |text: &str| exec(&runner, id, text).await.stdout;

    // Descriptors: a command has its three; the supervisor does not show its own.
    assert_eq!(said("ls /proc/self/fd | tr '\\n' ' '").await, "0 1 2 3 ", "and that of ls");
    assert_eq!(said("ls -l /proc/self/fd; cat /proc/*/fdinfo/*").await.find("secret"), None);
    assert_eq!(exec(&runner, id, "ls /proc/1/fd/ || cat /proc/1/environ || cat /proc/1/mem").await.exit_code, 1);
    drop(open);

    // The environment's variables are exactly ours. `PWD` and `_` are the shell's.
    let variables = said("env | cut -d= -f1 | grep -v -x -e PWD -e _ | sort | tr '\\n' ' '").await;
    let ours =
        "HOME HTTPS_PROXY HTTP_PROXY LANG LOGNAME NO_PROXY PATH SHELL TERM USER http_proxy https_proxy no_proxy ";
    assert_eq!(variables, ours);

    // Files: nothing of the data directory, of /etc's secrets, of other people's homes; nothing can be written but
    // what is the environment's.
    let data = machine.config.data_dir.display();
    for path in [format!("{data}"), "/etc/shadow".into(), "/root".into(), "/etc/ssl/private".into(), "/sys".into()] {
        assert_eq!(exec(&runner, id, &format!("ls {path}")).await.exit_code, 2, "{path}");
    }
    for path in ["/", "/usr", "/etc", "/dev", "/run", "/run/egress", "/opt/latchkey", "/var", "/home"] {
        assert_ne!(exec(&runner, id, &format!("touch {path}/x")).await.exit_code, 0, "{path}");
    }
    for path in ["/workspace", "/home/dev", "/tmp", "/var/tmp", "/dev/shm"] {
        assert_eq!(exec(&runner, id, &format!("touch {path}/x")).await.exit_code, 0, "{path}");
    }
    assert_ne!(exec(&runner, id, "echo >> /opt/latchkey/latchkey").await.exit_code, 0);

    // Processes: only its own. Identity: nobody of the machine's.
    assert_eq!(said("ps -e -o comm= > /tmp/all; sort -u /tmp/all | tr '\\n' ' '").await, "latchkey ps sh ");
    assert_eq!(said("id -u; id -g; id -G").await, "1000\n1000\n1000\n");

    // Network: its own loopback.
    assert_eq!(said("tail -n +3 /proc/net/dev | cut -d: -f1").await.trim(), "lo");
    runner.delete(id).await.unwrap();
}

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
        output = runner.exec(id, command("id -u; sleep 1000; true")) => panic!("{output:?}"),
        () = look => {}
    }
    runner.delete(id).await.unwrap();
}

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

#[tokio::test]
async fn keys_of_the_kernel_do_not_get_in_nor_from_one_sandbox_into_another() {
    // The numbers of system calls are this architecture's; -3 is the session's keyring (keyctl(2)).
    let (add_key, keyctl) = (nix::libc::SYS_add_key, nix::libc::SYS_keyctl);
    let search = |name: &str| {
        format!(
            "perl -e '($t, $n) = (\"user\", \"{name}\"); print syscall({keyctl}, 10, -3, $t, $n, 0) < 0 ? \"none\" : \"found\"'"
        )
    };
    let add = |name: &str| {
        format!("perl -e '($t, $n, $v) = (\"user\", \"{name}\", \"hunter2\"); syscall({add_key}, $t, $n, $v, 7, -3)'")
    };
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    // Whoever starts a server has keys; here it is this thread, which also starts the sandboxes.
    let key = [c"user".as_ptr(), c"latchkey-outside".as_ptr(), c"hunter2".as_ptr()];
    // SAFETY: three strings that end in NUL, a length that the last one has, and a number.
    let added = unsafe { nix::libc::syscall(add_key, key[0], key[1], key[2], 7, -3) };
    assert!(added > 0, "{}", std::io::Error::last_os_error());
    let (one, other) = (running(&runner).await, running(&runner).await);
    assert_eq!(exec(&runner, one, &search("latchkey-outside")).await.stdout, "none");
    exec(&runner, one, &add("latchkey-inside")).await;
    assert_eq!(exec(&runner, other, &search("latchkey-inside")).await.stdout, "none");
    runner.delete(one).await.unwrap();
    runner.delete(other).await.unwrap();
}

#[tokio::test]
async fn output_is_bounded_and_becomes_text() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let output =
        exec(&runner, id, "head -c 20000000 /dev/zero | tr '\\0' x; head -c 8388608 /dev/zero | tr '\\0' y >&2").await;
    assert_eq!(output.exit_code, 0);
    assert!(output.stdout.starts_with(&"x".repeat(OUTPUT_LIMIT)));
    assert_eq!(&output.stdout[OUTPUT_LIMIT..], "\n[latchkey: cut off here, after 8 MiB]\n");
    assert_eq!(output.stderr, "y".repeat(OUTPUT_LIMIT), "exactly the limit is not cut");
    let output = exec(&runner, id, "printf 'a\\377b'; head -c 30000000 /dev/urandom >&2").await;
    assert_eq!(output.stdout, "a\u{FFFD}b\n[latchkey: bytes that are not UTF-8 were replaced by U+FFFD]\n");
    assert!(output.stderr.len() < OUTPUT_LIMIT + 200 && output.stderr.contains("cut off here"));
    // A command is over when it exits, whoever it leaves behind with its output open.
    let output = exec(&runner, id, "sleep 1000 & echo done").await;
    assert_eq!((output.exit_code, output.stdout.as_str()), (0, "done\n"));
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_command_that_runs_out_of_time_or_is_cancelled_takes_its_descendants_with_it() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let marker = |number: u32| format!("31536000.{number}{}", id.uuid().as_u128());
    // A shell, a child, a grandchild; all of them deaf to SIGTERM.
    let stubborn = |number| {
        let marker = marker(number);
        Command {
            operation_id: format!("operation {number}"),
            timeout: Duration::from_secs(if number == 1 { 1 } else { 60 }),
            ..command(&format!("trap '' TERM; sh -c 'sleep {marker} & sleep {marker}; true' & sleep {marker}; true"))
        }
    };
    assert_eq!(runner.exec(id, stubborn(1)).await, Err(OperationsError::TimedOut(Duration::from_secs(1))));
    assert_eq!(processes_with(&marker(1)), Vec::<String>::new());

    let all_run = async |number| {
        let sleeping = format!("sleep {}", marker(number));
        let is_sleep = |line: &String| !line.contains("sh ");
        eventually("all run", || processes_with(&sleeping).iter().filter(|line| is_sleep(line)).count() == 3).await;
    };
    let cancel = async {
        all_run(2).await;
        let taken = runner.exec(id, Command { timeout: Duration::from_secs(5), ..stubborn(2) }).await;
        assert!(matches!(&taken, Err(OperationsError::Invalid(text)) if text.contains("operation_id")), "{taken:?}");
        runner.cancel(id, "operation 2".into()).await.unwrap();
        runner.cancel(id, "operation 2".into()).await.unwrap();
        runner.cancel(id, "unknown".into()).await.unwrap();
    };
    let (result, ()) = tokio::join!(runner.exec(id, stubborn(2)), cancel);
    assert_eq!(result, Err(OperationsError::Cancelled));
    assert_eq!(processes_with(&marker(2)), Vec::<String>::new());

    // The caller goes away.
    tokio::select! {
        result = runner.exec(id, stubborn(3)) => panic!("{result:?}"),
        () = all_run(3) => {}
    }
    eventually("all end", || processes_with(&marker(3)).is_empty()).await;
    // Who hears SIGTERM can put things in order.
    let polite = Command {
        timeout: Duration::from_secs(1),
        ..command("trap 'echo bye > /tmp/bye; exit' TERM; while :; do sleep 0.01; done")
    };
    assert!(matches!(runner.exec(id, polite).await, Err(OperationsError::TimedOut(_))));
    assert_eq!(exec(&runner, id, "cat /tmp/bye").await.stdout, "bye\n");
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_says_so() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    for (bad, words) in [
        (command(" "), "command"),
        (command("true\0"), "command"),
        (command(&"x".repeat(200_000)), "command"),
        (Command { working_directory: "relative".into(), ..command("true") }, "working_directory"),
        (Command { working_directory: "/no/such".into(), ..command("true") }, "working_directory"),
    ] {
        let result = runner.exec(id, bad).await;
        let is_said = matches!(&result, Err(OperationsError::Invalid(text)) if text.contains(words));
        assert!(is_said, "{result:?}");
    }
    let elsewhere = Command { working_directory: "/usr/bin".into(), ..command("pwd") };
    assert_eq!(runner.exec(id, elsewhere).await.unwrap().stdout, "/usr/bin\n");
    assert_eq!(exec(&runner, id, "no-such-command").await.exit_code, 127);
    // Orphans are collected: none is left as a zombie.
    exec(&runner, id, "for i in 1 2 3 4 5; do (sleep 0 &) ; done; true").await;
    let collected = "for i in $(seq 1000); do ps -e -o stat= | grep -q Z || exit 0; sleep 0.01; done; exit 1";
    assert_eq!(exec(&runner, id, collected).await.exit_code, 0);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn the_limits_of_a_class_hold_or_their_absence_is_said() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let resources = Resources { cpu_millicores: 1000, memory_bytes: 256 << 20, processes: 40 };
    runner.create(id, &Content::Empty, &resources).await.unwrap();
    let started = runner.start(id, &resources).await.unwrap();
    // Processes are always counted.
    let bomb = "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done; ps -e | grep -c sleep";
    let said = exec(&runner, id, &format!("({bomb}) 2>/dev/null; true")).await.stdout;
    assert!(said.trim().parse::<u32>().unwrap_or(0) < 40, "{said}");
    let warning = started.warning.unwrap_or_default();
    if !warning.contains("memory") {
        runner.stop(id).await.unwrap();
        runner.start(id, &resources).await.unwrap();
        let hog = exec(&runner, id, "head -c 600000000 /dev/zero | tail -c 500000000 | wc -c").await;
        assert_ne!(hog.stdout.trim(), "500000000");
        // The hog went, and nobody else.
        assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    }
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn trees_that_resist_are_removed() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // Deeper than a path can be long (built from the inside out), closed, and with links out of it.
    let deep = "cd /workspace; n=$(printf 'n%.0s' $(seq 200)); mkdir inner; \
                for i in $(seq 40); do mkdir outer && mv inner outer/$n && mv outer inner || exit 1; done; \
                ln -s / root; ln -s ../../../.. up; mkdir closed; touch closed/x; chmod 0 closed";
    assert_eq!(exec(&runner, id, deep).await.exit_code, 0);
    runner.delete(id).await.unwrap();
    assert!(!machine.directory_of(id).exists());
}
