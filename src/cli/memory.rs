//! How much memory the server can come to hold: what it holds when ready, and the sum of its limits.
//!
//! Told by `serve` in the log; `docs/RELIABILITY.md` has the formula.

use crate::classifier::Classifier;
use crate::config::{RequestConfig, ServerConfig};

/// Most that one connection holds besides a body: hyper's read buffer, at most `MAX_HEAD_BYTES`, the frame taken from it,
/// the answer being written and two tasks. An idle one holds a quarter of it.
const CONNECTION_BYTES: u64 = 64 << 10;

/// A body grows by doubling, so that up to twice what has arrived is reserved while it does.
const BODY_RESERVE: u64 = 2;

/// Resident memory of this process, in bytes; unknown where there is no `/proc`.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib << 10)
}

/// The most that can come on top of what the process holds when it is ready.
fn growth(
    server: &ServerConfig,
    requests: &RequestConfig,
    decode_memory: u64,
    image_bytes: u64,
) -> u64 {
    let connections = u64::from(server.max_connections) * CONNECTION_BYTES;
    let bodies = BODY_RESERVE
        * (requests.body_memory.max(requests.max_body_bytes) + requests.max_body_bytes);
    let queue = requests.queue_capacity as u64 * image_bytes;
    [bodies, decode_memory, queue]
        .into_iter()
        .fold(connections, u64::saturating_add)
}

/// Writes the bound and its parts to the log.
pub(super) fn announce(
    server: &ServerConfig,
    requests: &RequestConfig,
    decode_memory: u64,
    classifier: &Classifier,
) {
    let image = |m: &std::sync::Arc<crate::classifier::ServedModel>| m.image_bytes();
    let image_bytes = classifier.models().iter().map(image).max().unwrap_or(0);
    let growth = growth(server, requests, decode_memory, image_bytes);
    match resident() {
        Some(base) => tracing::info!(
            memory_bound_bytes = base.saturating_add(growth),
            now_bytes = base,
            "memory: what is held now, and at most {} MiB for connections, bodies, decoding and waiting images",
            growth >> 20
        ),
        None => tracing::info!(
            "memory: at most {} MiB for connections, bodies, decoding and waiting images, beside what is held now",
            growth >> 20
        ),
    }
}
