//! How much memory the server can come to hold: what it holds when ready, and the sum of its limits.
//!
//! Told by `serve` in the log; `docs/RELIABILITY.md` has the formula.

use crate::classifier::Classifier;

/// Most that one connection of HTTP/1.1 holds besides a body: its read buffer, at most 64 KiB of it in use, and as much
/// for the frame taken from it, the answer, two tasks and TLS. An idle one holds an eighth to a quarter of it.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Most that one of HTTP/2 holds: 1 MiB of bodies under way unasked, and for each of 64 streams 16 KiB of headers and
/// 64 KiB of an answer.
const HTTP2_CONNECTION_BYTES: u64 = 6 << 20;

/// A body grows by doubling, so that up to twice what has arrived is reserved while it does.
const BODY_RESERVE: u64 = 2;

/// Resident memory of this process, in bytes; unknown where there is no `/proc`.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}

/// The limits that bound the memory, `classifier`'s own apart.
pub(super) struct MemoryLimits {
    /// Most connections.
    pub(super) connections: u32,
    /// Whether they may be of HTTP/2.
    pub(super) http2: bool,
    /// Most bytes of bodies that have arrived.
    pub(super) bodies: u64,
    /// Most bytes that decoders hold.
    pub(super) decoding: u64,
}

impl MemoryLimits {
    /// The most that can come on top of what the process holds when it is ready.
    fn growth(&self, images: u64) -> u64 {
        let connection = match self.http2 {
            true => HTTP2_CONNECTION_BYTES,
            false => CONNECTION_BYTES,
        };
        let connections = u64::from(self.connections) * connection;
        [BODY_RESERVE * self.bodies, self.decoding, images]
            .into_iter()
            .fold(connections, u64::saturating_add)
    }

    /// Writes the bound and its parts to the log.
    pub(super) fn announce(&self, classifier: &Classifier) {
        let growth = self.growth(classifier.images_memory());
        match resident() {
            Some(base) => tracing::info!(
                memory_bound_bytes = base.saturating_add(growth),
                now_bytes = base,
                "memory: what is held now, and at most {} MiB for connections, bodies, decoding, waiting images and batches",
                growth >> 20
            ),
            None => tracing::info!(
                "memory: at most {} MiB for connections, bodies, decoding, waiting images and batches, beside what is held now",
                growth >> 20
            ),
        }
    }
}
