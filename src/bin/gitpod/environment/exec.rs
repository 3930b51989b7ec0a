//! `gitpod environment exec`: one command in a running environment.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use latchkey::{
    domain::{
        exec::LONGEST_TIMEOUT,
        ids::{EnvironmentId, RequestId},
        secret::Secret,
    },
    pb::{
        gitpod::v1::CreateEnvironmentAccessTokenRequest,
        supervisor::v1::{CancelExecRequest, ExecRequest, ExecResponse},
    },
};

use super::{duration, get_one, view::phase_name};
use crate::{
    connection::Connection,
    error::Failure,
    interrupt::{Interrupt, Interrupts},
    printer::Printer,
    target::TokenSource,
};

/// How much longer than the command the call may take: its output has to come over.
const SLACK: Duration = Duration::from_secs(60);
/// How long a command is given to be cancelled before the client ends all the same; the server ends a command whose
/// call is gone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// ID of the environment
    id: EnvironmentId,
    /// Absolute path to run it in [default: where the repository is]
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    workdir: String,
    /// How long it may run, such as 30s or 10m [default: the server's choice]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// The command and its arguments, after `--`; for pipes and variables give it to a shell: `-- sh -c 'ls | wc -l'`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command; the exit code is the command's.
pub(super) async fn run(arguments: Exec, connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let request = ExecRequest {
        operation_id: RequestId::generate().to_string(),
        command: shell_string(&arguments.command)?,
        working_directory: arguments.workdir,
        timeout_seconds: arguments.timeout.map(seconds).transpose()?.unwrap_or_default(),
    };
    let id = arguments.id.to_string();
    let environment = get_one(connection, &id).await?;
    let urls = environment.status.as_ref().and_then(|status| status.environment_urls.as_ref());
    let Some(ops) = urls.map(|urls| urls.ops.as_str()).filter(|ops| !ops.is_empty()) else {
        return Err(Failure::Failed(format!(
            "environment {id} is {}, and commands run in running ones alone; start it with `gitpod environment start \
             {id}`",
            phase_name(&environment),
        )));
    };
    // Before there is any token that could go astray.
    let address = connection.own_address(ops)?;

    let token_request = CreateEnvironmentAccessTokenRequest { environment_id: id };
    let answer = connection.call(connection.environments().create_environment_access_token(token_request)).await?;
    let mut operations = connection.operations(address, &Secret::new(answer.access_token))?;
    let mut canceller = operations.clone();
    let operation_id = request.operation_id.clone();

    let mut interrupts = Interrupts::listen()?;
    let longest = arguments.timeout.unwrap_or(LONGEST_TIMEOUT) + SLACK;
    let interrupted: Interrupt = tokio::select! {
        answer = connection.call_within(longest, TokenSource::Server, operations.exec(request)) => {
            return pass_on(&answer?, printer);
        }
        by = interrupts.next() => by,
    };
    let cancel = canceller.cancel_exec(CancelExecRequest { operation_id });
    let told = tokio::select! {
        told = connection.call_within(CANCEL_TIMEOUT, TokenSource::Server, cancel) => told.is_ok(),
        _ = interrupts.next() => false,
    };
    let text = if told { "the command was cancelled" } else { "the command may still run for a moment" };
    Err(Failure::Interrupted { by: interrupted, text: text.to_owned() })
}

fn pass_on(answer: &ExecResponse, printer: &Printer) -> Result<ExitCode, Failure> {
    printer.raw_error(answer.stderr.as_bytes());
    match printer.raw(answer.stdout.as_bytes()) {
        // A reader that has seen enough changes nothing about how the command ended.
        Err(failure) if !failure.is_silent() => return Err(failure),
        Ok(()) | Err(_) => {}
    }
    let code = u8::try_from(answer.exit_code)
        .map_err(|_| Failure::Failed(format!("the server gave {} as an exit code", answer.exit_code)))?;
    Ok(ExitCode::from(code))
}

/// Quotes each argument, so that the shell in the environment takes it for one word as it is.
fn shell_string(command: &[String]) -> Result<String, Failure> {
    shlex::try_join(command.iter().map(String::as_str))
        .map_err(|error| Failure::Usage(format!("the command cannot be given to a shell: {error}")))
}

/// Whole seconds, rounded up: 0 would mean the server's choice.
fn seconds(timeout: Duration) -> Result<i32, Failure> {
    i32::try_from(timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0))
        .map_err(|_| Failure::Usage("--timeout is too long".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let words =
            ["a b", "", "'", "\"$HOME\"", "*", "~", "-n", "a\nb", "é", "\\", "`id`", "!x", "#c", ";", "{a,b}", "="];
        let command: Vec<String> = ["printf", r"%s\0"].into_iter().chain(words).map(str::to_owned).collect();
        let output = Command::new("sh").arg("-c").arg(shell_string(&command).unwrap()).output().unwrap();
        let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn parts_of_a_second_are_rounded_up() {
        assert_eq!(seconds(Duration::from_millis(1)).unwrap(), 1);
        assert_eq!(seconds(Duration::from_secs(30)).unwrap(), 30);
    }
}
