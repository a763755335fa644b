//! How much memory the server can come to hold: what it holds when ready, and the sum of its limits.
//!
//! Told by `serve` in the log, and by `doctor`; `docs/RELIABILITY.md` has the formula.

use crate::config::{ImageConfig, MemoryLimit, MemoryRoom, RequestConfig, ServerConfig};
use crate::metrics::resident_memory;
use crate::server::GRPC_CONNECTIONS;
use crate::traces::ExportOptions;

/// Most that one connection of HTTP/1.1 holds besides a body: its read buffer, at most 64 KiB of it in use, and as much
/// for the frame taken from it, the answer, two tasks and TLS. An idle one holds an eighth to a quarter of it.
const CONNECTION_BYTES: u64 = 128 << 10;

/// Most that one of HTTP/2 holds: 1 MiB of bodies under way unasked, and for each of 64 streams 16 KiB of headers and
/// 64 KiB of an answer.
const HTTP2_CONNECTION_BYTES: u64 = 6 << 20;

/// Most that one of gRPC holds: as one of HTTP/2, with 16 KiB of each answer.
const GRPC_CONNECTION_BYTES: u64 = 3 << 20;

/// A body grows by doubling, so that up to twice what has arrived is reserved while it does.
const BODY_RESERVE: u64 = 2;

/// Most that a span takes which waits to be exported: that of a request with all its attributes, and as much for the
/// message in which it leaves.
const SPAN_BYTES: u64 = 4 << 10;

/// The limits that bound the memory, `classifier`'s own apart.
pub(super) struct MemoryLimits {
    /// Most connections.
    connections: u32,
    /// Whether the connections may be of HTTP/2.
    http2: bool,
    /// Most connections of gRPC.
    grpc_connections: u32,
    /// Most bytes of bodies that have arrived.
    bodies: u64,
    /// Most bytes that decoders hold.
    decoding: u64,
    /// Most spans that wait to be exported.
    spans: u64,
}

impl MemoryLimits {
    /// The limits that the flags set.
    pub(super) fn new(
        server: &ServerConfig,
        images: &ImageConfig,
        requests: &RequestConfig,
    ) -> MemoryLimits {
        MemoryLimits {
            connections: server.max_connections,
            http2: server.http2,
            grpc_connections: match server.grpc_port {
                Some(_) => server.max_connections.min(GRPC_CONNECTIONS),
                None => 0,
            },
            bodies: requests.body_memory_bytes() + requests.max_body_bytes,
            decoding: images.decode_memory,
            spans: 0,
        }
    }

    /// The limits with the spans of the traces that are exported, if any are.
    pub(super) fn with_traces(self, traces: Option<&ExportOptions>) -> MemoryLimits {
        let spans = traces.map_or(0, |traces| traces.queue.capacity as u64);
        MemoryLimits { spans, ..self }
    }

    fn connections_memory(&self) -> u64 {
        let connection = match self.http2 {
            true => HTTP2_CONNECTION_BYTES,
            false => CONNECTION_BYTES,
        };
        let grpc = u64::from(self.grpc_connections) * GRPC_CONNECTION_BYTES;
        u64::from(self.connections) * connection + grpc
    }

    /// The most that can come on top of what the process holds when it is ready.
    fn growth(&self, images: u64) -> u64 {
        let connections = self.connections_memory();
        [
            BODY_RESERVE.saturating_mul(self.bodies),
            self.decoding,
            images,
            SPAN_BYTES.saturating_mul(self.spans),
        ]
        .into_iter()
        .fold(connections, u64::saturating_add)
    }

    /// The bound, with `images` bytes for what is `classifier`'s, beside what there is.
    pub(super) fn bound(&self, images: u64, room: MemoryRoom) -> MemoryBound {
        let base = resident_memory();
        let growth = self.growth(images);
        let bound = base.unwrap_or(0).saturating_add(growth);
        let limit = room.limit();
        let excess = limit.filter(|limit| limit.bytes() < bound).map(|limit| {
            let mib = limit.bytes() >> 20;
            let (limit, remedy) = match limit {
                MemoryLimit::Cgroup(_) => (
                    format!("the cgroup's memory limit is {mib} MiB"),
                    "Raise the limit",
                ),
                MemoryLimit::Machine(_) => (
                    format!("this machine has {mib} MiB of memory"),
                    "Take a machine with more",
                ),
            };
            format!(
                "{limit}, below the bound of {} MiB: under full load the kernel would end the server. {remedy}, or \
                 lower {}",
                bound >> 20,
                self.largest_parts(images)
            )
        });
        MemoryBound {
            base,
            growth,
            bound,
            limit,
            excess,
        }
    }

