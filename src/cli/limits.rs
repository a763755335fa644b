//! What the limits of `serve` come to on this machine: memory beside what there is, connections beside open files.
//!
//! Told by `doctor`, which takes the flags of `serve` for it.

use std::time::Duration;

use clap::Args;

use super::memory_bound::{MemoryBound, MemoryLimits};
use super::output::UsageError;
use crate::batcher::BatchPolicy;
use crate::classifier::{ImageSize, images_memory_bound};
use crate::config::{
    EngineConfig, ImageConfig, MemoryRoom, RequestConfig, ServerConfig, ThreadPlan,
};
use crate::server::OpenFiles;

/// The flags of `serve` that limit what it takes.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    #[command(flatten)]
    server: ServerConfig,
    #[command(flatten)]
    images: ImageConfig,
    #[command(flatten)]
    requests: RequestConfig,
}

/// Refuses flags of `serve` that contradict each other.
///
/// # Errors
/// A usage error with both flags.
pub(super) fn refuse_contradictions(
    server: &ServerConfig,
    images: &ImageConfig,
    requests: &RequestConfig,
) -> Result<(), UsageError> {
    if requests.max_images > requests.queue_capacity {
        return Err(UsageError(format!(
            "--max-images {} is more than --queue-capacity {}: such a request could never be accepted",
            requests.max_images, requests.queue_capacity
        )));
    }
    if let Some(memory) = requests.body_memory
        && memory < requests.max_body_bytes
    {
        return Err(UsageError(format!(
            "--body-memory {memory} bytes is less than --max-body-bytes {} bytes: such a body could never be read",
            requests.max_body_bytes
        )));
    }
    if requests.watchdog_timeout <= images.decode_timeout {
        let seconds = |time: Duration| time.as_secs_f64();
        return Err(UsageError(format!(
            "--watchdog-timeout {} s is not more than --decode-timeout {} s: an image that waits for memory would count as stuck",
            seconds(requests.watchdog_timeout),
            seconds(images.decode_timeout)
        )));
    }
    let admin = server.admin_address.map(|address| address.port());
    let ports = [
        ("--port", Some(server.port)),
        ("--grpc-port", server.grpc_port),
        ("--admin-address", admin.filter(|_| is_here(server))),
    ];
    for (i, (flag, port)) in ports.iter().enumerate() {
        // With 0 each gets a port of its own.
        let same = |other: &&(&str, Option<u16>)| port.is_some_and(|p| p != 0 && other.1 == *port);
        if let (Some((other, _)), Some(port)) = (ports[..i].iter().find(same), port) {
            return Err(UsageError(format!(
                "{flag} is on port {port}, and so is {other}: give each a port of its own"
            )));
        }
    }
    Ok(())
}

/// Whether the addresses of the two ports overlap.
fn is_here(server: &ServerConfig) -> bool {
    server.admin_address.is_some_and(|admin| {
        admin.ip() == server.host || admin.ip().is_unspecified() || server.host.is_unspecified()
    })
}

impl LimitArgs {
    /// Refuses flags that contradict each other, as `serve` does.
    ///
    /// # Errors
    /// A usage error with both flags.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        refuse_contradictions(&self.server, &self.images, &self.requests)
    }

    /// The bound of the memory with these models, beside what there is.
    pub(super) fn memory(
        &self,
        models: &[ImageSize],
        engine: &EngineConfig,
        threads: ThreadPlan,
        room: MemoryRoom,
    ) -> MemoryBound {
        let batching = BatchPolicy {
            max_batch_size: engine.max_batch_size,
            max_queue_delay: engine.max_queue_delay,
            workers: threads.engine,
        };
        let images = images_memory_bound(models, self.requests.queue_capacity, &batching);
        let limits = MemoryLimits::new(&self.server, &self.images, &self.requests);
        limits.bound(images, room)
    }

    /// The most connections under these limits of open files: as many as the flags ask for, or fewer.
    pub(super) fn connections_allowed(&self, files: &OpenFiles) -> u64 {
        let wanted = self.server.max_connections;
        files.connections_allowed(wanted).unwrap_or(wanted.into())
    }

    /// The limits of open files, and whether they leave room for the connections.
    pub(super) fn open_files(&self, files: &OpenFiles) -> String {
        let number =
            |limit: Option<u64>| limit.map_or_else(|| "no limit".into(), |n| n.to_string());
        let wanted = self.server.max_connections;
        let room = match files.connections_allowed(wanted) {
            None => format!("room for --max-connections {wanted}"),
            Some(allowed) => {
                format!("TOO FEW: room for {allowed} connections, --max-connections is {wanted}")
            }
        };
        let (soft, hard) = (number(files.soft), number(files.hard));
        match soft == hard {
            true => format!("{soft}: {room}"),
            false => format!("{soft}, raised to {hard} by serve: {room}"),
        }
    }
}
