//! The room on the disk that environments leave to everybody else: above all to PostgreSQL, without which no token is
//! verified and none revoked.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::ENVIRONMENTS;
use crate::{
    domain::size::described,
    environments::runner::{Failure, FailureKind},
};

/// The most that is kept free when the operator does not say.
const MOST_BYTES: u64 = 1 << 30;
/// The part of the disk that is kept free when the operator does not say, and of the files that there can be.
const PART: u64 = 20;
/// The most files that room is kept for.
const MOST_FILES: u64 = 16 * 1024;
/// How often a clone looks whether it may go on.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How much is kept free of the disk that environments are on.
#[derive(Debug)]
pub(super) struct Reserve {
    directory: PathBuf,
    bytes: u64,
    files: u64,
}

/// What is free of a disk, for who is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// How what is free compares with what is to be kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// There is less than a quarter.
    Critical,
    /// There is less.
    Short,
    /// There is less than twice as much.
    Near,
    /// There is more.
    Fine,
}

impl Reserve {
    /// For the disk that a directory is on; as much as asked for (none for nothing), or else what seems right for it.
    pub(super) fn new(directory: &Path, asked: Option<u64>) -> io::Result<Self> {
        let disk = statvfs(directory)?;
        let bytes = asked.unwrap_or_else(|| (disk.f_blocks.saturating_mul(disk.f_frsize) / PART).min(MOST_BYTES));
        let files = if bytes == 0 { 0 } else { (disk.f_files / PART).min(MOST_FILES) };
        Ok(Self { directory: directory.to_owned(), bytes, files })
    }

    /// What is free now.
    pub(super) fn space(&self) -> io::Result<Space> {
        let disk = statvfs(&self.directory)?;
        // Some file systems make room for files as they go, and have no number.
        let files = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
        Ok(Space { bytes: disk.f_bavail.saturating_mul(disk.f_frsize), files })
    }

    /// How that compares.
    pub(super) fn level(&self, space: Space) -> Level {
        let is_below =
            |part: u64, of: u64| space.bytes < self.bytes / of * part || space.files < self.files / of * part;
        if is_below(1, 4) {
            Level::Critical
        } else if is_below(1, 1) {
            Level::Short
        } else if is_below(2, 1) {
            Level::Near
        } else {
            Level::Fine
        }
    }

    /// Whether so much less is free than it was that somebody must be at it: a sixty-fourth of what is to be kept free.
    pub(super) fn fell(&self, from: Space, to: Space) -> bool {
        from.bytes.saturating_sub(to.bytes) > (self.bytes / 64).max(1 << 20)
            || from.files.saturating_sub(to.files) > (self.files / 64).max(16)
    }

    /// Why nothing may begin that fills the disk.
    pub(super) fn shortage(&self) -> Option<Failure> {
        // What cannot be known is found out by who writes.
        let space = self.space().ok().filter(|space| self.level(*space) < Level::Near)?;
        Some(self.failure(space, "delete environments that nobody needs, or ask your operator; then start it again"))
    }

    /// Ready when a clone must end.
    pub(super) async fn crossed(&self) -> Failure {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if let Some(failure) = self.shortage() {
                return failure;
            }
        }
    }

    /// Why one that runs was stopped.
    pub(super) fn stopped(&self, space: Space) -> Failure {
        let advice = "it was writing and was stopped; delete environments that nobody needs, or ask your operator; then start \
                      it again";
        self.failure(space, advice)
    }

    /// Why everything that ran was stopped.
    pub(super) fn all_stopped(&self, space: Space) -> Failure {
        let advice = "everything that ran was stopped; delete environments that nobody needs, or ask your operator; then start \
                      it again";
        self.failure(space, advice)
    }

    fn failure(&self, space: Space, advice: &str) -> Failure {
        let what = if space.bytes < self.bytes {
            format!("{} are free, and {} are kept for the server itself", described(space.bytes), described(self.bytes))
        } else {
            format!("it has room for {} more files, and {} are kept for the server itself", space.files, self.files)
        };
        Failure::new(FailureKind::NoSpace, format!("the disk of the server is nearly full ({what}); {advice}"))
    }

    /// A file that takes room for nothing, to be given up when there is none: whoever fills a disk in an instant has filled
    /// it before they are ended, and what they wrote stays.
    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    /// Makes the ballast if it is not there, or is less than it should be, and there is room for it.
    pub(super) fn take_on_ballast(&self) {
        let bytes = self.bytes / 4;
        // A server that was to keep less free, or that was killed before it had filled it, may have made this one.
        if fs::metadata(self.ballast()).map_or(0, |found| found.len()) >= bytes {
            return;
        }
        let made = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.ballast())
            .and_then(|file| fill(&file, bytes));
        if let Err(error) = made {
            tracing::warn!(%error, "no ballast can be made: a disk that is filled in an instant stays full");
            // What could not be removed either is tried again.
            let _ = fs::remove_file(self.ballast());
        }
    }

    /// Removes the ballast of a server that was to keep something free, if this one is not.
    pub(super) fn put_right(&self) {
        if self.bytes == 0 {
            // Mostly there is none.
            let _ = fs::remove_file(self.ballast());
        }
    }

    /// Gives the ballast up.
    pub(super) fn drop_ballast(&self) {
        match fs::remove_file(self.ballast()) {
            Ok(()) => tracing::warn!("the ballast was given up: the disk is full"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the ballast cannot be given up"),
        }
    }
}

