//! What an image's answer is, and why there may be none.
//!
//! Made by `Pending::wait`, written out by `http` and `cli`.

use std::time::{Duration, Instant};

use super::MaxPixels;
use crate::batcher::BatchError;
use crate::engine::{EngineError, Further};
use crate::metrics::Metrics;
use crate::postprocess::NotFinite;
use crate::preprocess::{ImageInfo, PreprocessError};
use crate::registry::{Label, OutputKind};

/// The answer for one image.
#[derive(Debug)]
pub struct Classification {
    /// Most probable first.
    pub predictions: Vec<Prediction>,
    /// What the network's numbers are, and so what the predictions' are.
    pub kind: OutputKind,
    /// What the image is; none of pixels and values that are no file.
    pub image: Option<ImageInfo>,
    /// The network's raw output, one value a class.
    pub output: Vec<f32>,
    /// What was wanted of the image beside its classes.
    pub further: Further,
    /// When its stages began.
    pub began: Began,
    /// Where the time went.
    pub timings: Timings,
}

/// One class of an answer.
#[derive(Debug)]
pub struct Prediction {
    /// Position in the network's output.
    pub class_index: usize,
    /// 0 to 1; of scores, the network's own number.
    pub probability: f32,
    /// The names of the class.
    pub label: Label,
}

/// When one image's stages began; how long each took is in its [`Timings`].
#[derive(Debug, Clone, Copy)]
pub struct Began {
    /// Waiting for a thread to decode on.
    pub submitted: Instant,
    /// Decoding.
    pub decode: Instant,
    /// Waiting for a worker.
    pub queue: Instant,
    /// The batch's run.
    pub infer: Instant,
}

impl Began {
    /// Time it waited for a thread to decode on.
    #[must_use]
    pub fn waited_to_decode(&self) -> Duration {
        self.decode - self.submitted
    }

    /// Time it waited for a worker.
    #[must_use]
    pub fn waited_to_infer(&self) -> Duration {
        self.infer - self.queue
    }
}

/// Time one image spent in each stage.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// Bytes to pixels.
    pub decode: Duration,
    /// Pixels to the image as the network takes it.
    pub preprocess: Duration,
    /// Waiting: for a thread to decode on, and then for a worker.
    pub queue: Duration,
    /// The batch's run.
    pub infer: Duration,
    /// The network's output to a ranking.
    pub postprocess: Duration,
    /// Images in that batch.
    pub batch_size: usize,
}

/// Why an image has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The image's fault.
    #[error(transparent)]
    Image(#[from] PreprocessError),
    /// Its header says that it has more pixels than [`ClassifyOptions`](super::ClassifyOptions) allow.
    #[error("the image has {got} pixels, allowed for what is wanted of it are {}", max.number())]
    TooManyPixels {
        /// Width times height.
        got: u64,
        /// The limit.
        max: MaxPixels,
    },
    /// Decoding panicked; the text of the panic is in the log.
    #[error("decoding panicked")]
    DecodePanicked,
    /// The network's fault.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The worker that had it ended; the text of its panic is in the log.
    #[error("the worker died")]
    WorkerDied,
    /// The deadline passed before the answer was there.
    #[error("the deadline passed before the image was classified")]
    Expired,
    /// The network answered something that is no number.
    #[error(transparent)]
    Output(#[from] NotFinite),
    /// The network answered that to numbers which its client has sent itself, and which no picture gives.
    #[error("the network has no finite answer to these values: {0}")]
    Values(NotFinite),
    /// The classifier takes nothing more: it is going down, or its workers have failed.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl From<BatchError> for ClassifyError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Engine(e) => ClassifyError::Engine(e),
            BatchError::Expired => ClassifyError::Expired,
        }
    }
}

impl Timings {
    /// The longer of each stage, and the larger batch.
    #[must_use]
    pub fn longest(self, other: Timings) -> Timings {
        Timings {
            decode: self.decode.max(other.decode),
            preprocess: self.preprocess.max(other.preprocess),
            queue: self.queue.max(other.queue),
            infer: self.infer.max(other.infer),
            postprocess: self.postprocess.max(other.postprocess),
            batch_size: self.batch_size.max(other.batch_size),
        }
    }

    /// Counts the stages' times, for a model.
    pub(super) fn observe(&self, metrics: &Metrics, model: &str) {
        let stages = [
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("queue", self.queue),
            ("infer", self.infer),
        ];
        for (stage, time) in stages {
            metrics
                .stage_duration
                .with_label_values(&[stage, model])
                .observe(time.as_secs_f64());
        }
    }
}
