//! How much of the disk a sandbox may fill, and what becomes of one that fills more.
//!
//! An environment that fills more than its class allows is ended. It can be started again, to remove files: then no file can
//! be written as long as that sandbox lives, so that it gets smaller or stays as it is. Files are somebody's work, and this
//! is the only way to them.

use serde::{Deserialize, Serialize};

use super::state::{DiskUse, Extent};
use crate::{
    domain::size::described,
    environments::runner::{Failure, FailureKind},
};

/// How much more than at its beginning a sandbox may fill in which files are to be removed: names of new directories, what
/// was written and not yet on the disk.
const SLACK: u64 = 1 << 20;

/// What a sandbox may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowance {
    /// What the class allows.
    class: u64,
    /// What more it has, if it is there to remove files.
    above: Option<DiskUse>,
}

impl Allowance {
    /// For a sandbox of an environment that fills this now.
    pub(super) fn new(class: u64, disk: Option<DiskUse>) -> Self {
        Self { class, above: disk.filter(|disk| disk.is_above(class)) }
    }

    /// The most bytes of a file.
    pub(super) fn file_bytes(&self) -> u64 {
        if self.above.is_some() { 0 } else { self.class }
    }

    /// What is said of a sandbox that is there to remove files.
    pub(super) fn warning(&self) -> Option<String> {
        let above = self.above?;
        Some(format!(
            "{}: files can be removed, and none can be written; remove some, then stop the environment and start it again",
            above.described(self.class)
        ))
    }

    /// Why a sandbox must end that fills this.
    pub(super) fn excess(&self, disk: DiskUse) -> Option<Failure> {
        let is_above = match self.above {
            None => disk.is_above(self.class),
            Some(above) => match above.extent {
                Extent::Whole => disk.is_above(above.bytes.saturating_add(SLACK)),
                // Nobody knows how much it was.
                Extent::TooDeep | Extent::TooMany => false,
            },
        };
        is_above.then(|| {
            let message = format!(
                "{}, so it was stopped; start it to remove files (nothing can be written meanwhile), or delete it",
                disk.described(self.class)
            );
            Failure::new(FailureKind::TooLarge, message)
        })
    }

    /// Why a clone that fills this is of no use.
    pub(super) fn too_large(class: u64, disk: DiskUse) -> Option<Failure> {
        disk.is_above(class).then(|| {
            let message = format!(
                "the repository is too large: {}; create the environment with a larger class",
                disk.described(class)
            );
            Failure::new(FailureKind::TooLarge, message)
        })
    }
}

impl DiskUse {
    /// Whether it is more than so many bytes, or cannot be known to be less.
    fn is_above(&self, bytes: u64) -> bool {
        self.bytes > bytes || self.extent != Extent::Whole
    }

    fn described(&self, class: u64) -> String {
        match self.extent {
            _ if self.bytes > class => format!(
                "the environment fills {} of the disk, and its class allows {}",
                described(self.bytes),
                described(class)
            ),
            Extent::Whole => format!(
                "the environment fills {} of the {} that its class allows of the disk",
                described(self.bytes),
                described(class)
            ),
            Extent::TooDeep => {
                "the environment has directories within directories too deep for what they fill to be counted"
                    .to_owned()
            }
            Extent::TooMany => "the environment has more files than can be counted within five minutes".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn whole(bytes: u64) -> DiskUse {
        DiskUse { bytes, extent: Extent::Whole }
    }

    #[test]
    fn what_a_class_allows_may_be_filled_and_no_byte_more() {
        for disk in [None, Some(whole(0)), Some(whole(1 << 30))] {
            let allowance = Allowance::new(1 << 30, disk);
            assert_eq!((allowance.file_bytes(), allowance.warning()), (1 << 30, None));
            assert_eq!(allowance.excess(whole(1 << 30)), None);
            let failure = allowance.excess(whole((1 << 30) + 1)).unwrap().to_string();
            assert!(failure.contains("fills 1.0 GiB of the disk, and its class allows 1 GiB"), "{failure}");
        }
        assert_eq!(Allowance::too_large(10, whole(10)), None);
        assert!(Allowance::too_large(10, whole(11)).unwrap().message().contains("a larger class"));
    }

    #[test]
    fn what_fills_more_can_get_smaller_and_not_larger() {
        let allowance = Allowance::new(1 << 30, Some(whole(2 << 30)));
        assert_eq!(allowance.file_bytes(), 0);
        assert!(allowance.warning().unwrap().contains("fills 2 GiB"));
        assert_eq!(allowance.excess(whole(2 << 30)), None);
        assert_eq!(allowance.excess(whole((2 << 30) + SLACK)), None);
        assert!(allowance.excess(whole((2 << 30) + SLACK + 1)).is_some());
    }

    #[test]
    fn what_cannot_be_counted_is_too_much() {
        for extent in [Extent::TooDeep, Extent::TooMany] {
            let disk = DiskUse { bytes: 1, extent };
            assert!(Allowance::too_large(1 << 30, disk).is_some());
            assert!(Allowance::new(1 << 30, None).excess(disk).unwrap().message().contains("counted"));
            let allowance = Allowance::new(1 << 30, Some(disk));
            assert_eq!((allowance.file_bytes(), allowance.excess(disk)), (0, None));
        }
    }
}
