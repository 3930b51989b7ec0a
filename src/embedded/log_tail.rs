//! The last lines of what PostgreSQL's programs wrote, for errors.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::EmbeddedError;
use super::files::{read_bounded, remove_file};
use super::layout::Layout;

/// How many lines an error carries.
const LINES: usize = 12;

/// How much of a file is read for them, in bytes.
const BYTES: usize = 8 * 1024;

/// How old a log file of a weekday may become: PostgreSQL overwrites it only if it runs when its day comes again.
const OLDEST_LOG: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// The last lines of one file, without control characters.
pub(super) fn of_file(path: &Path) -> String {
    let content = read_bounded(path, BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    last.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// The last lines that `postgres` wrote since it was last started: the log proper, once it has gone over to it.
pub(super) fn of_postgres(layout: &Layout) -> String {
    let start = of_file(&layout.start_log());
    if !start.contains("logging collector") {
        return start;
    }
    let newest = log_files(layout).into_iter().max_by_key(|(_, metadata)| metadata.modified().ok());
    newest.map_or(start, |(path, _)| of_file(&path))
}

/// Whether PostgreSQL said that there is no room on the disk.
pub(super) fn says_disk_full(log: &str) -> bool {
    log.contains("No space left on device") || log.contains("Disk quota exceeded")
}

/// Removes log files from a past week, which PostgreSQL would go on writing to when it is started on their weekday.
/// The log of this start, just made, tells the time.
pub(super) fn remove_old(layout: &Layout) -> Result<(), EmbeddedError> {
    let Ok(now) = layout.start_log().metadata().and_then(|metadata| metadata.modified()) else { return Ok(()) };
    for (path, metadata) in log_files(layout) {
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > OLDEST_LOG) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

fn log_files(layout: &Layout) -> Vec<(PathBuf, fs::Metadata)> {
    let entries = fs::read_dir(layout.log()).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).collect()
}
