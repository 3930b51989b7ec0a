//! Whether the credentials of what takes long are still good: looked up again now and then, all of them together, however
//! many wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ServiceError;
use crate::domain::{
    clock::boot_time,
    credential::{Ended, StoredCredential},
    principal::{Actor, Role},
    token::CredentialKind,
};
use crate::store::{Store, StoreError};

/// How often they are looked up, or twice in the bound if that is more often.
const EVERY: Duration = Duration::from_secs(2);
/// The shortest bound that is kept here, and so the one for a bound of 0: a call can be looked up when it comes, and what is under
/// way only now and then.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest that somebody may wait without a look at the clock.
const ASLEEP: Duration = Duration::from_secs(1);

/// What is known of one credential.
#[derive(Debug, Clone)]
struct Known {
    /// When it was last known to be good, [since the machine was started](boot_time).
    at: Duration,
    /// Why it is good no more.
    ended: Option<String>,
    /// What its principal may do; none before it was looked up.
    role: Option<Role>,
}

type Key = (CredentialKind, Uuid);
type Watched = HashMap<Key, Weak<watch::Sender<Known>>>;

/// Looks after the credentials of whoever waits for something. Cheap to clone.
#[derive(Clone)]
pub struct Standing {
    store: Store,
    /// How long a credential that has ended may still be of use.
    bound: Duration,
    watched: Arc<Mutex<Watched>>,
}

impl Standing {
    /// On a store; somebody has to [`run`](Self::run) it. Streams end within the bound after their credential, and within
    /// a second if the bound is 0.
    #[must_use]
    pub fn new(store: Store, bound: Duration) -> Self {
        Self { store, bound: bound.max(SHORTEST), watched: Arc::default() }
    }

    /// Looks now and then, until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY.min(self.bound / 2));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for kind in CredentialKind::ALL {
                if let Err(error) = self.look(kind).await {
                    tracing::warn!(%error, "credentials of what is under way cannot be looked up");
                }
            }
        }
    }

    /// Looks all of one kind up.
    async fn look(&self, kind: CredentialKind) -> Result<(), StoreError> {
        let watched: HashMap<Uuid, Arc<watch::Sender<Known>>> = {
            let mut watched = self.watched();
            watched.retain(|_, known| known.strong_count() > 0);
            let of_kind = watched.iter().filter(|((of, _), _)| *of == kind);
            of_kind.filter_map(|((_, id), known)| Some((*id, known.upgrade()?))).collect()
        };
        if watched.is_empty() {
            return Ok(());
        }
        // What is answered is as old as the question.
        let at = boot_time();
        let ids: Vec<Uuid> = watched.keys().copied().collect();
        let mut found: HashMap<Uuid, StoredCredential> = self.find(kind, &ids).await?.into_iter().collect();
        for (id, known) in watched {
            let found = found.remove(&id);
            let role = found.as_ref().map(|stored| stored.role);
            let ended = why_ended(found.as_ref());
            known.send_replace(Known { at, ended, role });
        }
        Ok(())
    }

    async fn find(&self, kind: CredentialKind, ids: &[Uuid]) -> Result<Vec<(Uuid, StoredCredential)>, StoreError> {
        match kind {
            CredentialKind::PersonalAccessToken => self.store.personal_access_tokens_find(ids).await,
            CredentialKind::EnvironmentToken => self.store.environment_tokens_find(ids).await,
            CredentialKind::Session => self.store.sessions_find(ids).await,
            // Nobody is let in by one: it opens a session, or is brought for a token.
            CredentialKind::SignInLink | CredentialKind::LoginCode => Ok(Vec::new()),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a credential from now on: it was verified a moment ago.
    fn know(&self, key: Key) -> Arc<watch::Sender<Known>> {
        let mut watched = self.watched();
        let known = watched.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let known = Arc::new(watch::Sender::new(Known { at: boot_time(), ended: None, role: None }));
            watched.insert(key, Arc::downgrade(&known));
            known
        })
    }

    /// Why the actor's credential is good no more, by a look of its own. While PostgreSQL is away nothing is known.
    pub(super) async fn has_ended(&self, actor: &Actor) -> Option<ServiceError> {
        let (kind, id) = actor.credential.key();
        let found = self.find(kind, &[id]).await.ok()?;
        why_ended(found.first().map(|(_, stored)| stored)).map(ServiceError::Ended)
    }

    /// Ready when the actor's credential is good no more, by what PostgreSQL says. While PostgreSQL is away nothing is known,
    /// and what runs runs on.
    pub(super) async fn ended(&self, actor: &Actor) -> ServiceError {
        let known = self.know(actor.credential.key());
        let mut changes = known.subscribe();
        loop {
            let ended = changes.borrow_and_update().ended.clone();
            if let Some(ended) = ended {
                return ServiceError::Ended(ended);
            }
            // The sender is there: it is held here.
            let _ = changes.changed().await;
        }
    }

    /// Ready when the actor's credential is good no more, or when that cannot be told any longer: for whoever is told things
    /// all the while. It is looked up from this call on, however late somebody asks what became of it.
    pub(super) fn doubtful(&self, actor: &Actor) -> impl Future<Output = ServiceError> + Send + use<> {
        let known = self.know(actor.credential.key());
        let (since, seen_as, bound) = (boot_time(), actor.role, self.bound);
        async move {
            let mut changes = known.subscribe();
            loop {
                let Known { at, ended, role } = changes.borrow_and_update().clone();
                if let Some(ended) = ended {
                    return ServiceError::Ended(ended);
                }
                // What it may see was decided at first.
                if role.is_some_and(|role| role != seen_as) {
                    return ServiceError::Denied("your role has changed; watch again".to_owned());
                }
                let left = (at.max(since) + bound).saturating_sub(boot_time());
                // A timer stands still while the machine sleeps.
                let is_told = tokio::time::timeout(left.min(ASLEEP), changes.changed()).await.is_ok();
                if !is_told && left <= ASLEEP {
                    let message = "tokens cannot be verified right now; watch again";
                    return ServiceError::unavailable(message, "PostgreSQL has not told of it in time");
                }
            }
        }
    }
}

/// What the holder of a credential is told that is good no more.
fn why_ended(stored: Option<&StoredCredential>) -> Option<String> {
    match stored {
        Some(stored) => stored.judge(stored.read_at).err().map(Ended::message),
        None => Some("what this token was good for is no more".to_owned()),
    }
}
