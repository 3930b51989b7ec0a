//! Watching what becomes of environments, on whichever server it is brought about.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{QueuedRecorder, ServiceError, Standing};
use crate::auth::Recorder;
use crate::domain::{
    audit::{Action, Observation, Outcome},
    event::{Event, EventFilter, Operation},
    ids::PrincipalId,
    principal::Actor,
};
use crate::store::{Store, StoreError};

/// Events that wait for whoever takes them slowly.
const BACKLOG: usize = 4096;
/// How long to wait for PostgreSQL to come back before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long who wants to watch waits for PostgreSQL to tell events again.
const PATIENCE: Duration = Duration::from_secs(5);
/// What one principal may watch at once on one server.
const WATCHES: usize = 100;

/// Where events come from.
#[derive(Debug, Clone)]
enum Feed {
    /// From here.
    Live(broadcast::Sender<Event>),
    /// From nowhere now, and soon again.
    Away,
    /// From nowhere any more.
    Ending,
}

/// The use cases of events.
#[derive(Clone)]
pub struct Events {
    store: Store,
    standing: Standing,
    recorder: QueuedRecorder,
    feed: Arc<watch::Sender<Feed>>,
    places: Arc<Mutex<HashMap<PrincipalId, Weak<Semaphore>>>>,
}

impl Events {
    /// On a store; somebody has to [`run`](Self::run) it.
    #[must_use]
    pub fn new(store: Store, standing: Standing, recorder: QueuedRecorder) -> Self {
        Self { store, standing, recorder, feed: Arc::new(watch::Sender::new(Feed::Away)), places: Arc::default() }
    }

    /// Listens to PostgreSQL until it is told to stop. Whoever watches is told of that, and so of every time that something
    /// may have been missed.
    pub async fn run(self, stop: CancellationToken) {
        let listening = async {
            loop {
                let Err(lost) = self.listen().await;
                tracing::warn!(error = %lost, "events are not told right now");
                self.feed.send_replace(Feed::Away);
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::pin!(listening);
        tokio::select! {
            () = stop.cancelled() => {}
            () = &mut listening => {}
        }
        // Before the last sender is gone: whoever watches asks why there is nothing more.
        self.feed.send_replace(Feed::Ending);
    }

    async fn listen(&self) -> Result<std::convert::Infallible, StoreError> {
        let mut notifications = self.store.listen_for_events().await?;
        let (sender, _) = broadcast::channel(BACKLOG);
        self.feed.send_replace(Feed::Live(sender.clone()));
        loop {
            let event = notifications.next().await?;
            // Nobody may be watching.
            let _ = sender.send(event);
        }
    }

    /// Watches from now on: whatever is read after this has returned, is followed by all that happens to it. Those that the
    /// filter names come first, as they are found now: whoever read them before loses nothing.
    ///
    /// # Errors
    /// [`ServiceError`]: exhausted with too many at once.
    pub async fn watch(&self, actor: &Actor, filter: EventFilter, rpc: &'static str) -> Result<Watching, ServiceError> {
        let place = self.place(actor.principal_id)?;
        // From here on: whoever takes what comes first slowly is still held to it.
        let doubtful = Box::pin(self.standing.doubtful(actor));
        let receiver = self.receiver().await?;
        let named = filter.named();
        let mut first = VecDeque::new();
        if !named.is_empty() {
            let found = self.store.environment_creators(actor.organization_id, &named).await?;
            let creators: HashMap<_, _> = found.into_iter().collect();
            for environment_id in named {
                let told = |creator_id, operation| Event {
                    organization_id: actor.organization_id,
                    creator_id,
                    operation,
                    environment_id,
                };
                let found = creators.get(&environment_id).map(|creator| told(*creator, Operation::UpdateStatus));
                // Others' and those that are not there are one.
                let is_there = found.filter(|event| event.is_visible_to(actor));
                first.push_back(is_there.unwrap_or_else(|| told(actor.principal_id, Operation::Delete)));
            }
        }
        let (actor, feed, recorder) = (actor.clone(), self.feed.subscribe(), self.recorder.clone());
        Ok(Watching { actor, rpc, filter, first, receiver, feed, doubtful, recorder, _place: place })
    }

    fn place(&self, principal: PrincipalId) -> Result<OwnedSemaphorePermit, ServiceError> {
        let mut known = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| places.strong_count() > 0);
        let places = known.get(&principal).and_then(Weak::upgrade).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(WATCHES));
            known.insert(principal, Arc::downgrade(&places));
            places
        });
        places.try_acquire_owned().map_err(|_| {
            ServiceError::Exhausted(format!(
                "you watch {WATCHES} times at once, which is the most; end one to begin another"
            ))
        })
    }

    async fn receiver(&self) -> Result<broadcast::Receiver<Event>, ServiceError> {
        let mut feed = self.feed.subscribe();
        let settled = tokio::time::timeout(PATIENCE, feed.wait_for(|feed| !matches!(feed, Feed::Away))).await;
        match settled {
            Ok(Ok(feed)) => match &*feed {
                Feed::Live(sender) => Ok(sender.subscribe()),
                Feed::Away => Err(away()),
                Feed::Ending => Err(ending()),
            },
            Ok(Err(_)) | Err(_) => Err(away()),
        }
    }
}

