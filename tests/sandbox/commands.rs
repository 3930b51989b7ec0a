//! Commands in a sandbox: what they get to say, and how they end.

use std::time::Duration;

use latchkey::{
    domain::exec::{Command, OUTPUT_LIMIT, Operations, OperationsError},
    environments::runner::Runner,
};

use crate::support::machine::{Machine, command, eventually, exec, processes_with, run, running};

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
    assert_eq!(run(&runner, id, stubborn(1)).await, Err(OperationsError::TimedOut(Duration::from_secs(1))));
    assert_eq!(processes_with(&marker(1)), Vec::<String>::new());

    let all_run = async |number| {
        let sleeping = format!("sleep {}", marker(number));
        let is_sleep = |line: &String| !line.contains("sh ");
        eventually("all run", || processes_with(&sleeping).iter().filter(|line| is_sleep(line)).count() == 3).await;
    };
    let cancel = async {
        all_run(2).await;
        let taken = run(&runner, id, Command { timeout: Duration::from_secs(5), ..stubborn(2) }).await;
        assert!(matches!(&taken, Err(OperationsError::Invalid(text)) if text.contains("operation_id")), "{taken:?}");
        runner.cancel(id, "operation 2".into()).await.unwrap();
        runner.cancel(id, "operation 2".into()).await.unwrap();
        runner.cancel(id, "unknown".into()).await.unwrap();
    };
    let (result, ()) = tokio::join!(run(&runner, id, stubborn(2)), cancel);
    assert_eq!(result, Err(OperationsError::Cancelled));
    assert_eq!(processes_with(&marker(2)), Vec::<String>::new());

    // The caller goes away.
    tokio::select! {
        result = run(&runner, id, stubborn(3)) => panic!("{result:?}"),
        () = all_run(3) => {}
    }
    eventually("all end", || processes_with(&marker(3)).is_empty()).await;
    // Who hears SIGTERM can put things in order.
    let polite = Command {
        timeout: Duration::from_secs(1),
        ..command("trap 'echo bye > /tmp/bye; exit' TERM; while :; do sleep 0.01; done")
    };
    assert!(matches!(run(&runner, id, polite).await, Err(OperationsError::TimedOut(_))));
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
        let result = run(&runner, id, bad).await;
        let is_said = matches!(&result, Err(OperationsError::Invalid(text)) if text.contains(words));
        assert!(is_said, "{result:?}");
    }
    let elsewhere = Command { working_directory: "/usr/bin".into(), ..command("pwd") };
    assert_eq!(run(&runner, id, elsewhere).await.unwrap().stdout, "/usr/bin\n");
    assert_eq!(exec(&runner, id, "no-such-command").await.exit_code, 127);
    // Orphans are collected: none is left as a zombie.
    exec(&runner, id, "for i in 1 2 3 4 5; do (sleep 0 &) ; done; true").await;
    let collected = "for i in $(seq 1000); do ps -e -o stat= | grep -q Z || exit 0; sleep 0.01; done; exit 1";
    assert_eq!(exec(&runner, id, collected).await.exit_code, 0);
    runner.delete(id).await.unwrap();
}
