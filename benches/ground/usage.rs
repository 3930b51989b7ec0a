//! Who uses the processors, and how much memory: as the kernel counts it.

use std::{fs, ops::Sub};

use super::Postgres;

/// Processor time since some moment, in seconds. Two of them make the use between them.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Of the server.
    pub server: f64,
    /// Of PostgreSQL, all processes.
    pub postgres: f64,
    /// Of this process and what it started and waited for: the clients.
    pub client: f64,
    /// Of the whole machine.
    pub machine: f64,
}

impl Usage {
    /// What was used so far.
    pub fn now(server: i32, postgres: &Postgres) -> Self {
        let postmaster = postgres.postmaster();
        let children = children(postmaster).into_iter().map(own_time).sum::<f64>();
        Self {
            server: own_time(server),
            postgres: own_time(postmaster) + time(postmaster, 15..=16) + children,
            client: own_time(std::process::id().cast_signed()) + time(std::process::id().cast_signed(), 15..=16),
            machine: machine_time(),
        }
    }

    /// The part of the machine's used time that was not ours: above a few percent, somebody else's work is in the figures.
    pub fn foreign_share(&self) -> f64 {
        (1.0 - (self.server + self.postgres + self.client) / self.machine).max(0.0)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            server: self.server - before.server,
            postgres: self.postgres - before.postgres,
            client: self.client - before.client,
            machine: self.machine - before.machine,
        }
    }
}

/// Memory of a process, in MiB: all that is resident, and the part of it that is its own (no file's).
pub fn memory(pid: i32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_end_matches(" kB").trim_matches([':', '\t', ' ']).parse::<f64>().unwrap() / 1024.0
    };
    (field("VmRSS"), field("RssAnon"))
}

/// Processor time that a process has taken, and the processes that it has waited for, in seconds.
pub fn time_of(pid: i32) -> f64 {
    time(pid, 13..=16)
}

/// User and system time of a process that may have ended.
fn own_time(pid: i32) -> f64 {
    time(pid, 13..=14)
}

/// Fields of `/proc/PID/stat` by their number, counted from 0 (proc(5) counts from 1).
fn time(pid: i32, fields: std::ops::RangeInclusive<usize>) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    // The name before may hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return 0.0 };
    let rest: Vec<&str> = rest.split(' ').collect();
    fields.filter_map(|field| rest.get(field - 2)?.parse::<f64>().ok()).sum::<f64>() / ticks_per_second()
}

fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// All but idle time and the wait for disks.
fn machine_time() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> =
        stat.lines().next().unwrap().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system; then idle and iowait; then irq, softirq.
    (fields[..3].iter().sum::<f64>() + fields[5..7].iter().sum::<f64>()) / ticks_per_second()
}

fn ticks_per_second() -> f64 {
    // What Linux has told user space since 2.6, on every architecture that Rust runs on: USER_HZ.
    100.0
}
