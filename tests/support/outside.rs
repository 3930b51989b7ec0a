//! What the machine sees of a sandbox's processes, whatever they are inside.

use std::fs;

/// One process, as `/proc` outside of its sandbox tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
    /// Real, effective, saved, of the file system.
    pub(crate) users: Vec<u32>,
    /// As above, and then the supplementary ones.
    pub(crate) groups: Vec<u32>,
}

/// The process that bubblewrap reported, the bubblewrap that waits for it, and everything below the two.
pub(crate) fn of_sandbox(first: i32) -> Vec<Seen> {
    let all: Vec<Seen> = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| seen(&entry.path())).collect();
    let parent = all.iter().find(|one| one.pid == first).map(|one| one.parent);
    let root = all.iter().find(|one| Some(one.pid) == parent && one.name == "bwrap").map_or(first, |one| one.pid);
    let mut found: Vec<Seen> = all.iter().filter(|one| one.pid == root).cloned().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|one| one.pid) {
        found.extend(all.iter().filter(|one| one.parent == parent).cloned());
        next += 1;
    }
    found
}

/// None for a process that has ended meanwhile, and for what is no process.
fn seen(directory: &std::path::Path) -> Option<Seen> {
    let status = fs::read_to_string(directory.join("status")).ok()?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let numbers =
        |name: &str| line(name)?.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>();
    Some(Seen {
        pid: line("Pid")?.trim().parse().ok()?,
        parent: line("PPid")?.trim().parse().ok()?,
        name: line("Name")?.trim().to_owned(),
        users: numbers("Uid")?,
        groups: [numbers("Gid")?, numbers("Groups")?].concat(),
    })
}
