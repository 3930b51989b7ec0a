//! Under which conditions figures came about.

use std::{fs, process::Command};

/// Prints what the figures depend on.
pub fn print() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    // Those that this process may use: before it confines itself to some.
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok());
    let memory = memory.map_or(f64::NAN, |kilobytes: f64| kilobytes / f64::from(1 << 20));
    let kernel = output("uname", &["-r"]);
    let commit = output("git", &["describe", "--always", "--dirty", "--abbrev=7"]);
    println!("conditions: {cores} cores of {cpu}, {memory:.0} GiB, Linux {kernel}, load average {load} before");
    let optimized = if cfg!(debug_assertions) { "WITHOUT optimization: its figures say nothing" } else { "optimized" };
    let (version, rustc) = (env!("CARGO_PKG_VERSION"), output("rustc", &["--version"]));
    println!("latchkey {version}, commit {commit}, {optimized}; {rustc}");
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
