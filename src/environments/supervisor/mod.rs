//! The process inside an environment: the `latchkey` binary itself, bound into the sandbox, as process 1 of its PID
//! namespace. When it ends, the kernel ends everything else in there.
//!
//! It runs with the rights of the code around it and is no boundary: what it answers is what the environment wants it
//! to. It keeps to itself what little it can (its memory and descriptors, by not being dumpable), so that a stray
//! debugger inside does not disturb it.
//!
//! [`client`] is the other end, in the server.

use std::{ffi::OsString, io, process::ExitCode};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub mod client;
mod clone;
mod command;
mod forwarder;
mod measure;
mod operations;
mod output;
mod reaper;
mod said;
mod serve;
mod surroundings;
pub(crate) mod task;
mod wipe;

use task::Task;

/// The hidden subcommand of `latchkey` that [`main`] is behind. Its one argument is a task in JSON.
pub const SUBCOMMAND: &str = "supervisor";

/// Carries out one task. Never called by people: the local runner writes the command line.
///
/// Call it before anything starts a thread: it builds a small runtime of its own.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let task = arguments.next().and_then(|text| serde_json::from_str::<Task>(text.to_str()?).ok());
    let result = match task {
        Some(task) if std::process::id() == 1 => carry_out(task),
        Some(_) => Err(io::Error::other("runs as the first process of a sandbox only")),
        None => Err(io::Error::other("the local runner starts this; there is nothing here for people")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the launcher keeps it in a file, for the message that the runner gives")]
fn complain(error: &io::Error) {
    eprintln!("latchkey supervisor: {error}");
}

fn carry_out(task: Task) -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    match task {
        Task::Probe => Ok(()),
        Task::Wipe(task) => task.directories.iter().try_for_each(|directory| wipe::empty(directory.as_ref())),
        Task::Measure(task) => measure::run(&task.directories),
        Task::Clone(task) => {
            limit_files(task.file_bytes)?;
            runtime()?.block_on(clone::run(&task))
        }
        Task::Serve(task) => {
            limit_files(task.file_bytes)?;
            if let Some(processes) = task.process_limit {
                let limit = Some(u64::from(processes));
                setrlimit(Resource::Nproc, Rlimit { current: limit, maximum: limit })?;
            }
            runtime()?.block_on(serve::run(task))
        }
    }
}

/// No file gets longer than this, whoever writes to it: here, before anything of the environment's runs, since bubblewrap
/// itself writes to files. Whoever tries is told so by the write; the signal that would end them is ignored, as it would
/// leave people with a command that is gone and says nothing.
fn limit_files(bytes: u64) -> io::Result<()> {
    // SAFETY: no handler is installed; that a signal is ignored is passed on to every child.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    Ok(setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: Some(bytes) })?)
}

/// One thread: the supervisor mostly waits, in every environment of the machine, and every megabyte counts that often.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}
