//! What an environment fills of the disk: counted in a sandbox, told through a pipe that nothing else holds, and believed no
//! further than its form.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
    sync::{Mutex as AsyncMutex, MutexGuard},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    launcher::{Launcher, failed, over, read_log, storage},
    state::{Directory, DiskUse, Extent},
};
use crate::environments::{
    runner::Failure,
    supervisor::task::{MeasureReport, MeasureState},
};

/// How long counting may take: some ten million files, on a machine that has nothing else to do.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long a sandbox that has told everything may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two words to whoever measures that it is to end.
const HALT_INTERVAL: Duration = Duration::from_millis(100);
/// The most bytes that are read of what it tells: some thousand lines.
const TOLD_BYTES: u64 = 1 << 20;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) disk: DiskUse,
    /// How long it took.
    pub(super) took: Duration,
}

impl Launcher {
    /// Counts what an environment's directories hold. Dropping the future ends it soon; [`Launcher::clear`] waits for that.
    pub(super) async fn measure(&self, directory: &Directory) -> Result<Measured, Failure> {
        let directory = directory.for_measuring();
        self.clear(&directory).await?;
        let began = Instant::now();
        let output = self.start_measuring(&directory).await?;
        let mut last = None;
        let told = tokio::time::timeout(TIMEOUT, read(output, &mut last)).await;
        let is_over = tokio::time::timeout(END_TIMEOUT, over(&directory)).await;
        if !matches!(is_over, Ok(Ok(_))) {
            self.clear(&directory).await?;
        }
        let took = began.elapsed();
        let unclear = || failed("what is on the disk could not be counted").with_excerpt(&read_log(&directory));
        let report = last.ok_or_else(unclear)?;
        let extent = match (report.state, told) {
            (MeasureState::Done, _) => Extent::Whole,
            (MeasureState::TooDeep, _) => Extent::TooDeep,
            (MeasureState::Counting, Err(_)) => Extent::TooMany,
            (MeasureState::Counting, Ok(Err(error))) => return Err(storage(error)),
            (MeasureState::Counting, Ok(Ok(()))) => return Err(unclear()),
        };
        Ok(Measured { disk: DiskUse { bytes: report.bytes, extent }, took })
    }
}

/// Reads reports until there are no more; keeps the last one.
async fn read(output: pipe::Receiver, last: &mut Option<MeasureReport>) -> std::io::Result<()> {
    let mut lines = BufReader::new(output.take(TOLD_BYTES)).lines();
    while let Some(line) = lines.next_line().await? {
        // A line that is no report is no news.
        if let Ok(report) = serde_json::from_str(&line) {
            *last = Some(report);
        }
    }
    Ok(())
}

/// Lets one environment be measured by one at a time, and by nobody while it is stopped or removed.
#[derive(Debug, Default)]
pub(super) struct Meter {
    measuring: AsyncMutex<()>,
    end: Mutex<CancellationToken>,
}

impl Meter {
    /// Ends whoever measures, waits for that, and keeps others away as long as the answer is held.
    pub(super) async fn halt(&self) -> MutexGuard<'_, ()> {
        loop {
            std::mem::take(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
            // Somebody may have begun between the two.
            if let Ok(halted) = tokio::time::timeout(HALT_INTERVAL, self.measuring.lock()).await {
                return halted;
            }
        }
    }

    /// Measures, unless somebody does already; nothing if it was halted.
    pub(super) async fn measure(
        &self,
        launcher: &Launcher,
        directory: &Directory,
    ) -> Option<Result<Measured, Failure>> {
        let _measuring = self.measuring.try_lock().ok()?;
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let measured = end.run_until_cancelled(launcher.measure(directory)).await;
        if measured.is_none() {
            // Whoever halted it must find nothing left.
            if let Err(failure) = launcher.clear(&directory.for_measuring()).await {
                tracing::warn!(directory = %directory.path().display(), %failure, "measuring cannot be ended");
            }
        }
        measured
    }
}
