//! How much commands may ask of the server at once. The supervisor keeps to limits of its own, but it is no boundary: what is
//! in its place may promise to run any number, and answer all of them at length.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{
    exec::{Held, OperationsError},
    ids::EnvironmentId,
};

/// Commands of one environment at once.
const COMMANDS: usize = 32;
/// Answers of one environment that are read, or wait to be taken by whoever asked: each may be 16 MiB long.
const ANSWERS: usize = 4;
/// The same of all environments together.
const ANSWERS_IN_ALL: usize = 16;
/// How long an answer waits for its place.
const PATIENCE: Duration = Duration::from_secs(60);

/// The places of all environments.
#[derive(Debug)]
pub(super) struct Places {
    environments: Mutex<HashMap<EnvironmentId, Weak<OfEnvironment>>>,
    answers: Arc<Semaphore>,
}

#[derive(Debug)]
struct OfEnvironment {
    commands: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// A command's place; as long as there is one, its environment's places are there.
pub(super) struct Place {
    of_environment: Arc<OfEnvironment>,
    answers: Arc<Semaphore>,
    _command: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Self {
        Self { environments: Mutex::default(), answers: Arc::new(Semaphore::new(ANSWERS_IN_ALL)) }
    }
}

impl Places {
    /// A place for a command.
    ///
    /// # Errors
    /// [`OperationsError::Exhausted`]
    pub(super) fn enter(&self, environment: EnvironmentId) -> Result<Place, OperationsError> {
        let of_environment = {
            let mut known = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, places| places.strong_count() > 0);
            known.get(&environment).and_then(Weak::upgrade).unwrap_or_else(|| {
                let (commands, answers) = (Semaphore::new(COMMANDS), Semaphore::new(ANSWERS));
                let places = Arc::new(OfEnvironment { commands: commands.into(), answers: answers.into() });
                known.insert(environment, Arc::downgrade(&places));
                places
            })
        };
        let command = Arc::clone(&of_environment.commands).try_acquire_owned().map_err(|_| {
            OperationsError::Exhausted("too many commands run in this environment; wait for one to end".to_owned())
        })?;
        Ok(Place { of_environment, answers: Arc::clone(&self.answers), _command: command })
    }
}

impl Place {
    /// Waits until the answer may be read. What it returns is to be held until the answer was taken.
    ///
    /// # Errors
    /// [`OperationsError::Exhausted`]
    pub(super) async fn answer(self) -> Result<Held, OperationsError> {
        let (own, all) = (Arc::clone(&self.of_environment.answers), Arc::clone(&self.answers));
        let places = async { Some((own.acquire_owned().await.ok()?, all.acquire_owned().await.ok()?)) };
        match tokio::time::timeout(PATIENCE, places).await.ok().flatten() {
            Some(places) => Ok(Held::new((self, places))),
            None => Err(OperationsError::Exhausted(
                "the command has ended, and too many answers wait to be read; read them, and run it again".to_owned(),
            )),
        }
    }
}
