//! Collects waiting images into batches and runs them on the `engine-N` threads.
//!
//! Owned by `classifier`. One lane (queue) a model, one set of workers for all of them, sized by the CPU budget; the
//! lane whose oldest image has waited longest goes first, and clients are served in turn. Entries that nobody waits for
//! any more are dropped without running.

mod admission;
mod backlog;
mod policy;
mod queue;
mod refusal;
mod runs;
#[cfg(all(test, feature = "schedules"))]
mod schedules;
mod service_time;
mod supervisor;
mod sync;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::engine::{EngineError, Further, Model, Wish};
use crate::heartbeat::Heartbeat;
use crate::metrics::Metrics;
use crate::tensor::Image;

pub use self::admission::{Admission, AdmissionPolicy, Ask, Permit};
pub use self::policy::{BatchPolicy, Decision};
pub use self::refusal::Refusal;
pub use self::runs::{RunCounter, Runs};

use self::queue::{Queue, Wait};
use self::supervisor::Supervisor;

/// One image's output and what it took to get it.
#[derive(Debug)]
pub struct BatchAnswer {
    /// The network's output for this image.
    pub output: Vec<f32>,
    /// What was wanted of the image beside its output.
    pub further: Further,
    /// When its batch began.
    pub began: Instant,
    /// Time its batch ran.
    pub infer: Duration,
    /// Images in its batch.
    pub batch_size: usize,
}

/// Why an image has no output.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchError {
    /// The network failed on it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its deadline passed while it waited.
    #[error("the deadline passed before a worker was free")]
    Expired,
}

/// An image on its way through the batcher.
#[derive(Debug)]
pub struct Entry {
    /// The image in the form that its model takes.
    pub image: Image,
    /// What is wanted beside its output.
    pub wish: Wish,
    /// When it was handed over.
    pub arrived: Instant,
    /// When its answer is no longer wanted.
    pub deadline: Option<Instant>,
    /// Where the answer goes; closed when the client has gone. Dropped without an answer if the worker dies.
    pub reply: oneshot::Sender<Result<BatchAnswer, BatchError>>,
    /// Its place in the queue, given back when its batch starts.
    pub permit: Permit,
    /// Held while the image waits, and dropped when its batch starts.
    pub until_run: Box<dyn std::fmt::Debug + Send>,
}

impl Wait for Entry {
    fn arrived(&self) -> Instant {
        self.arrived
    }

    fn is_pointless(&self, now: Instant) -> bool {
        self.reply.is_closed() || self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// A model as the batcher sees it.
pub struct Lane {
    /// Name for metrics.
    pub name: String,
    /// Spawns the workers' engines.
    pub model: Arc<dyn Model>,
    /// Counts its runs.
    pub runs: RunCounter,
}

/// Whether batches are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All workers run batches.
    Well,
    /// Workers died one after the other; nothing new is taken.
    Failed,
}

/// The batcher has failed, or is shutting down, and takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batcher is closed")]
pub struct BatcherClosed;

/// What the workers share.
struct Shared {
    queue: Queue<Entry>,
    lanes: Vec<Lane>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    /// When each worker began its batch at hand, one a worker.
    heartbeats: Vec<Heartbeat>,
}

/// Handle to the queue and its workers.
pub struct Batcher {
    shared: Arc<Shared>,
    supervisor: Supervisor,
    health: watch::Receiver<Health>,
}

impl Batcher {
    /// Starts the workers; returns when each has spawned and warmed up an engine for every lane.
    ///
    /// `admission` is told how long batches take.
    ///
    /// # Errors
    /// If the system refuses a thread or an engine fails its warm-up.
    pub fn start(
        lanes: Vec<Lane>,
        policy: BatchPolicy,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
    ) -> Result<Batcher, StartError> {
        let shared = Arc::new(Shared {
            queue: Queue::new(lanes.len(), policy),
            lanes,
            admission,
            metrics,
            heartbeats: (0..policy.workers).map(|_| Heartbeat::default()).collect(),
        });
        let (tell_health, health) = watch::channel(Health::Well);
        let supervisor = Supervisor::start(Arc::clone(&shared), tell_health)?;
        Ok(Batcher {
            shared,
            supervisor,
            health,
        })
    }

    /// Queues an image for the model in `lane`.
    ///
    /// # Errors
    /// [`BatcherClosed`] after a failure and during shutdown; the entry is dropped, and with it its reply channel.
    pub fn submit(&self, lane: usize, entry: Entry) -> Result<(), BatcherClosed> {
        let client = entry.permit.client();
        self.shared
            .queue
            .push(lane, client, entry)
            .map_err(|_| BatcherClosed)
    }

    /// Images waiting in a lane.
    #[must_use]
    pub fn depth(&self, lane: usize) -> usize {
        self.shared.queue.depth(lane)
    }

    /// The runs of a lane's batches so far, by their size, the smallest first.
    #[must_use]
    pub fn runs(&self, lane: usize) -> Vec<Runs> {
        self.shared.lanes[lane].runs.read()
    }

    /// The counter of a lane's runs.
    #[must_use]
    pub fn run_counter(&self, lane: usize) -> RunCounter {
        self.shared.lanes[lane].runs.clone()
    }

    /// The state of the workers, and each later change of it.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// For how long each worker has been running its batch at hand.
    pub fn busy(&self) -> impl Iterator<Item = Duration> {
        self.shared.heartbeats.iter().map(Heartbeat::busy)
    }
}

/// Why the batcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The thread of a worker cannot be started.
    #[error(
        "cannot start an engine thread: {0} (a limit of memory or of processes, as `ulimit -v` and `ulimit -u` set)"
    )]
    Thread(std::io::Error),
    /// The engine of a worker cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Drop for Batcher {
    /// Answers what is queued, then ends the workers.
    fn drop(&mut self) {
        self.shared.queue.close();
        self.supervisor.join();
    }
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("workers", &self.shared.heartbeats.len())
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
