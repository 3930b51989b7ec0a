//! Counts what a tree of directories fills of the disk, whatever is in it: in bounded memory, and however it changes
//! meanwhile.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
    process::{Resource, getrlimit, nice, setrlimit},
};

use super::task::{MeasureReport, MeasureState};

/// The most directories within each other. What anybody can name by a path has fewer; each takes a descriptor.
const DEPTH: usize = 2048;
/// The most files that are remembered. More of them than this with a second name are counted by each.
const REMEMBERED: usize = 1 << 20;
/// A file of so many bytes is remembered though it has but one name: moved meanwhile, it is met twice.
const LARGE: u64 = 1 << 20;
/// How often it is told how far it has come.
const TELLING: Duration = Duration::from_millis(250);
/// Counting may wait, commands may not.
const NICENESS: i32 = 10;
/// What `st_blocks` counts in.
const BLOCK: u64 = 512;

/// Counts what is in these directories, telling standard output now and then. The server reads there: when it does not any
/// more, this ends.
pub(super) fn run(directories: &[String]) -> io::Result<()> {
    nice(NICENESS)?;
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    setrlimit(Resource::Nofile, descriptors)?;
    let mut output = io::stdout();
    let mut count = Count::new();
    let mut told = Instant::now();
    let mut tell = |report: MeasureReport| -> io::Result<()> {
        if report.state == MeasureState::Counting && told.elapsed() < TELLING {
            return Ok(());
        }
        told = Instant::now();
        let mut line = serde_json::to_vec(&report)?;
        line.push(b'\n');
        output.write_all(&line)
    };
    for directory in directories {
        if !count.walk(directory.as_ref(), &mut tell)? {
            return tell(count.report(MeasureState::TooDeep));
        }
    }
    tell(count.report(MeasureState::Done))
}

struct Count {
    bytes: u64,
    files: u64,
    known: HashSet<(u64, u64)>,
}

impl Count {
    fn new() -> Self {
        Self { bytes: 0, files: 0, known: HashSet::new() }
    }

    const fn report(&self, state: MeasureState) -> MeasureReport {
        MeasureReport { bytes: self.bytes, files: self.files, state }
    }

    /// Adds a directory and all that is in it, following no link. False if it is too deep to be counted.
    fn walk(&mut self, top: &Path, tell: &mut impl FnMut(MeasureReport) -> io::Result<()>) -> io::Result<bool> {
        let top = openat(CWD, top, DIRECTORY, Mode::empty())?;
        self.add(&fstat(&top)?);
        let mut open = vec![Dir::new(top)?];
        while let Some(directory) = open.last_mut() {
            let Some(entry) = directory.read().transpose().or_else(removed)? else {
                open.pop();
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let directory = directory.fd()?;
            let Some(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(Some).or_else(removed)? else {
                continue;
            };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Some(inner) = openat(directory, name, DIRECTORY, Mode::empty()).map(Some).or_else(removed)?
            {
                if open.len() == DEPTH {
                    return Ok(false);
                }
                open.push(Dir::new(inner)?);
            }
            tell(self.report(MeasureState::Counting))?;
        }
        Ok(true)
    }

    /// Adds a file, once: whatever names it has.
    fn add(&mut self, stat: &Stat) {
        let bytes = stat.st_blocks.unsigned_abs() * BLOCK;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let may_come_again = (stat.st_nlink > 1 && !is_directory) || bytes >= LARGE;
        if may_come_again {
            let id = (stat.st_dev, stat.st_ino);
            if self.known.contains(&id) {
                return;
            }
            if self.known.len() < REMEMBERED {
                self.known.insert(id);
            }
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Opens a directory to read it, and nothing else that has come in its place.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What went away, or became something else, since it was named counts for nothing.
fn removed<T>(error: Errno) -> Result<Option<T>, Errno> {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn counted(directory: &Path) -> (bool, Count) {
        let mut count = Count::new();
        let whole = count.walk(directory, &mut |_| Ok(())).unwrap();
        (whole, count)
    }

    /// What the system's own program says.
    fn du(directory: &Path) -> u64 {
        let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(directory).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn each_file_counts_once_and_by_what_it_fills() {
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(top.path().join("outside"), vec![1; 1 << 20]).unwrap();
        fs::write(tree.join("a/file"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(tree.join("a/file"), tree.join("a/b/again")).unwrap();
        fs::write(tree.join("a/small"), vec![1; 10_000]).unwrap();
        fs::hard_link(tree.join("a/small"), tree.join("again")).unwrap();
        let holes = fs::File::create(tree.join("holes")).unwrap();
        holes.set_len(1 << 40).unwrap();
        symlink(top.path(), tree.join("up")).unwrap();
        symlink("/", tree.join("a/root")).unwrap();
        rustix::fs::mkfifoat(CWD, tree.join("fifo"), Mode::RUSR).unwrap();
        let (whole, count) = counted(&tree);
        assert!(whole);
        assert_eq!(count.bytes, du(&tree));
        assert_eq!(count.files, 9, "three directories, two files with two names, the holes, two links, the FIFO");
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_be_long_is_counted_and_one_without_an_end_is_not() {
        let top = tempfile::tempdir().unwrap();
        // Built from the inside out, as its innermost path could not be written down.
        let wrap = |times: usize| {
            for _ in 0..times {
                let (inner, outer) = (top.path().join("inner"), top.path().join("outer"));
                fs::create_dir(&outer).unwrap();
                if inner.exists() {
                    fs::rename(&inner, outer.join("n".repeat(20))).unwrap();
                } else {
                    fs::write(outer.join("file"), vec![1; 1 << 20]).unwrap();
                }
                fs::rename(&outer, &inner).unwrap();
            }
        };
        wrap(1000);
        let (whole, count) = counted(top.path());
        assert!(whole && count.bytes > 1 << 20, "{}", count.bytes);
        wrap(DEPTH);
        assert!(!counted(top.path()).0);
        // What removes directories elsewhere is not made for this.
        super::super::wipe::empty(top.path()).unwrap();
    }

    #[test]
    fn what_is_in_the_place_of_a_directory_is_not_opened() {
        let top = tempfile::tempdir().unwrap();
        symlink("/usr", top.path().join("link")).unwrap();
        rustix::fs::mkfifoat(CWD, top.path().join("fifo"), Mode::RUSR).unwrap();
        for name in ["link", "fifo", "none"] {
            let opened = openat(CWD, top.path().join(name), DIRECTORY, Mode::empty());
            assert!(matches!(opened.map(Some).or_else(removed), Ok(None)), "{name}");
        }
    }
}
