//! Waiting until an environment is where it was told to go.

use std::time::Duration;

use humantime::format_duration;
use latchkey::pb::gitpod::v1::{Environment, EnvironmentPhase};
use tokio::time::Instant;
use tonic::Code;

use super::{get_one, view::position};
use crate::{
    connection::Connection,
    error::Failure,
    interrupt::Interrupts,
    printer::{Printer, Progress},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a server may be away, as for a restart, before waiting for it is given up.
const LONGEST_ABSENCE: Duration = Duration::from_secs(30);

/// Where an environment was told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// To run.
    Running {
        /// The status version of before it was told to; none for one that was just created. What the status of that
        /// version says is of an earlier attempt.
        after: Option<u64>,
    },
    /// To stop.
    Stopped,
    /// To be gone.
    Deleted,
}

impl Goal {
    const fn words(self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "gone",
        }
    }
}

/// What a look at an environment shows.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// It is there.
    Reached,
    /// It is on its way.
    Pending,
    /// It will not get there: why.
    Failed(String),
    /// It is not there any more.
    Gone,
}

/// Judges what a look shows; `None` is an environment that does not exist.
fn judge(goal: Goal, environment: Option<&Environment>) -> Finding {
    let Some(environment) = environment else {
        return if goal == Goal::Deleted { Finding::Reached } else { Finding::Gone };
    };
    let status = environment.status.clone().unwrap_or_default();
    match (goal, status.phase()) {
        (Goal::Deleted, EnvironmentPhase::Deleted)
        | (Goal::Running { .. }, EnvironmentPhase::Running | EnvironmentPhase::Updating)
        | (Goal::Stopped, EnvironmentPhase::Stopped) => Finding::Reached,
        (Goal::Running { .. } | Goal::Stopped, EnvironmentPhase::Deleting | EnvironmentPhase::Deleted) => Finding::Gone,
        (Goal::Running { after }, EnvironmentPhase::Stopped)
            if after.is_none_or(|seen| status.status_version > seen) =>
        {
            let desired = environment.spec.clone().unwrap_or_default().desired_phase();
            if !status.failure_message.is_empty() {
                Finding::Failed(status.failure_message.join("\n"))
            } else if desired == EnvironmentPhase::Stopped {
                Finding::Failed("somebody stopped it before it ran".to_owned())
            } else {
                Finding::Pending
            }
        }
        (
            Goal::Running { .. },
            EnvironmentPhase::Unspecified
            | EnvironmentPhase::Creating
            | EnvironmentPhase::Starting
            | EnvironmentPhase::Stopping
            | EnvironmentPhase::Stopped,
        )
        | (
            Goal::Stopped,
            EnvironmentPhase::Unspecified
            | EnvironmentPhase::Creating
            | EnvironmentPhase::Starting
            | EnvironmentPhase::Running
            | EnvironmentPhase::Updating
            | EnvironmentPhase::Stopping,
        )
        | (
            Goal::Deleted,
            EnvironmentPhase::Unspecified
            | EnvironmentPhase::Creating
            | EnvironmentPhase::Starting
            | EnvironmentPhase::Running
            | EnvironmentPhase::Updating
            | EnvironmentPhase::Stopping
            | EnvironmentPhase::Stopped
            | EnvironmentPhase::Deleting,
        ) => Finding::Pending,
    }
}

/// One environment that is waited for.
pub(super) struct Waiting<'a> {
    pub(super) connection: &'a Connection,
    pub(super) printer: &'a Printer,
    /// Its ID.
    pub(super) id: &'a str,
    /// How long it is waited for at the most.
    pub(super) timeout: Duration,
}

