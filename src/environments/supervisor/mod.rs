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
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

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

use task::{Task, TaskLimits};

/// The hidden subcommand of `latchkey` that [`main`] is behind. Its one argument is a task in JSON.
pub const SUBCOMMAND: &str = "supervisor";

/// What the kernel counts for all processes of a user, here and in the namespaces around this one: signals and timers, bytes of
/// POSIX message queues, bytes of memory that is never swapped out.
const SHARED: [(Resource, u64); 3] =
    [(Resource::Sigpending, 4096), (Resource::Msgqueue, 192 << 10), (Resource::Memlock, 8 << 20)];

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
            limit(&task.limits)?;
            runtime()?.block_on(clone::run(&task))
        }
        Task::Serve(task) => {
            limit(&task.limits)?;
            runtime()?.block_on(serve::run(task))
        }
    }
}

/// Sets limits, for good: here, before anything of the environment's runs, and after bubblewrap, which itself writes to
/// files and starts processes.
fn limit(limits: &TaskLimits) -> io::Result<()> {
    // Whoever makes a file longer than it may be is told so by the write. The signal that would end them would leave people
    // with a command that is gone and says nothing.
    // SAFETY: no handler is installed; that a signal is ignored is passed on to every child.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    let for_good = |resource, most: u64| {
        // Whoever starts with less keeps that.
        let most = getrlimit(resource).maximum.map_or(most, |before| before.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    for_good(Resource::Fsize, limits.file_bytes)?;
    if let Some(processes) = limits.processes {
        for_good(Resource::Nproc, processes.into())?;
    }
    // Of its data alone: programs set address space aside that they never use.
    if let Some(bytes) = limits.process_memory_bytes {
        for_good(Resource::Data, bytes)?;
    }
    for (resource, most) in SHARED {
        for_good(resource, most)?;
    }
    Ok(())
}

/// One thread: the supervisor mostly waits, in every environment of the machine, and every megabyte counts that often.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()
}
