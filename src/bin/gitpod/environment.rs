//! `gitpod environment`: creating, looking at, starting, stopping and deleting environments.

mod change;
mod exec;
mod view;
mod wait;

use std::{process::ExitCode, str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use latchkey::{
    domain::ids::EnvironmentId,
    pb::gitpod::v1::{
        ContextUrlInitializer, CreateEnvironmentRequest, Environment, EnvironmentInitializer, EnvironmentPhase,
        EnvironmentSpec, GetEnvironmentRequest, ListEnvironmentClassesRequest, ListEnvironmentsRequest,
        environment_initializer::{self, spec},
        environment_spec,
    },
};
use serde_json::Value;

use crate::{
    connection::Connection,
    error::Failure,
    output::{self, Output},
    pages::fetch_all,
    printer::Printer,
    target::Target,
};
use wait::{Goal, Waiting};

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvironmentCommand {
    /// Create an environment from a repository, wait until it runs, and print its ID
    Create(Create),
    /// List environments, the newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Show environments
    Get(Get),
    /// Start stopped environments and wait until they run
    Start(change::Change),
    /// Stop environments and wait until they have stopped; their files are kept
    Stop(change::Change),
    /// Delete environments with all their files and wait until they are gone
    Delete(change::Delete),
    /// Run a command in a running environment, with its output and exit code
    Exec(exec::Exec),
    /// List the classes that environments can be created with
    ListClasses(List),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Address of the repository, such as https://github.com/your/repo or https://github.com/your/repo/tree/branch
    url: String,
    /// ID of the environment class (see `gitpod environment list-classes`) [default: the server's choice]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    class_id: String,
    /// What to call it [default: the server's choice]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    output: CreatedOutput,
}

/// The choice of what `create` prints.
#[derive(Debug, Args)]
pub(crate) struct CreatedOutput {
    /// Print the environment in this form, once it runs, instead of its ID alone
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT")]
    format: Option<output::Format>,
}

/// How long something is waited for.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Patience {
    /// Return as soon as the server has taken note
    #[arg(long)]
    dont_wait: bool,
    /// How long to wait at most, such as 90s or 10m; what was asked for goes on all the same
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    timeout: Duration,
}

/// Arguments of what lists.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// IDs of the environments; the data of one is an object, that of several a list
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EnvironmentId>,
    #[command(flatten)]
    output: Output,
}

/// Reads a duration above zero, such as `90s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::Duration::from_str(text).map(Duration::from) {
        Ok(duration) if duration.is_zero() => Err("must be more than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write a number and a unit, such as 30s, 10m, 12h or 30d")),
    }
}

/// Carries a command out.
pub(crate) async fn run(command: EnvironmentCommand, target: &Target, printer: &Printer) -> Result<ExitCode, Failure> {
    let connection = target.connect()?;
    match command {
        EnvironmentCommand::Create(arguments) => create(arguments, &connection, printer).await?,
        EnvironmentCommand::List(arguments) => list(arguments, &connection, printer).await?,
        EnvironmentCommand::Get(arguments) => return get(arguments, &connection, printer).await,
        EnvironmentCommand::Start(arguments) => return change::start(arguments, &connection, printer).await,
        EnvironmentCommand::Stop(arguments) => return change::stop(arguments, &connection, printer).await,
        EnvironmentCommand::Delete(arguments) => return change::delete(arguments, &connection, printer).await,
        EnvironmentCommand::Exec(arguments) => return exec::run(arguments, &connection, printer).await,
        EnvironmentCommand::ListClasses(arguments) => list_classes(arguments, &connection, printer).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(arguments: Create, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let initializer = EnvironmentInitializer {
        specs: vec![environment_initializer::Spec {
            spec: Some(spec::Spec::ContextUrl(ContextUrlInitializer { url: arguments.url })),
        }],
    };
    let request = CreateEnvironmentRequest {
        spec: Some(EnvironmentSpec {
            desired_phase: EnvironmentPhase::Running.into(),
            machine: Some(environment_spec::Machine { class: arguments.class_id, ..Default::default() }),
            content: Some(environment_spec::Content { initializer: Some(initializer), ..Default::default() }),
            ..Default::default()
        }),
        name: arguments.name,
        ..Default::default()
    };
    let answer = connection.call(connection.environments().create_environment(request)).await?;
    let environment = answer
        .environment
        .ok_or_else(|| Failure::Failed("the server created an environment and did not say which".to_owned()))?;
    let id = environment.id.clone();
    let format = arguments.output.format;
    if format.is_none() {
        // At once: whatever happens from here on, a script knows what to look at and what to delete.
        printer.data(&id)?;
    }
    if !arguments.patience.dont_wait {
        let waiting = Waiting { connection, printer, id: &id, timeout: arguments.patience.timeout };
        waiting.until(Goal::Running { after: None }).await?;
    }
    let Some(format) = format else { return Ok(()) };
    let environment = if arguments.patience.dont_wait { environment } else { get_one(connection, &id).await? };
    let host = connection.host();
    Output::from(format).show(printer, || view::json(&environment, host), || view::details(&environment, host))
}

async fn list(arguments: List, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let environments = fetch_all(None, async |pagination| {
        let request = ListEnvironmentsRequest { pagination: Some(pagination), ..Default::default() };
        let page = connection.call(connection.environments().list_environments(request)).await?;
        Ok((page.environments, page.pagination))
    })
    .await?;
    let host = connection.host();
    let data = || environments.iter().map(|one| view::json(one, host)).collect::<Result<_, _>>().map(Value::Array);
    arguments.output.show(printer, data, || view::table(&environments))?;
    if environments.is_empty() && arguments.output.is_table() {
        printer.note("There are no environments. Create one with `gitpod environment create URL`.");
    }
    Ok(())
}

async fn list_classes(arguments: List, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let classes = fetch_all(None, async |pagination| {
        let request = ListEnvironmentClassesRequest { pagination: Some(pagination), filter: None };
        let page = connection.call(connection.environments().list_environment_classes(request)).await?;
        Ok((page.environment_classes, page.pagination))
    })
    .await?;
    arguments.output.show(printer, || output::json_array(&classes), || view::class_table(&classes))
}

async fn get(arguments: Get, connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let host = connection.host();
    if let [id] = arguments.ids.as_slice() {
        let environment = get_one(connection, &id.to_string()).await?;
        let data = || view::json(&environment, host);
        arguments.output.show(printer, data, || view::details(&environment, host))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (found, exit_code) = change::each(arguments.ids, printer, async |id| get_one(connection, &id).await).await;
    let data = || found.iter().map(|one| view::json(one, host)).collect::<Result<_, _>>().map(Value::Array);
    arguments.output.show(printer, data, || view::table(&found))?;
    Ok(exit_code)
}

/// Asks for one environment.
async fn get_one(connection: &Connection, id: &str) -> Result<Environment, Failure> {
    let request = GetEnvironmentRequest { environment_id: id.to_owned() };
    let answer = connection.call(connection.environments().get_environment(request)).await?;
    answer.environment.ok_or_else(|| Failure::Failed(format!("the server said nothing about environment {id}")))
}
