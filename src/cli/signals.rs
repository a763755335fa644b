//! The signals that stop a command in good order.
//!
//! Waited for by `serve`, and by the commands that classify files.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals this close together are one.
pub(super) const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// The signals that stop a command.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// The signal that came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Takes both signals over: from then on they do not end the process by themselves.
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

impl Stop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Stop::Terminate => "SIGTERM",
            Stop::Interrupt => "SIGINT",
        }
    }

    /// How a process ends that this signal stopped: 128 and the signal's number.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Stop::Terminate => 128 + 15,
            Stop::Interrupt => 128 + 2,
        }
    }
}
