//! Looks now and then at what runs: how much of the disk it fills.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::Slots;
use crate::{domain::ids::EnvironmentId, environments::runner::Failure};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// Between two countings of an environment, at the least.
const LEAST_PAUSE: Duration = Duration::from_secs(10);
/// The same for each that runs: a counting takes some 15 ms of processor time at the least, so that all together take a
/// hundredth of a processor.
const PAUSE_EACH: Duration = Duration::from_millis(1500);
/// No environment's counting takes more than a hundredth of a processor.
const PAUSE_OF_COUNTING: u32 = 100;
/// When to try again if one never ends.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// Countings at once: one that takes long does not keep the others waiting.
const AT_ONCE: usize = 4;

/// When an environment is to be looked at again, and whether it ran when it last was.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    ran: bool,
}

/// Counts what every running environment fills, one after the other, as long as it is not dropped.
pub(super) async fn run(slots: Arc<Slots>) {
    let mut due: HashMap<EnvironmentId, Due> = HashMap::new();
    let mut counting = JoinSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            Some(counted) = counting.join_next(), if !counting.is_empty() => {
                let running = due.values().filter(|due| due.ran).count();
                if let Ok((environment, took)) = counted
                    && let Some(due) = due.get_mut(&environment)
                {
                    due.at = Instant::now() + pause(running, took);
                }
                continue;
            }
        }
        let known: Vec<EnvironmentId> =
            slots.known.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        due.retain(|environment, _| known.contains(environment));
        let now = Instant::now();
        for environment in known {
            let due = due.entry(environment).or_insert(Due { at: now + LEAST_PAUSE, ran: false });
            if due.at > now || counting.len() == AT_ONCE {
                continue;
            }
            due.ran = slots.runs(environment);
            due.at = now + if due.ran { LONGEST } else { LEAST_PAUSE };
            if due.ran {
                let slots = Arc::clone(&slots);
                counting.spawn(async move {
                    let took = slots.measure(environment).await.unwrap_or_else(|failure| {
                        tracing::warn!(%environment, %failure, "what an environment fills is not known");
                        Duration::ZERO
                    });
                    (environment, took)
                });
            }
        }
    }
}

/// How long an environment is left alone that took so long to be counted, while so many run.
fn pause(running: usize, took: Duration) -> Duration {
    let each = PAUSE_EACH.saturating_mul(u32::try_from(running).unwrap_or(u32::MAX));
    LEAST_PAUSE.max(each).max(took.saturating_mul(PAUSE_OF_COUNTING))
}

impl Slots {
    /// Whether an environment runs. One that somebody is busy with is looked at another time.
    fn runs(&self, environment: EnvironmentId) -> bool {
        self.entry(environment).slot.try_lock().is_ok_and(|slot| slot.runs())
    }

    /// Counts what a running environment fills, and ends it if that is too much; says how long counting took.
    async fn measure(&self, environment: EnvironmentId) -> Result<Duration, Failure> {
        let entry = self.entry(environment);
        let directory = self.shared.directory(environment);
        let mut took = Duration::ZERO;
        // What is moved about meanwhile may be counted twice: who is to be ended is counted once more.
        for is_sure in [false, true] {
            let Some(measured) = entry.meter.measure(&self.shared.launcher, &directory).await.transpose()? else {
                return Ok(took);
            };
            took = measured.took;
            let mut slot = entry.slot.lock().await;
            let Some(excess) = slot.judge(measured.disk) else { return Ok(took) };
            if is_sure {
                tracing::info!(%environment, %excess, "an environment fills too much and is ended");
                slot.end(&self.shared, &excess).await?;
            }
        }
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_takes_a_hundredth_of_a_processor_at_the_most() {
        let milliseconds = Duration::from_millis;
        for (running, took, paused) in [
            (1, milliseconds(15), LEAST_PAUSE),
            (6, milliseconds(15), LEAST_PAUSE),
            (100, milliseconds(15), milliseconds(150_000)),
            (1, milliseconds(2000), milliseconds(200_000)),
            (100, milliseconds(2000), milliseconds(200_000)),
        ] {
            assert_eq!(pause(running, took), paused, "{running} {took:?}");
        }
    }
}
