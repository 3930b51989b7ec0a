//! `latchkey`: the server, and the operator's commands.

#![expect(clippy::print_stderr, reason = "a command line speaks through them")]

use std::{ffi::OsString, io::Write, path::Path, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use latchkey::{
    app::{self, AppError, admin::AdminCommand},
    config::{Config, DataArgs, ServeArgs, Traces},
    domain::token::redacted,
    environments::supervisor,
    telemetry,
};

/// Issues, verifies and revokes personal access tokens, and serves the environments that they manage
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API
    Serve(Box<ServeArgs>),
    /// Bring the tables up to date and end
    Migrate(DataArgs),
    /// The operator's commands, beside a running server or without one
    Admin {
        #[command(flatten)]
        data: DataArgs,
        #[command(subcommand)]
        command: AdminCommand,
    },
}

fn main() -> ExitCode {
    // Before anything else: the supervisor of a sandbox is this same program, and makes do with one thread; and so is the
    // server that root starts, which gives up root's rights before it has more.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == supervisor::SUBCOMMAND => return supervisor::main(arguments),
        Some(first) if first == app::SERVE_PREPARED => return serve_prepared(arguments.next()),
        Some(_) | None => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Serve(args) => match args.check() {
            Ok(config) => block_on(config.traces.clone(), serve(config)),
            Err(mistakes) => {
                eprintln!("{mistakes}");
                ExitCode::from(2)
            }
        },
        Command::Migrate(data) => {
            block_on(None, async move { app::admin::run_migrations(&data, &mut std::io::stdout()).await })
        }
        Command::Admin { data, command } => {
            block_on(None, async move { app::admin::run(&data, command, &mut std::io::stdout()).await })
        }
    }
}

/// How long what cannot be broken off may take when all else is over: a write to the disk, not the system's resolver, which
/// environments can keep waiting as long as they like.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn block_on(traces: Option<Traces>, work: impl Future<Output = Result<(), AppError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("latchkey: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // What sends traces is started in the runtime, and ends before it.
    let telemetry = {
        let _in_runtime = runtime.enter();
        telemetry::start(traces.as_ref())
    };
    let code = match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latchkey: {}", redacted(&error.to_string()));
            ExitCode::FAILURE
        }
    };
    telemetry.end();
    runtime.shutdown_timeout(LAST_WORDS);
    code
}

/// Shows help where it was asked for, or else what is wrong with the command line: without a token that got into it.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        eprint!("{}", redacted(&error.render().to_string()));
        return ExitCode::from(2);
    }
    // Nobody is left to be told when standard output is gone.
    let _ = error.print();
    ExitCode::SUCCESS
}

/// Never called by people: a server that root started writes the command line.
fn serve_prepared(number: Option<OsString>) -> ExitCode {
    let handover = app::Handover::take(&number.unwrap_or_default().to_string_lossy());
    match handover {
        Ok(handover) => block_on(handover.traces(), app::run_prepared(handover, announce, shutdown())),
        Err(error) => {
            eprintln!("latchkey: 'latchkey serve' starts this, and nobody else can: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<(), AppError> {
    let listener = app::listen(&config).await?;
    let address =
        listener.local_addr().map_err(|error| AppError::Listen { address: config.listen, flag: "--listen", error })?;
    let mut lines = vec![format!("latchkey serves http://{address}")];
    if config.data.database_url.is_none() {
        // Each as it can be pasted.
        let quoted = |text: &str| shlex::try_quote(text).map_or_else(|_| text.to_owned(), |text| text.into_owned());
        let data_dir =
            config.data.data_dir.as_ref().map(|path| format!(" --data-dir {}", quoted(&path.to_string_lossy())));
        let data_dir = data_dir.unwrap_or_default();
        let path = std::env::args().next().unwrap_or_else(|| "latchkey".to_owned());
        let client = quoted(&Path::new(&path).with_file_name("gitpod").to_string_lossy());
        let (program, user) = (quoted(&path), app::FIRST_USER);
        lines.extend([
            "Try next:".to_owned(),
            format!("  {program} admin{data_dir} create-token --user {user} --description 'my first token'"),
            format!("  {client} login --host http://{address} --token TOKEN"),
            format!("  {client} environment create https://github.com/OWNER/REPOSITORY"),
        ]);
    }
    app::run(config, listener, lines.join("\n"), announce, shutdown()).await
}

fn announce(text: &str) {
    // Nobody needs to read it: a closed or full standard output is no reason to end.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Ready when somebody asks this process to end.
async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