impl Waiting<'_> {
    /// Looks again and again until the environment is there.
    ///
    /// # Errors
    /// [`Failure::Failed`] when it will not get there, or not in time; [`Failure::NotFound`] when it was deleted meanwhile;
    /// [`Failure::Interrupted`] by Ctrl-C, which leaves the environment as it is.
    pub(super) async fn until(&self, goal: Goal) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let progress = self.printer.progress(self.id);
        tokio::select! {
            outcome = self.look_until(goal, &progress) => outcome,
            () = tokio::time::sleep(self.timeout) => Err(Failure::Failed(format!(
                "environment {} is not {} after {}; it goes on without being waited for: look with `gitpod environment \
                 get {}`",
                self.id, goal.words(), format_duration(self.timeout), self.id,
            ))),
            by = interrupts.next() => Err(Failure::Interrupted {
                by,
                text: format!(
                    "no longer waiting until environment {} is {}; it goes on: look with `gitpod environment get {}`",
                    self.id, goal.words(), self.id,
                ),
            }),
        }
    }

    async fn look_until(&self, goal: Goal, progress: &Progress) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        let mut answered = Instant::now();
        loop {
            match self.is_there(goal, progress).await {
                Ok(true) => return Ok(()),
                Ok(false) => answered = Instant::now(),
                Err(failure) if failure.is_transient() && answered.elapsed() < LONGEST_ABSENCE => {
                    progress.step("the server does not answer; trying again");
                }
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Looks once.
    async fn is_there(&self, goal: Goal, progress: &Progress) -> Result<bool, Failure> {
        let environment = match get_one(self.connection, self.id).await {
            Ok(environment) => Some(environment),
            Err(failure) if failure.rpc_code() == Some(Code::NotFound) => None,
            Err(failure) => return Err(failure),
        };
        match judge(goal, environment.as_ref()) {
            Finding::Reached => Ok(true),
            Finding::Pending => {
                progress.step(&environment.as_ref().map(position).unwrap_or_default());
                Ok(false)
            }
            Finding::Failed(why) => Err(Failure::Failed(format!("environment {} failed: {why}", self.id))),
            Finding::Gone => Err(Failure::NotFound(format!("environment {} was deleted meanwhile", self.id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use latchkey::pb::gitpod::v1::{EnvironmentSpec, EnvironmentStatus};

    use super::*;

    fn environment(phase: EnvironmentPhase, desired: EnvironmentPhase, version: u64, failure: &[&str]) -> Environment {
        Environment {
            spec: Some(EnvironmentSpec { desired_phase: desired.into(), ..Default::default() }),
            status: Some(EnvironmentStatus {
                phase: phase.into(),
                status_version: version,
                failure_message: failure.iter().map(|&text| text.to_owned()).collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    const CREATED: Goal = Goal::Running { after: None };
    const STARTED: Goal = Goal::Running { after: Some(7) };

    #[test]
    fn a_failure_is_the_failure_of_this_attempt_alone() {
        use EnvironmentPhase::{Running, Stopped};
        let failed = |version| environment(Stopped, Running, version, &["no such repository"]);
        assert_eq!(judge(CREATED, Some(&failed(1))), Finding::Failed("no such repository".into()));
        assert_eq!(judge(STARTED, Some(&failed(7))), Finding::Pending);
        assert_eq!(judge(STARTED, Some(&failed(8))), Finding::Failed("no such repository".into()));
    }

    #[test]
    fn a_stopped_one_that_is_to_run_is_on_its_way() {
        use EnvironmentPhase::{Running, Stopped};
        assert_eq!(judge(STARTED, Some(&environment(Stopped, Running, 8, &[]))), Finding::Pending);
        assert!(matches!(judge(STARTED, Some(&environment(Stopped, Stopped, 8, &[]))), Finding::Failed(_)));
    }

    #[test]
    fn what_is_gone_is_the_goal_or_its_end() {
        assert_eq!(judge(Goal::Deleted, None), Finding::Reached);
        assert_eq!(judge(Goal::Stopped, None), Finding::Gone);
        let deleting = environment(EnvironmentPhase::Deleting, EnvironmentPhase::Deleted, 1, &[]);
        assert_eq!(judge(CREATED, Some(&deleting)), Finding::Gone);
        assert_eq!(judge(Goal::Deleted, Some(&deleting)), Finding::Pending);
    }
}
