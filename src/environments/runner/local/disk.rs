//! What one environment fills of the disk, and what follows from it.

use std::time::Duration;

use super::{
    Shared,
    allowance::Allowance,
    lifecycle::Slot,
    state::{self, DiskUse},
};
use crate::environments::runner::{Failure, Resources};

/// Between two countings of what a clone has brought, at the least: one that unpacks to more than any disk holds is quick.
const CLONE_PAUSE: Duration = Duration::from_secs(1);
/// The counting of a clone takes so much less time than the clone.
const CLONE_PAUSE_OF_COUNTING: u32 = 20;

impl Slot {
    /// Removes what a clone that did not come to its end has left.
    pub(super) async fn empty(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.wipe(shared).await?;
        self.known().state.content = state::Content::Absent;
        self.known().state.disk = Some(DiskUse { bytes: 0, extent: state::Extent::Whole });
        self.save().await
    }

    /// Counts what is there; what was counted before stands if that fails.
    pub(super) async fn measure(&mut self, shared: &Shared) {
        match shared.launcher.measure(&self.directory).await {
            Ok(measured) => self.record(measured.disk),
            Err(failure) => {
                tracing::warn!(directory = %self.directory.path().display(), %failure, "what it fills is not known");
            }
        }
    }

    /// What is wrong with what a clone has brought, if it fills too much.
    pub(super) async fn fits(&mut self, shared: &Shared, resources: &Resources) -> Option<Failure> {
        self.measure(shared).await;
        Allowance::too_large(resources.disk_bytes, self.known().state.disk?)
    }

    /// Ready when a clone under way fills too much.
    pub(super) async fn outgrows(&self, shared: &Shared, resources: &Resources) -> Failure {
        let mut pause = CLONE_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match shared.launcher.measure(&self.directory).await {
                Ok(measured) => {
                    if let Some(failure) = Allowance::too_large(resources.disk_bytes, measured.disk) {
                        return failure;
                    }
                    pause = CLONE_PAUSE.max(measured.took.saturating_mul(CLONE_PAUSE_OF_COUNTING));
                }
                Err(failure) => {
                    tracing::warn!(directory = %self.directory.path().display(), %failure, "a clone is not counted");
                }
            }
        }
    }

    /// Keeps what was counted of one that runs; says why it must end, if it must.
    pub(super) fn judge(&mut self, disk: DiskUse) -> Option<Failure> {
        // Whoever stopped it meanwhile has counted as well, and later.
        if !self.runs() {
            return None;
        }
        self.record(disk);
        self.known().state.sandbox.as_ref()?.allowance?.excess(disk)
    }

    /// Ends one that must end, and remembers why.
    pub(super) async fn end(&mut self, shared: &Shared, failure: &Failure) -> Result<(), Failure> {
        if !self.runs() {
            return Ok(());
        }
        self.known().state.ended = Some(failure.to_string());
        // First what will be said of it: a server that ends in between leaves it to the next one. Where nothing can be
        // written, this one remembers.
        if let Err(failure) = self.save().await {
            tracing::warn!(directory = %self.directory.path().display(), %failure, "ended without having been marked");
        }
        self.rest(shared).await
    }

    /// Keeps what was counted.
    fn record(&mut self, disk: DiskUse) {
        self.known().state.disk = Some(disk);
    }
}
