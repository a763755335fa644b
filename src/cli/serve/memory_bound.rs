//! How much memory the server can come to hold: what it holds when ready, and the sum of its limits.
//!
//! Told by `serve` in the log; `docs/RELIABILITY.md` has the formula.

use crate::classifier::Classifier;
use crate::config::memory_limit;
use crate::metrics::resident_memory;

/// Most that one connection of HTTP/1.1 holds besides a body: its read buffer, at most 64 KiB of it in use, and as much
/// for the frame taken from it, the answer, two tasks and TLS. An idle one holds an eighth to a quarter of it.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Most that one of HTTP/2 holds: 1 MiB of bodies under way unasked, and for each of 64 streams 16 KiB of headers and
/// 64 KiB of an answer.
const HTTP2_CONNECTION_BYTES: u64 = 6 << 20;

/// A body grows by doubling, so that up to twice what has arrived is reserved while it does.
const BODY_RESERVE: u64 = 2;

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
    fn connections_memory(&self) -> u64 {
        let connection = match self.http2 {
            true => HTTP2_CONNECTION_BYTES,
            false => CONNECTION_BYTES,
        };
        u64::from(self.connections) * connection
    }

    /// The most that can come on top of what the process holds when it is ready.
    fn growth(&self, images: u64) -> u64 {
        let connections = self.connections_memory();
        [
            BODY_RESERVE.saturating_mul(self.bodies),
            self.decoding,
            images,
        ]
        .into_iter()
        .fold(connections, u64::saturating_add)
    }

    /// Writes the bound and its parts to the log, and warns if the cgroup allows less.
    pub(super) fn announce(&self, classifier: &Classifier) {
        let images = classifier.images_memory();
        let growth = self.growth(images);
        let base = resident_memory();
        match base {
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
        let bound = base.unwrap_or(0).saturating_add(growth);
        if let Some(limit) = memory_limit().filter(|limit| *limit < bound) {
            tracing::warn!(
                memory_bound_bytes = bound,
                memory_limit_bytes = limit,
                "the cgroup's memory limit is {} MiB, below the bound of {} MiB: under full load the kernel would end \
                 the server. Raise the limit, or lower {}",
                limit >> 20,
                bound >> 20,
                self.largest_parts(images)
            );
        }
    }

    /// The flags behind the parts of the bound with what they take, the largest first.
    fn largest_parts(&self, images: u64) -> String {
        let connections = self.connections_memory();
        let mut parts = [
            ("--max-connections", connections),
            ("--body-memory", BODY_RESERVE.saturating_mul(self.bodies)),
            ("--decode-memory", self.decoding),
            ("--queue-capacity", images),
        ];
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let text = |(flag, bytes): &(&str, u64)| format!("{flag} ({} MiB)", bytes >> 20);
        parts.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}
