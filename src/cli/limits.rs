//! What the limits of `serve` come to on this machine: memory beside what there is, connections beside open files.
//!
//! Told by `doctor`, which takes the flags of `serve` for it.

use clap::Args;

use super::memory_bound::{MemoryBound, MemoryLimits};
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

impl LimitArgs {
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
