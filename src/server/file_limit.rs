//! How many files, and so connections, the system lets this process open.
//!
//! Raised by `Server::run` to what the system lets it have, and read to warn of a `--max-connections` that can never be
//! reached; `resnet doctor` tells both.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files open besides connections: listeners, the runtime's own, the log, models. Of a limit below twice that, half.
const RESERVE: u64 = 64;

/// Raises the soft limit to the hard one. The low soft limit of many systems is there for programs that use `select`,
/// which no crate of ours does.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The most connections that the limit of open files leaves room for, if that is less than `wanted`.
pub(super) fn connections_allowed(wanted: u32) -> Option<u64> {
    allowed(getrlimit(Resource::Nofile).current, wanted)
}

/// How many files the process may open: those that it may open now, and those that a server raises that to.
#[derive(Debug, Clone, Copy)]
pub struct OpenFiles {
    /// The soft limit; none where there is no limit.
    pub soft: Option<u64>,
    /// The hard limit.
    pub hard: Option<u64>,
}

impl OpenFiles {
    /// Asks the system for both limits.
    #[must_use]
    pub fn limits() -> OpenFiles {
        let limit = getrlimit(Resource::Nofile);
        OpenFiles {
            soft: limit.current,
            hard: limit.maximum,
        }
    }

    /// The most connections that a server can have, if that is less than `wanted`.
    #[must_use]
    pub fn connections_allowed(&self, wanted: u32) -> Option<u64> {
        allowed(self.hard, wanted)
    }
}

/// The most connections under a limit, of which there may be none.
fn allowed(files: Option<u64>, wanted: u32) -> Option<u64> {
    let room = files.map(|files| files - RESERVE.min(files / 2));
    room.filter(|room| *room < u64::from(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_allows_as_many_connections_as_it_leaves_beside_other_files() {
        assert_eq!(allowed(Some(1024), 10_240), Some(960));
        assert_eq!(allowed(Some(10_303), 10_240), Some(10_239));
        assert_eq!(allowed(Some(10_304), 10_240), None);
        assert_eq!(allowed(Some(64), 10_240), Some(32));
        assert_eq!(allowed(Some(128), 10_240), Some(64));
        assert_eq!(allowed(None, u32::MAX), None);
    }
}
