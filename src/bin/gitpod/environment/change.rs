//! `gitpod environment start`, `stop` and `delete`: several environments at once.

use std::{future::Future, process::ExitCode};

use clap::Args;
use futures::StreamExt;
use latchkey::{
    domain::ids::EnvironmentId,
    pb::gitpod::v1::{DeleteEnvironmentRequest, StartEnvironmentRequest, StopEnvironmentRequest},
};

use super::{
    Patience, get_one,
    wait::{Goal, Waiting},
};
use crate::{connection::Connection, error::Failure, printer::Printer};

/// How many environments are started, stopped or deleted at once.
const AT_ONCE: usize = 8;

/// Arguments of `start` and `stop`.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// IDs of the environments
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EnvironmentId>,
    #[command(flatten)]
    patience: Patience,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// IDs of the environments
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EnvironmentId>,
    /// Tell the server to kill what runs in them; Latchkey's servers do so anyway
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    patience: Patience,
}

/// Starts environments, and waits until they run.
pub(super) async fn start(arguments: Change, connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let Patience { dont_wait, timeout } = arguments.patience;
    let start_one = async |id: String| {
        // A failure that was there before the start is not its failure.
        let before = get_one(connection, &id).await?.status.unwrap_or_default().status_version;
        let request = StartEnvironmentRequest { environment_id: id.clone() };
        connection.call(connection.environments().start_environment(request)).await?;
        if !dont_wait {
            let waiting = Waiting { connection, printer, id: &id, timeout };
            waiting.until(Goal::Running { after: Some(before) }).await?;
        }
        Ok(())
    };
    Ok(each(arguments.ids, printer, start_one).await.1)
}

/// Stops environments, and waits until they have stopped.
pub(super) async fn stop(arguments: Change, connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let Patience { dont_wait, timeout } = arguments.patience;
    let stop_one = async |id: String| {
        let request = StopEnvironmentRequest { environment_id: id.clone() };
        connection.call(connection.environments().stop_environment(request)).await?;
        if !dont_wait {
            Waiting { connection, printer, id: &id, timeout }.until(Goal::Stopped).await?;
        }
        Ok(())
    };
    Ok(each(arguments.ids, printer, stop_one).await.1)
}

/// Deletes environments, and waits until they are gone.
pub(super) async fn delete(arguments: Delete, connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let Patience { dont_wait, timeout } = arguments.patience;
    let force = arguments.force;
    let delete_one = async |id: String| {
        let request = DeleteEnvironmentRequest { environment_id: id.clone(), force };
        connection.call(connection.environments().delete_environment(request)).await?;
        if !dont_wait {
            Waiting { connection, printer, id: &id, timeout }.until(Goal::Deleted).await?;
        }
        Ok(())
    };
    Ok(each(arguments.ids, printer, delete_one).await.1)
}

/// Does something with each of several environments, a few at once. Each failure is told; the exit code is that of the
/// first one in the order of the IDs.
pub(super) async fn each<T, F: Future<Output = Result<T, Failure>>>(
    ids: Vec<EnvironmentId>,
    printer: &Printer,
    one: impl Fn(String) -> F,
) -> (Vec<T>, ExitCode) {
    let several = ids.len() > 1;
    let outcomes: Vec<_> = futures::stream::iter(ids)
        .map(|id| {
            let outcome = one(id.to_string());
            async move { (id, outcome.await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut done = Vec::new();
    let mut exit_code = None;
    for (id, outcome) in outcomes {
        match outcome {
            Ok(result) => done.push(result),
            Err(failure) => {
                if several && !failure.is_silent() {
                    printer.note(&format!("environment {id}:"));
                }
                printer.failure(&failure);
                exit_code.get_or_insert(failure.exit_code());
            }
        }
    }
    (done, exit_code.map_or(ExitCode::SUCCESS, ExitCode::from))
}