/// Gives the ballast up that an earlier server made in a data directory, if its disk was filled since: without any room neither
/// PostgreSQL comes up nor this server.
pub fn make_way(data_dir: &Path, asked: Option<u64>) {
    // Where no server was before there is no ballast.
    let Ok(reserve) = Reserve::new(&data_dir.join(ENVIRONMENTS), asked) else { return };
    if reserve.space().is_ok_and(|space| reserve.level(space) == Level::Critical) {
        reserve.drop_ballast();
    }
}

fn fill(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // There the disk has other ways to be full as well: no room, and no reason to try again.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(bytes: u64, files: u64) -> Reserve {
        Reserve { directory: "/".into(), bytes, files }
    }

    #[test]
    fn what_is_free_is_fine_near_short_or_critical() {
        let reserve = reserve(1000, 100);
        for (bytes, files, level) in [
            (2000, 200, Level::Fine),
            (1999, 200, Level::Near),
            (2000, 199, Level::Near),
            (1000, 100, Level::Near),
            (999, 200, Level::Short),
            (2000, 99, Level::Short),
            (250, 25, Level::Short),
            (249, 200, Level::Critical),
            (2000, 24, Level::Critical),
        ] {
            assert_eq!(reserve.level(Space { bytes, files }), level, "{bytes} {files}");
        }
    }

    #[test]
    fn nothing_is_kept_free_if_that_is_asked_for() {
        let reserve = Reserve::new(Path::new("/"), Some(0)).unwrap();
        assert_eq!(reserve.level(Space { bytes: 0, files: 0 }), Level::Fine);
        assert_eq!(reserve.shortage(), None);
    }

    #[test]
    fn ballast_that_was_not_filled_or_is_less_than_it_should_be_is_filled() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let of = |bytes| Reserve { directory: directory.path().to_owned(), bytes, files: 0 };
        // As a server leaves it that is killed at this moment.
        File::create(of(0).ballast()).unwrap();
        for bytes in [4 << 20, 16 << 20] {
            of(bytes).take_on_ballast();
            let made = fs::metadata(of(bytes).ballast()).unwrap();
            assert_eq!(made.len(), bytes / 4);
            assert!(made.blocks() * 512 >= bytes / 4, "it takes no room");
        }
        of(0).take_on_ballast();
        of(16 << 20).drop_ballast();
        assert!(!of(0).ballast().exists());
        of(0).take_on_ballast();
        assert!(!of(0).ballast().exists(), "nothing is kept free");
    }

    #[test]
    fn what_is_kept_free_by_default_is_a_part_of_the_disk_and_a_gibibyte_at_the_most() {
        let disk = statvfs("/").unwrap();
        let reserve = Reserve::new(Path::new("/"), None).unwrap();
        assert_eq!(reserve.bytes, (disk.f_blocks * disk.f_frsize / 20).min(1 << 30));
        assert!(reserve.bytes > 0 && reserve.files <= MOST_FILES);
    }

    #[test]
    fn a_failure_says_what_is_missing() {
        let reserve = reserve(1 << 30, 1000);
        let failure = reserve.stopped(Space { bytes: 512 << 20, files: 5000 });
        assert!(failure.message().contains("512 MiB are free, and 1 GiB are kept"), "{failure}");
        let failure = reserve.all_stopped(Space { bytes: 5 << 30, files: 7 });
        assert!(failure.message().contains("room for 7 more files, and 1000 are kept"), "{failure}");
    }
}
