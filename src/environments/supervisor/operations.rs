//! `supervisor.v1.EnvironmentOpsService`, where it is carried out.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};
use tonic::{Request, Response, Status};

use super::{
    command::{self, Ended},
    forwarder,
    reaper::Reaper,
    surroundings,
    task::ServeTask,
};
use crate::{
    domain::exec::{COMMAND_LIMIT, DEFAULT_TIMEOUT, LONGEST_TIMEOUT},
    pb::supervisor::v1::{
        CancelExecRequest, CancelExecResponse, ExecRequest, ExecResponse,
        environment_ops_service_server::EnvironmentOpsService,
    },
};

/// The most commands at once: each may hold twice the output limit in memory.
const COMMANDS_AT_ONCE: usize = 32;
/// The shell that commands are given to: the same in every environment. Who wants another one calls it in the command.
const SHELL: &str = "/bin/sh";

/// Runs commands.
pub(super) struct Operations {
    reaper: Reaper,
    task: ServeTask,
    places: Semaphore,
    named: Arc<Named>,
}

/// The commands that run and have an operation ID.
#[derive(Default)]
struct Named(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Operations {
    pub(super) fn new(reaper: Reaper, task: ServeTask) -> Self {
        Self { reaper, task, places: Semaphore::new(COMMANDS_AT_ONCE), named: Arc::default() }
    }

    fn command(&self, request: &ExecRequest) -> Result<Command, Status> {
        let text = request.command.as_str();
        if text.trim().is_empty() {
            return Err(Status::invalid_argument("command: must not be empty"));
        }
        if text.len() > COMMAND_LIMIT {
            return Err(Status::invalid_argument(format!("command: is longer than {COMMAND_LIMIT} bytes")));
        }
        if text.contains('\0') {
            return Err(Status::invalid_argument("command: must not contain a NUL character"));
        }
        let directory = match request.working_directory.as_str() {
            "" => self.task.working_directory.as_str(),
            directory => directory,
        };
        if !directory.starts_with('/') || !Path::new(directory).is_dir() {
            return Err(Status::invalid_argument(
                "working_directory: is not the absolute path of a directory in the environment",
            ));
        }
        let mut command = Command::new(SHELL);
        surroundings::set(&mut command, forwarder::ADDRESS, &self.task.no_proxy);
        command.arg("-c").arg(text).current_dir(directory);
        Ok(command)
    }
}

#[tonic::async_trait]
impl EnvironmentOpsService for Operations {
    async fn exec(&self, request: Request<ExecRequest>) -> Result<Response<ExecResponse>, Status> {
        let request = request.into_inner();
        let mut command = self.command(&request)?;
        let timeout = timeout(request.timeout_seconds)?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Status::resource_exhausted("too many commands run in this environment; wait for one to end"));
        };
        // Held until the command is over, however it comes to its end.
        let (_registration, cancelled) = Named::register(&self.named, request.operation_id)?;
        match command::run(&self.reaper, &mut command, timeout, cancelled).await.map_err(not_started)? {
            Ok(finished) => Ok(Response::new(ExecResponse {
                exit_code: finished.exit_code,
                stdout: finished.stdout,
                stderr: finished.stderr,
            })),
            Err(Ended::TimedOut) => Err(Status::deadline_exceeded("the command took too long and was ended")),
            Err(Ended::Cancelled) => Err(Status::cancelled("the command was cancelled")),
        }
    }

    async fn cancel_exec(&self, request: Request<CancelExecRequest>) -> Result<Response<CancelExecResponse>, Status> {
        let operation_id = request.into_inner().operation_id;
        if let Some(cancel) = self.named.lock().get_mut(&operation_id) {
            // The name stays taken until the processes are gone.
            let _ = std::mem::replace(cancel, oneshot::channel().0).send(());
        }
        Ok(Response::new(CancelExecResponse {}))
    }
}

fn timeout(seconds: i32) -> Result<Duration, Status> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(DEFAULT_TIMEOUT),
        Ok(seconds) if seconds <= LONGEST_TIMEOUT.as_secs() => Ok(Duration::from_secs(seconds)),
        Ok(_) => Err(Status::invalid_argument(format!("timeout_seconds: is more than {}", LONGEST_TIMEOUT.as_secs()))),
        Err(_) => Err(Status::invalid_argument("timeout_seconds: must not be negative")),
    }
}

fn not_started(error: io::Error) -> Status {
    // The environment's own limits, or its directory gone in between: the caller's to see, nothing secret in it.
    Status::failed_precondition(format!("the command could not be started: {error}"))
}

/// A name that is taken while a command runs. Holds the sender's place for a command without a name.
struct Registration {
    named: Arc<Named>,
    operation_id: String,
    _unnamed: Option<oneshot::Sender<()>>,
}

impl Named {
    fn register(named: &Arc<Self>, operation_id: String) -> Result<(Registration, oneshot::Receiver<()>), Status> {
        let (sender, receiver) = oneshot::channel();
        let unnamed = if operation_id.is_empty() {
            Some(sender)
        } else {
            match named.lock().entry(operation_id.clone()) {
                Entry::Occupied(_) => {
                    return Err(Status::already_exists("operation_id: a command with this operation ID runs already"));
                }
                Entry::Vacant(place) => place.insert(sender),
            };
            None
        };
        Ok((Registration { named: Arc::clone(named), operation_id, _unnamed: unnamed }, receiver))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.operation_id.is_empty() {
            self.named.lock().remove(&self.operation_id);
        }
    }
}
