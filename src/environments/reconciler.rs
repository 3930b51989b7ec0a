//! The loop that moves each environment of a runner from its phase to its desired phase.
//!
//! It takes no input: woken by PostgreSQL's notifications, by a timer and by its own steps that end, it looks at what is
//! stored and at what is there, and takes the next step. Every step can be taken again, so a crash anywhere is mended by
//! looking again. A step carries the epoch it was decided on; when somebody changes their mind, it is broken off.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::runner::{Failure, Resources, Runner};
use crate::{
    domain::{
        environment::{Content, DesiredPhase, Environment, FAILURE_MESSAGE_LIMIT, Phase},
        ids::{ClassId, EnvironmentId, OrganizationId, PrincipalId, RunnerId},
    },
    store::{PhaseWrite, Store, StoreError},
};

/// Announces changes of environments; the payload is the ID of their runner.
const CHANNEL: &str = "latchkey_environments";
/// How often it looks without being woken.
const EVERY: Duration = Duration::from_secs(5);
/// How long it waits for PostgreSQL to come back, and before it tries again for the first time.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it waits for what nobody waits for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Workspaces that are filled at once.
const CLONES: usize = 8;
/// Those of one creator.
const CLONES_OF_CREATOR: usize = 4;

/// Looks after the environments of one runner.
#[derive(Clone)]
pub struct Reconciler {
    runner_id: RunnerId,
    organization: OrganizationId,
    store: Store,
    runner: Arc<dyn Runner>,
    clones: Arc<Clones>,
}

/// Places for workspaces that are being filled: some in all, fewer for each creator, so that nobody's slow servers hold up
/// everybody.
struct Clones {
    all: Arc<Semaphore>,
    of_creators: Mutex<HashMap<PrincipalId, Weak<Semaphore>>>,
}

/// A creator's place, and one of all.
type Place = (Arc<Semaphore>, Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

impl Clones {
    async fn place(&self, creator: PrincipalId) -> Place {
        let of_creator = {
            let mut known = self.of_creators.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, places| places.strong_count() > 0);
            known.get(&creator).and_then(Weak::upgrade).unwrap_or_else(|| {
                let places = Arc::new(Semaphore::new(CLONES_OF_CREATOR));
                known.insert(creator, Arc::downgrade(&places));
                places
            })
        };
        // Semaphores that nobody closes always give a place in the end.
        let own = Arc::clone(&of_creator).acquire_owned().await.ok();
        let one_of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        (of_creator, own, one_of_all)
    }
}

/// A step under way.
struct Busy {
    epoch: i64,
    abort: AbortHandle,
}

/// Whether something may be left to do for the environment at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Look,
    Wait,
}

impl Reconciler {
    /// For a runner of an organization.
    #[must_use]
    pub fn new(runner_id: RunnerId, organization: OrganizationId, store: Store, runner: Arc<dyn Runner>) -> Self {
        Self {
            runner_id,
            organization,
            store,
            runner,
            clones: Arc::new(Clones { all: Arc::new(Semaphore::new(CLONES)), of_creators: Mutex::default() }),
        }
    }

    /// Works until it is told to stop. Steps under way are broken off; environments go on running.
    pub async fn run(self, stop: CancellationToken) {
        let wake = Arc::new(Notify::new());
        let listener = tokio::spawn(self.clone().listen(Arc::clone(&wake)));
        stop.run_until_cancelled(async { tokio::join!(self.work(&wake), self.sweep()) }).await;
        listener.abort();
    }

