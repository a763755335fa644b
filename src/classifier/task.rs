//! What the `prep-N` threads do: an image's job, or a computation that has no business on tokio's threads.
//!
//! Queued by `Classifier` in the turn of its client.

use tokio::sync::oneshot;

use super::image_task::ImageTask;
use crate::fair_queue::ClientId;
use crate::preprocess::{self, UnderWay};

/// One piece of work for a prep thread.
pub(super) enum Task {
    Image(Box<ImageTask>),
    Computation {
        client: ClientId,
        run: Box<dyn FnOnce() + Send>,
    },
}

impl Task {
    /// A computation, and where its result comes; nothing comes if it panics.
    pub(super) fn computation<T: Send + 'static>(
        client: ClientId,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> (Task, oneshot::Receiver<T>) {
        let (tell, told) = oneshot::channel();
        // The request's, so that what the log tells of a panic has its id.
        let span = tracing::Span::current();
        let run = Box::new(move || {
            if !tell.is_closed() {
                let _ = tell.send(span.in_scope(compute)); // fails if nobody waits any more
            }
        });
        (Task::Computation { client, run }, told)
    }
}

impl preprocess::PoolTask for Task {
    fn client(&self) -> ClientId {
        match self {
            Task::Image(job) => job.client(),
            Task::Computation { client, .. } => *client,
        }
    }

    fn is_image(&self) -> bool {
        matches!(self, Task::Image(_))
    }

    fn run(self, may_run_large: &dyn Fn() -> bool, under_way: UnderWay) -> Option<Task> {
        match self {
            Task::Image(job) => {
                let postponed = job.run(may_run_large, under_way);
                postponed.map(|job| Task::Image(Box::new(job)))
            }
            Task::Computation { run, .. } => {
                run();
                None
            }
        }
    }
}
