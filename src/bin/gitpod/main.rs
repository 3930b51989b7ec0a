//! `gitpod`: signs in with a personal access token, and manages environments, tokens and the audit log with it.

mod audit_logs;
mod connection;
mod credentials;
mod environment;
mod error;
mod host;
mod interrupt;
mod login;
mod oauth;
mod output;
mod pages;
mod printer;
mod session;
mod target;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use error::Failure;
use printer::Printer;
use target::Target;

const AFTER_HELP: &str = "\
Environment variables:
  GITPOD_TOKEN     The personal access token; wins over the one stored by `gitpod login`
  GITPOD_HOST      Address of the server, as with --host
  BROWSER          What `gitpod login` opens its page with [default: the desktop's browser]
  XDG_CONFIG_HOME  Tokens are stored in its directory `gitpod` [default: ~/.config]

Exit codes:
  0  done
  1  failed
  2  the command line makes no sense
  3  not signed in, or refused
  4  not found
  `gitpod environment exec` ends with the exit code of the command that it ran.";

/// Manages development environments, and the personal access tokens that it takes to do so.
#[derive(Debug, Parser)]
#[command(name = "gitpod", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign in by a browser, or with a personal access token; the token is stored for this server
    Login(session::Login),
    /// Forget the stored token of this server
    Logout,
    /// Show whom the token stands for
    Whoami(session::Whoami),
    /// Manage environments
    #[command(subcommand, visible_alias = "env")]
    Environment(environment::EnvironmentCommand),
    /// Manage personal access tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List who did what, the newest first
    AuditLogs(audit_logs::AuditLogs),
    /// Print a script that completes commands in a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let printer = Printer::new();
    let outcome = match CommandLine::try_parse() {
        Ok(command_line) => run(command_line, &printer),
        Err(error) => usage(&error, &printer),
    };
    outcome.unwrap_or_else(|failure| {
        printer.failure(&failure);
        ExitCode::from(failure.exit_code())
    })
}

/// Shows help where it was asked for, or else what is wrong with the command line.
fn usage(error: &clap::Error, printer: &Printer) -> Result<ExitCode, Failure> {
    let text = error.render().to_string();
    if error.use_stderr() {
        printer.note(&text);
        return Ok(ExitCode::from(error::USAGE));
    }
    printer.data(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn run(command_line: CommandLine, printer: &Printer) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(dispatch(command_line, printer));
    // Not waiting for a name that is still being looked up: the command is over.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command_line: CommandLine, printer: &Printer) -> Result<ExitCode, Failure> {
    let CommandLine { target, command } = command_line;
    match command {
        Command::Login(arguments) => session::login(arguments, &target, printer).await?,
        Command::Logout => session::logout(&target, printer)?,
        Command::Whoami(arguments) => session::whoami(arguments, &target, printer).await?,
        Command::Environment(command) => return environment::run(command, &target, printer).await,
        Command::Token(command) => return token::run(command, &target, printer).await,
        Command::AuditLogs(arguments) => audit_logs::run(arguments, &target, printer).await?,
        Command::Completion { shell } => completion(shell, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn completion(shell: Shell, printer: &Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "gitpod", &mut script);
    printer.raw(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
