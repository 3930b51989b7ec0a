//! What processes have written to disks, by the kernel's account of them: files that have no name any more, or that were
//! removed since, count as well. Of another account's processes that is told to root alone.

use std::{collections::HashMap, fs};

use super::process::behind_name;

/// What each of these processes has written, together with all that are below it.
pub(super) fn written_below(roots: &[i32]) -> Vec<u64> {
    let places: HashMap<i32, usize> = roots.iter().enumerate().map(|(place, pid)| (*pid, place)).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: HashMap<i32, i32> = processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(pid)?))
        })
        .collect();
    let mut written = vec![0; roots.len()];
    for pid in parents.keys() {
        if let Some(sum) = root_of(*pid, &parents, &places).and_then(|place| written.get_mut(place)) {
            *sum += written_by(*pid).unwrap_or_default();
        }
    }
    written
}

/// The place of the root that is the nearest of a process's ancestors, or is it.
fn root_of(mut pid: i32, parents: &HashMap<i32, i32>, roots: &HashMap<i32, usize>) -> Option<usize> {
    // Numbers that were given away meanwhile might lead in a circle.
    for _ in 0..parents.len() {
        if let Some(place) = roots.get(&pid) {
            return Some(*place);
        }
        pid = *parents.get(&pid)?;
    }
    None
}

/// Field 4 of `/proc/PID/stat`.
fn parent_of(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    behind_name(&text)?.nth(1)?.parse().ok()
}

/// What a process has written to disks, and its children that are no more.
fn written_by(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_nearest_roots() {
        let parents: HashMap<i32, i32> = [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (30, 31), (31, 30)].into();
        let roots: HashMap<i32, usize> = [(10, 0), (20, 1)].into();
        for (pid, place) in [(10, Some(0)), (12, Some(0)), (20, Some(1)), (1, None), (30, None), (99, None)] {
            assert_eq!(root_of(pid, &parents, &roots), place, "{pid}");
        }
    }

    #[test]
    fn the_kernel_tells_what_was_written() {
        let own = std::process::id().cast_signed();
        assert!(parent_of(own).is_some_and(|parent| parent > 0));
        assert!(written_by(own).is_some());
        assert_eq!(written_below(&[]), Vec::<u64>::new());
    }
}
