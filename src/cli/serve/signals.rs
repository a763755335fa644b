//! The signals that stop the server.
//!
//! Waited for by `serve`.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals this close together are one.
pub(super) const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// The signals that stop the server.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    Terminate,
    Interrupt,
}

impl Signals {
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

    /// The signal's number; a process it ended exits with 128 more.
    pub(super) fn number(self) -> i32 {
        match self {
            Stop::Terminate => 15,
            Stop::Interrupt => 2,
        }
    }
}
