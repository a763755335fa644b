//! How much memory the server can come to hold: what it holds when ready, and the sum of its limits.
//!
//! Told by `serve` in the log; `docs/RELIABILITY.md` has the formula.

use crate::classifier::Classifier;
use crate::config::{RequestConfig, ServerConfig};

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

/// The most that can come on top of what the process holds when it is ready.
fn growth(server: &ServerConfig, requests: &RequestConfig, decode_memory: u64, images: u64) -> u64 {
    let connection = match server.http2 {
        true => HTTP2_CONNECTION_BYTES,
        false => CONNECTION_BYTES,
    };
    let connections = u64::from(server.max_connections) * connection;
    let bodies = BODY_RESERVE
        * (requests.body_memory.max(requests.max_body_bytes) + requests.max_body_bytes);
    [bodies, decode_memory, images]
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
    let growth = growth(server, requests, decode_memory, classifier.images_memory());
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