/// Somebody who watches.
pub struct Watching {
    actor: Actor,
    rpc: &'static str,
    filter: EventFilter,
    /// What comes before all that happens.
    first: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    feed: watch::Receiver<Feed>,
    doubtful: futures::future::BoxFuture<'static, ServiceError>,
    recorder: QueuedRecorder,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// Waits for the next event. What is told by the time that it is asked for comes before the end.
    ///
    /// # Errors
    /// [`ServiceError`]: the end. Ended when the actor's credential is good no more, unavailable when something may have been
    /// missed: watch again, then read anew.
    pub async fn next(&mut self) -> Result<Event, ServiceError> {
        loop {
            let (first, receiver) = (&mut self.first, &mut self.receiver);
            let told = async {
                match first.pop_front() {
                    Some(event) => Ok(event),
                    None => receiver.recv().await,
                }
            };
            let event = tokio::select! {
                biased;
                why = &mut self.doubtful => {
                    self.take_down(&why);
                    return Err(why);
                }
                event = told => match event {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(missed)) => return Err(behind(missed)),
                    Err(broadcast::error::RecvError::Closed) => return Err(match *self.feed.borrow() {
                        Feed::Ending => ending(),
                        Feed::Live(_) | Feed::Away => away(),
                    }),
                },
            };
            if event.is_visible_to(&self.actor) && self.filter.matches(&event) {
                return Ok(event);
            }
        }
    }
}

impl Watching {
    /// Takes down that somebody who was let in was sent away, which whoever let them in does not see.
    fn take_down(&self, why: &ServiceError) {
        let (action, reason) = if matches!(why, ServiceError::Ended(_)) {
            (Action::CredentialRefuse, "ended meanwhile")
        } else if matches!(why, ServiceError::Denied(_)) {
            (Action::PermissionDeny, "not allowed to this caller")
        } else {
            // An outage is nothing to log.
            return;
        };
        let Actor { organization_id, principal_id, kind, credential, origin, .. } = &self.actor;
        self.recorder.observe(Observation {
            organization_id: Some(*organization_id),
            principal: Some((*principal_id, *kind)),
            token_id: credential.token_id(),
            session_id: credential.session_id(),
            action,
            rpc: self.rpc,
            outcome: Outcome::Denied,
            reason,
            peer: origin.peer,
            user_agent: origin.user_agent.clone(),
            request_id: origin.request_id,
        });
    }
}

fn away() -> ServiceError {
    ServiceError::unavailable("events cannot be told right now; watch again", "not listening to PostgreSQL")
}

fn ending() -> ServiceError {
    ServiceError::unavailable("this server is ending; watch again", "the server is ending")
}

fn behind(missed: u64) -> ServiceError {
    let message = format!("{missed} events were not taken in time; watch again, and read anew");
    ServiceError::unavailable(&message, "who watches is slow")
}
