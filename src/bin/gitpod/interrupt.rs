//! Being told to end, by Ctrl-C or by the system.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Failure;

/// How the process was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: `kill`, or a CI job that is cancelled.
    Terminate,
}

impl Interrupt {
    /// 128 and the signal's number, as shells have it.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Listens for signals that would otherwise end the process at once.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Begins to listen. From then on signals end nothing by themselves.
    ///
    /// # Errors
    /// [`Failure::Failed`] when the system does not let it.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error: io::Error| Failure::Failed(format!("cannot catch Ctrl-C: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits until the process is told to end.
    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.interrupt.recv() => Interrupt::Interrupt,
            _ = self.terminate.recv() => Interrupt::Terminate,
        }
    }
}
