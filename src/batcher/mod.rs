//! Collects waiting images into batches and runs them on the `engine-N` threads.
//!
//! Owned by `classifier`. One lane (queue) a model, one set of workers for all of them, sized by the CPU budget; the lane
//! whose oldest image has waited longest goes first. Entries whose client has gone are dropped without running.

mod policy;
mod queue;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::engine::{EngineError, Model};
use crate::metrics::Metrics;
use crate::tensor::Image;

pub use self::policy::{BatchPolicy, Decision};

use self::queue::Queue;

/// One image's output and what it took to get it.
#[derive(Debug)]
pub struct BatchAnswer {
    /// The network's output for this image.
    pub output: Vec<f32>,
    /// Time between arrival and the start of its batch.
    pub queue: Duration,
    /// Time its batch ran.
    pub infer: Duration,
    /// Images in its batch.
    pub batch_size: usize,
}

/// An image on its way through the batcher.
#[derive(Debug)]
pub struct Entry {
    /// As its model takes it.
    pub image: Image,
    /// When it was handed over.
    pub arrived: Instant,
    /// Where the answer goes; closed when the client has gone.
    pub reply: oneshot::Sender<Result<BatchAnswer, EngineError>>,
    /// Its place in the queue, given back when its batch starts.
    pub place: OwnedSemaphorePermit,
}

/// A model as the batcher sees it.
pub struct Lane {
    /// Name for metrics.
    pub name: String,
    /// Spawns the workers' engines.
    pub model: Arc<dyn Model>,
}

/// The batcher is shutting down and takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batcher is closed")]
pub struct BatcherClosed;

/// Handle to the queue and its workers.
pub struct Batcher {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
}

impl Batcher {
    /// Starts the workers; returns when each has spawned and warmed up an engine for every lane.
    ///
    /// # Errors
    /// If the system refuses a thread or an engine fails its warm-up.
    pub fn start(
        lanes: Vec<Lane>,
        policy: BatchPolicy,
        metrics: &Arc<Metrics>,
    ) -> Result<Batcher, StartError> {
        let lanes: Arc<[Lane]> = lanes.into();
        let queue = Arc::new(Queue::new(lanes.len(), policy));
        // Dropping the batcher on an early return ends the workers that did start.
        let mut batcher = Batcher {
            queue: Arc::clone(&queue),
            workers: Vec::new(),
        };
        let (warm, warmed) = std::sync::mpsc::channel();
        for i in 0..policy.workers {
            let (queue, lanes, metrics, warm) = (
                Arc::clone(&queue),
                Arc::clone(&lanes),
                Arc::clone(metrics),
                warm.clone(),
            );
            let run = move || worker::run(&queue, &lanes, &metrics, &warm);
            batcher.workers.push(
                std::thread::Builder::new()
                    .name(format!("engine-{i}"))
                    .spawn(run)?,
            );
        }
        drop(warm); // a worker that panics drops the last sender, which ends the wait
        for _ in 0..policy.workers {
            warmed.recv().unwrap_or(Err(EngineError::Panicked))?;
        }
        Ok(batcher)
    }

    /// Queues an image for the model in `lane`.
    ///
    /// # Errors
    /// [`BatcherClosed`] during shutdown; the entry is dropped, and with it its reply channel.
    pub fn submit(&self, lane: usize, entry: Entry) -> Result<(), BatcherClosed> {
        self.queue.push(lane, entry)
    }

    /// Images waiting in a lane.
    #[must_use]
    pub fn depth(&self, lane: usize) -> usize {
        self.queue.depth(lane)
    }
}

/// Why the batcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread.
    #[error("cannot start an engine thread: {0}")]
    Thread(#[from] std::io::Error),
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Drop for Batcher {
    /// Answers what is queued, then ends the workers.
    fn drop(&mut self) {
        self.queue.close();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("an engine thread had panicked");
            }
        }
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
