//! What the kernel counts for the account that all sandboxes run as: one of them does not use it up for the others.

use latchkey::{
    domain::ids::EnvironmentId,
    environments::runner::{Runner, local::LocalRunner},
};
use nix::libc;

use crate::support::left_out::left_out;
use crate::support::machine::{Machine, exec, running};

/// Takes one more of something as long as it gets it, and keeps it all; by system calls, in perl.
struct Kind {
    name: &'static str,
    /// An expression that is below zero when there is no more.
    take: String,
    /// The most that one sandbox gets.
    most: u64,
    /// What the machine has at the least, so that something can be left.
    of: u64,
}

fn kinds() -> [Kind; 3] {
    let instances = sysctl("fs/inotify/max_user_instances");
    // A signal event of a timer that never rings; where the kernel puts the timer's number.
    let timer = format!("syscall({}, 1, $event, $number)", libc::SYS_timer_create);
    let queue = format!("syscall({}, \"q\" . $count, 0x42, 0600, 0)", libc::SYS_mq_open);
    [
        Kind {
            name: "inotify instances",
            take: format!("syscall({}, 0)", libc::SYS_inotify_init1),
            most: (instances / 8).max(32),
            of: instances,
        },
        Kind { name: "signals and timers", take: timer, most: 4096, of: 20_000 },
        Kind { name: "POSIX message queues", take: queue, most: 2, of: 5 },
    ]
}

fn sysctl(name: &str) -> u64 {
    std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap().trim().parse().unwrap()
}

fn taking(kind: &Kind, most: u64, then: &str) -> String {
    format!(
        "perl -e '($event, $number, $count) = (pack(\"Qiix48\", 0, 34, 0), \"\\0\" x 8, 0);
         $count++ while $count < {most} && {take} >= 0; {then}'",
        take = kind.take
    )
}

/// Takes all that a sandbox gets, and keeps it as long as the sandbox lives; says how much that was.
async fn hog(runner: &LocalRunner, environment: EnvironmentId, kind: &Kind) -> u64 {
    let (new, file) = (format!("/tmp/{} new", kind.name), format!("/tmp/{}", kind.name));
    let tell = format!("open($f, q(>), q({new})); print $f $count; close($f); rename(q({new}), q({file}))");
    let hogging = taking(kind, u64::MAX, &format!("{tell}; sleep 1000"));
    exec(runner, environment, &format!("({hogging}) >/dev/null 2>&1 &")).await;
    let wait = format!("for i in $(seq 3000); do [ -e '{file}' ] && exec cat '{file}'; sleep 0.01; done");
    exec(runner, environment, &wait).await.stdout.parse().unwrap()
}

#[tokio::test]
async fn what_the_kernel_counts_for_all_sandboxes_is_not_used_up_by_one() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let (first, neighbour) = (running(&runner).await, running(&runner).await);
    for kind in kinds() {
        let taken = hog(&runner, first, &kind).await;
        assert!(taken > 0 && taken <= kind.most, "{}: {taken}", kind.name);
        // As much is left for somebody else, if the machine has it.
        let wanted = taken.min(kind.of - taken);
        let left = exec(&runner, neighbour, &taking(&kind, wanted, "print $count")).await;
        assert_eq!(left.stdout, wanted.to_string(), "{}: {left:?}", kind.name);
    }
    runner.delete(first).await.unwrap();
    runner.delete(neighbour).await.unwrap();
}

#[tokio::test]
async fn what_each_sandbox_may_have_is_not_for_all_of_them_together() {
    if !may_raise_limits() {
        left_out("only who may raise limits can make them for each");
        return;
    }
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let [.., queues] = kinds();
    // An account has room for nine queues of the usual size, unless somebody has said otherwise.
    for _ in 0..6 {
        let environment = running(&runner).await;
        assert_eq!(hog(&runner, environment, &queues).await, queues.most);
    }
}

/// Whether this process has `CAP_SYS_RESOURCE`.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(rights, 16).unwrap() >> 24 & 1 == 1
}
