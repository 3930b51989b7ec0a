//! Ends what runs before it fills the disk: tokens go before environments.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Entry, Slots,
    process::Identity,
    reserve::{Level, Reserve, Space},
};
use crate::{domain::ids::EnvironmentId, environments::runner::Failure};

/// How often it looks at who writes, as long as there is enough.
const NEAR_INTERVAL: Duration = Duration::from_secs(1);
/// How long what was killed may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever has written less since is not who fills the disk.
const LEAST: u64 = 256 * 1024;
/// How often it looks: whoever writes a gigabyte a second writes a quarter of one in this time.
const TICK: Duration = Duration::from_millis(250);

/// Looks after the reserve as long as it is not dropped.
pub(super) async fn run(slots: Arc<Slots>) {
    let reserve = &slots.shared.reserve;
    reserve.put_right();
    // What was short before is nobody's doing who runs now.
    let floor = reserve.space().ok().filter(|space| reserve.level(*space) < Level::Near);
    let mut guard = Guard { floor, is_acting: false, written: HashMap::new(), known_at: Instant::now() };
    loop {
        match reserve.space() {
            Ok(space) => guard.look(&slots, reserve, space).await,
            Err(error) => tracing::warn!(%error, "what is free of the disk is not known"),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// What it knows from the looks before.
struct Guard {
    /// What was free when somebody was last ended, or could have been; none as long as there is enough.
    floor: Option<Space>,
    /// Whether it became so little while it looked.
    is_acting: bool,
    /// What each environment had written when that was last looked at.
    written: HashMap<EnvironmentId, u64>,
    known_at: Instant,
}

impl Guard {
    async fn look(&mut self, slots: &Arc<Slots>, reserve: &Reserve, space: Space) {
        let level = reserve.level(space);
        match level {
            Level::Fine => {
                reserve.take_on_ballast();
                self.written.clear();
            }
            Level::Near if self.known_at.elapsed() > NEAR_INTERVAL => self.know(slots.written().await),
            Level::Near | Level::Short | Level::Critical => {}
        }
        if level >= Level::Near {
            self.floor = None;
            self.is_acting = false;
            return;
        }
        let has_fallen = self.floor.is_none_or(|floor| reserve.fell(floor, space));
        self.is_acting |= has_fallen;
        if level == Level::Critical && self.is_acting {
            // There is no time to find out who it is.
            slots.end(slots.running().into_iter().map(|(id, _)| id), &reserve.all_stopped(space)).await;
            // Not before: it would be filled as well.
            reserve.drop_ballast();
        } else if has_fallen {
            if self.written.is_empty() {
                // Of before nothing is known: who writes now?
                self.know(slots.written().await);
                tokio::time::sleep(TICK).await;
            }
            let written = slots.written().await;
            if let Some(environment) = most(&self.written, &written) {
                slots.end([environment], &reserve.stopped(space)).await;
            } else {
                tracing::warn!(
                    free = space.bytes,
                    "the disk is nearly full, and no environment is seen to write to it"
                );
            }
            self.know(written);
        }
        if has_fallen {
            self.floor = Some(reserve.space().unwrap_or(space));
        }
    }

    fn know(&mut self, written: HashMap<EnvironmentId, u64>) {
        self.written = written;
        self.known_at = Instant::now();
    }
}

/// Who has written most since.
fn most(before: &HashMap<EnvironmentId, u64>, now: &HashMap<EnvironmentId, u64>) -> Option<EnvironmentId> {
    let since =
        |(id, bytes): (&EnvironmentId, &u64)| (bytes.saturating_sub(before.get(id).copied().unwrap_or_default()), *id);
    now.iter().map(since).filter(|(bytes, _)| *bytes >= LEAST).max().map(|(_, id)| id)
}

impl Slots {
    /// What each running environment has written to disks since it was started.
    async fn written(&self) -> HashMap<EnvironmentId, u64> {
        let (environments, identities): (Vec<_>, Vec<_>) = self.running().into_iter().unzip();
        match self.shared.launcher.written(identities).await {
            Ok(written) => environments.into_iter().zip(written).collect(),
            Err(error) => {
                tracing::warn!(%error, "who writes to the disk is not known");
                HashMap::new()
            }
        }
    }

    /// What runs, by its first process. One that somebody is busy with is not among them.
    fn running(&self) -> Vec<(EnvironmentId, Identity)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let identity =
            |(id, entry): (&EnvironmentId, &Entry)| Some((*id, entry.slot.try_lock().ok()?.identity()?.clone()));
        known.iter().filter_map(identity).collect()
    }

    /// Ends environments, all at once: what one leaves the others might fill. Whatever else there is to do when one has ended
    /// is done by who finds it so: it may take a while.
    async fn end(&self, environments: impl IntoIterator<Item = EnvironmentId>, failure: &Failure) {
        let killing = environments.into_iter().map(|environment| async move {
            // Nobody waits for who is busy with it: the next look is soon.
            let process = self.entry(environment).slot.try_lock().ok()?.kill(&self.shared, failure).await?;
            tracing::warn!(%environment, %failure, "an environment is ended");
            Some(process)
        });
        let killed = futures::future::join_all(killing).await;
        for process in killed.into_iter().flatten() {
            if !matches!(tokio::time::timeout(END_TIMEOUT, process.gone()).await, Ok(Ok(()))) {
                tracing::warn!("what was killed does not end");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_written_most_since_is_found() {
        let [a, b, c] = [(); 3].map(|()| EnvironmentId::generate());
        let map = |pairs: &[(EnvironmentId, u64)]| pairs.iter().copied().collect::<HashMap<_, _>>();
        let before = map(&[(a, 10 << 20), (b, 1 << 20)]);
        assert_eq!(most(&before, &map(&[(a, 11 << 20), (b, 3 << 20), (c, LEAST)])), Some(b));
        assert_eq!(most(&before, &map(&[(a, 11 << 20), (b, 1 << 20), (c, 2 << 20)])), Some(c));
        assert_eq!(most(&before, &map(&[(a, (10 << 20) + LEAST - 1), (b, 1 << 20), (c, 0)])), None);
        assert_eq!(most(&HashMap::new(), &before), Some(a), "what was started since counts whole");
    }
}