    /// The flags behind the parts of the bound with what they take, the largest first.
    fn largest_parts(&self, images: u64) -> String {
        let connections = self.connections_memory();
        let mut parts = [
            ("--max-connections", connections),
            ("--body-memory", BODY_RESERVE.saturating_mul(self.bodies)),
            ("--decode-memory", self.decoding),
            ("--max-batch-size", images),
        ];
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let text = |(flag, bytes): &(&str, u64)| format!("{flag} ({} MiB)", bytes >> 20);
        parts.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// What [`MemoryLimits::bound`] finds.
pub(super) struct MemoryBound {
    /// Bytes held now, where the system tells.
    base: Option<u64>,
    /// Bytes that can come on top.
    growth: u64,
    /// The bytes of both together.
    pub(super) bound: u64,
    /// The memory that there is, where that is known.
    limit: Option<MemoryLimit>,
    /// What to do if the limit is less than the bound.
    excess: Option<String>,
}

impl MemoryBound {
    /// Writes it to the log, and warns if there is less.
    pub(super) fn announce(&self) {
        let growth = self.growth >> 20;
        match self.base {
            Some(base) => tracing::info!(
                memory_bound_bytes = self.bound,
                now_bytes = base,
                "memory: what is held now, and at most {growth} MiB for connections, bodies, decoding, waiting images and batches",
            ),
            None => tracing::info!(
                "memory: at most {growth} MiB for connections, bodies, decoding, waiting images and batches, beside what is held now",
            ),
        }
        if let Some(excess) = &self.excess {
            tracing::warn!(
                memory_bound_bytes = self.bound,
                memory_limit_bytes = self.limit.map(MemoryLimit::bytes),
                "{excess}"
            );
        }
    }
}

/// A row for people.
impl std::fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {} MiB; ", self.bound >> 20)?;
        match (self.limit, &self.excess) {
            (_, Some(excess)) => write!(f, "TOO LITTLE: {excess}"),
            (Some(MemoryLimit::Cgroup(bytes)), None) => {
                write!(f, "the cgroup allows {} MiB", bytes >> 20)
            }
            (Some(MemoryLimit::Machine(bytes)), None) => {
                write!(f, "this machine has {} MiB", bytes >> 20)
            }
            (None, None) => f.write_str("how much there is, the system does not tell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        server: ServerConfig,
        #[command(flatten)]
        images: ImageConfig,
        #[command(flatten)]
        requests: RequestConfig,
    }

    #[test]
    fn body_that_is_allowed_counts_also_above_the_memory_for_bodies() {
        let flags = ["", "--body-memory", "2MiB", "--max-body-bytes", "2MiB"];
        let flags = Flags::try_parse_from(flags).expect("flags");
        let limits = MemoryLimits::new(&flags.server, &flags.images, &flags.requests);
        assert_eq!(limits.bodies, 4 << 20);
    }

    #[test]
    fn bound_is_compared_with_the_cgroups_limit_and_with_the_machines_memory() {
        let flags = Flags::try_parse_from([""]).expect("flags");
        let limits = MemoryLimits::new(&flags.server, &flags.images, &flags.requests);
        let told = |cgroup, machine| limits.bound(0, MemoryRoom { cgroup, machine }).to_string();
        let (little, much) = (Some(64 << 20), Some(1 << 50));
        for (cgroup, machine, words) in [
            (
                little,
                much,
                "; TOO LITTLE: the cgroup's memory limit is 64 MiB, below the bound of ",
            ),
            (
                little,
                None,
                "; TOO LITTLE: the cgroup's memory limit is 64 MiB, below the bound of ",
            ),
            (
                None,
                little,
                "; TOO LITTLE: this machine has 64 MiB of memory, below the bound of ",
            ),
            (
                much,
                little,
                "; TOO LITTLE: this machine has 64 MiB of memory, below the bound of ",
            ),
            (much, None, "; the cgroup allows 1073741824 MiB"),
            (None, much, "; this machine has 1073741824 MiB"),
            (None, None, "; how much there is, the system does not tell"),
        ] {
            let told = told(cgroup, machine);
            assert!(told.contains(words), "{told}");
            let advises = told.contains("or lower --max-connections (1280 MiB)");
            assert_eq!(advises, words.contains("TOO LITTLE"), "{told}");
        }
    }
}