    /// Wakes the loop at each notification, and after each time that some may have been missed.
    async fn listen(self, wake: Arc<Notify>) {
        let own = self.runner_id.to_string();
        loop {
            let lost = match self.store.listen(CHANNEL).await {
                Ok(mut notifications) => {
                    wake.notify_one();
                    loop {
                        match notifications.next().await {
                            Ok(notification) if notification.payload == own => wake.notify_one(),
                            Ok(_) => {}
                            Err(error) => break error,
                        }
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(error = %lost, "not listening; looking now and then meanwhile");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn work(&self, wake: &Notify) {
        let mut steps = JoinSet::new();
        let mut busy = HashMap::new();
        loop {
            let pause = match self.pass(&mut steps, &mut busy).await {
                Ok(()) => EVERY,
                Err(error) => {
                    tracing::warn!(%error, "environments cannot be looked after right now");
                    PAUSE
                }
            };
            metrics::gauge!("latchkey_reconcile_steps").set(f64::from(u32::try_from(steps.len()).unwrap_or(u32::MAX)));
            let timer = tokio::time::sleep(pause);
            tokio::pin!(timer);
            loop {
                tokio::select! {
                    () = wake.notified() => break,
                    () = &mut timer => break,
                    // A look that found all well is no reason for another.
                    Some(ended) = steps.join_next_with_id(), if !steps.is_empty() => {
                        if finish(ended, &mut busy) == Next::Look {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Takes the next step of every environment that needs one and has none under way.
    async fn pass(
        &self,
        steps: &mut JoinSet<(EnvironmentId, Next)>,
        busy: &mut HashMap<EnvironmentId, Busy>,
    ) -> Result<(), StoreError> {
        let environments = self.store.environments_to_reconcile(self.runner_id).await?;
        if environments.is_empty() {
            return Ok(());
        }
        let classes: HashMap<ClassId, Resources> = self
            .store
            .class_list(self.organization)
            .await?
            .iter()
            .map(|class| (class.id, Resources::from(class)))
            .collect();
        for environment in environments {
            if let Some(step) = busy.get(&environment.id) {
                if step.epoch != environment.epoch {
                    step.abort.abort();
                }
                continue;
            }
            let Some(resources) = classes.get(&environment.class_id).copied() else { continue };
            let (id, epoch) = (environment.id, environment.epoch);
            let reconciler = self.clone();
            let wanted = environment.desired_phase.as_str();
            let abort = steps.spawn(async move {
                let began = Instant::now();
                let next = reconciler.step(environment, resources).await;
                metrics::histogram!("latchkey_reconcile_seconds", "wanted" => wanted)
                    .record(began.elapsed().as_secs_f64());
                if let Err(error) = &next {
                    tracing::warn!(environment = %id, %error, "a step could not be written down");
                    tokio::time::sleep(PAUSE).await;
                }
                (id, next.unwrap_or(Next::Look))
            });
            busy.insert(id, Busy { epoch, abort });
        }
        Ok(())
    }

    /// Removes what is left of environments that nobody knows any more: of a database that was put back, or of a server that was
    /// killed between the two. Tries again until nothing is left, less and less often.
    async fn sweep(&self) {
        let mut pause = PAUSE;
        while let Err(error) = self.remove_strays().await {
            tracing::warn!(%error, "what is left of environments that are no more cannot be removed yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn remove_strays(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        // In this order: one that is created meanwhile is known.
        let left = self.runner.environments().await?;
        let known = self.store.environment_ids_of_runner(self.runner_id).await?;
        let mut outcome = Ok(());
        for environment in left.into_iter().filter(|id| !known.contains(id)) {
            tracing::info!(%environment, "removing what is left of an environment that is no more");
            outcome = self.runner.delete(environment).await.and(outcome);
        }
        Ok(outcome?)
    }

    async fn step(&self, environment: Environment, resources: Resources) -> Result<Next, StoreError> {
        match environment.desired_phase {
            DesiredPhase::Deleted => self.delete(&environment).await?,
            DesiredPhase::Stopped => self.stop(&environment).await?,
            DesiredPhase::Running if environment.phase == Phase::Running => return self.look(&environment).await,
            DesiredPhase::Running => self.bring_up(&environment, resources).await?,
        }
        Ok(Next::Look)
    }

    async fn delete(&self, environment: &Environment) -> Result<(), StoreError> {
        if !self.enter(environment, Phase::Deleting).await? {
            return Ok(());
        }
        match self.runner.delete(environment.id).await {
            Ok(()) => self.store.environment_remove(environment.id).await,
            Err(failure) => {
                // It stays as it is, and is tried again.
                tracing::warn!(environment = %environment.id, %failure, "an environment cannot be deleted");
                tokio::time::sleep(EVERY).await;
                Ok(())
            }
        }
    }

    async fn stop(&self, environment: &Environment) -> Result<(), StoreError> {
        if environment.content_ready && !self.enter(environment, Phase::Stopping).await? {
            return Ok(());
        }
        match self.runner.stop(environment.id).await {
            Ok(()) => {
                let disk_bytes = self.counted(environment).await;
                let write = PhaseWrite { disk_bytes, ..PhaseWrite::phase(environment.epoch, Phase::Stopped) };
                self.store.environment_phase_write(environment.id, &write).await?;
            }
            Err(failure) => {
                tracing::warn!(environment = %environment.id, %failure, "an environment cannot be stopped");
                tokio::time::sleep(EVERY).await;
            }
        }
        Ok(())
    }

    /// One that should run and did: does it still?
    async fn look(&self, environment: &Environment) -> Result<Next, StoreError> {
        match self.runner.observe(environment.id).await {
            Ok(seen) if seen.is_running => {
                if let Some(bytes) = seen.disk_bytes.map(clamped)
                    && bytes != environment.disk_bytes
                {
                    self.store.environment_disk_write(environment.id, bytes).await?;
                }
                Ok(Next::Wait)
            }
            Ok(seen) => {
                let unexpected = || "the environment's processes ended unexpectedly; start it again".to_owned();
                self.give_up(environment, seen.ended.unwrap_or_else(unexpected)).await?;
                Ok(Next::Look)
            }
            Err(failure) => {
                tracing::warn!(environment = %environment.id, %failure, "an environment cannot be looked at");
                Ok(Next::Wait)
            }
        }
    }

    async fn bring_up(&self, environment: &Environment, resources: Resources) -> Result<(), StoreError> {
        if !environment.content_ready {
            if !self.enter(environment, Phase::Creating).await? {
                return Ok(());
            }
            let created = {
                let _places = match &environment.content {
                    // Nothing comes from anywhere.
                    Content::Empty => None,
                    Content::Git { .. } => Some(self.clones.place(environment.creator_id).await),
                };
                self.runner.create(environment.id, &environment.content, &resources).await
            };
            match created {
                Ok(checkout) => {
                    let content = Some((checkout.branch, checkout.commit));
                    let disk_bytes = self.counted(environment).await;
                    let phase = PhaseWrite::phase(environment.epoch, Phase::Starting);
                    let write = PhaseWrite { content, disk_bytes, ..phase };
                    if !self.store.environment_phase_write(environment.id, &write).await? {
                        return Ok(());
                    }
                }
                Err(failure) => return self.fail(environment, &failure).await,
            }
        } else if !self.enter(environment, Phase::Starting).await? {
            return Ok(());
        }
        match self.runner.start(environment.id, &resources).await {
            Ok(started) => {
                let warning = Some(started.warning.unwrap_or_default());
                let write = PhaseWrite { warning, ..PhaseWrite::phase(environment.epoch, Phase::Running) };
                self.store.environment_phase_write(environment.id, &write).await?;
                Ok(())
            }
            Err(failure) => self.fail(environment, &failure).await,
        }
    }

    async fn fail(&self, environment: &Environment, failure: &Failure) -> Result<(), StoreError> {
        metrics::counter!("latchkey_reconcile_failures_total", "kind" => format!("{:?}", failure.kind())).increment(1);
        tracing::info!(environment = %environment.id, kind = ?failure.kind(), "an environment could not be brought up");
        self.give_up(environment, failure.to_string()).await
    }

    async fn give_up(&self, environment: &Environment, message: String) -> Result<(), StoreError> {
        // Half of an environment must not go on running, nor anything be left of one that ended.
        if let Err(failure) = self.runner.stop(environment.id).await {
            tracing::warn!(environment = %environment.id, %failure, "a failed environment cannot be stopped");
        }
        let failure = Some(message.chars().take(FAILURE_MESSAGE_LIMIT).collect());
        let disk_bytes = self.counted(environment).await;
        let write = PhaseWrite { failure, disk_bytes, ..PhaseWrite::phase(environment.epoch, Phase::Stopped) };
        self.store.environment_phase_write(environment.id, &write).await?;
        Ok(())
    }

    /// What was last counted of an environment's files.
    async fn counted(&self, environment: &Environment) -> Option<i64> {
        // What cannot be looked at stays as it was counted before.
        self.runner.observe(environment.id).await.ok()?.disk_bytes.map(clamped)
    }

    /// Writes that a phase was entered, unless it is so already. False if somebody changed their mind.
    async fn enter(&self, environment: &Environment, phase: Phase) -> Result<bool, StoreError> {
        if environment.phase == phase {
            return Ok(true);
        }
        self.store.environment_phase_write(environment.id, &PhaseWrite::phase(environment.epoch, phase)).await
    }
}

/// As PostgreSQL holds it: what is more than that is on no disk.
fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn finish(ended: Result<(Id, (EnvironmentId, Next)), JoinError>, busy: &mut HashMap<EnvironmentId, Busy>) -> Next {
    match ended {
        Ok((_, (id, next))) => {
            busy.remove(&id);
            next
        }
        Err(error) => {
            if error.is_panic() {
                tracing::error!(%error, "a step of an environment broke off");
            }
            busy.retain(|_, step| step.abort.id() != error.id());
            Next::Look
        }
    }
}
