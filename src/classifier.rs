//! One image in, a ranking with labels out: the way through preprocess, batcher and postprocess, protocol-free.
//!
//! Called by `http`, `resnet classify` and `resnet eval`; they get the same answers because all come through here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::batcher::{BatchAnswer, BatchPolicy, Batcher, Entry, Lane, StartError};
use crate::engine::EngineError;
use crate::metrics::Metrics;
use crate::postprocess::{self, NotFinite, Ranked};
use crate::preprocess::{
    ExifMode, ImageInfo, ImageOptions, Pool, PreprocessError, Preprocessed, Preprocessor,
};
use crate::registry::{Label, LoadedModel, OutputKind};
use crate::tensor::Image;

/// Sizes of the classifier's pools and queues.
#[derive(Debug, Clone)]
pub struct ClassifierOptions {
    /// How images are decoded and what they may cost.
    pub images: ImageOptions,
    /// Batch forming, and the number of engine threads.
    pub batching: BatchPolicy,
    /// Threads that decode and resize.
    pub prep_threads: usize,
    /// Images that may be accepted and not yet running, in all.
    pub queue_capacity: usize,
}

/// A model that is being served.
#[derive(Debug)]
pub struct ServedModel {
    /// What it is.
    pub info: LoadedModel,
    preprocessor: Preprocessor,
    lane: usize,
}

impl ServedModel {
    /// One image as its network takes it: normalization is left to a network that does it itself.
    fn preprocess(
        &self,
        bytes: &[u8],
        exif: ExifMode,
        canceled: &dyn Fn() -> bool,
    ) -> Result<Preprocessed<Image>, PreprocessError> {
        let preprocessor = &self.preprocessor;
        match self.info.model.spec().takes_bytes {
            true => Ok(preprocessor.crop(bytes, exif, canceled)?.into_image()),
            false => Ok(preprocessor.run(bytes, exif, canceled)?.into_image()),
        }
    }
}

/// How one image is to be classified.
#[derive(Debug, Clone, Copy)]
pub struct ClassifyOptions {
    /// Classes in the answer, 1 to the number of classes.
    pub top_k: usize,
    /// Whether to turn the image upright.
    pub exif: ExifMode,
}

impl Default for ClassifyOptions {
    /// Five classes, upright.
    fn default() -> Self {
        ClassifyOptions {
            top_k: 5,
            exif: ExifMode::Apply,
        }
    }
}

/// The answer for one image.
#[derive(Debug)]
pub struct Classification {
    /// Most probable first.
    pub predictions: Vec<Prediction>,
    /// What the image is.
    pub image: ImageInfo,
    /// The network's raw output, one value a class.
    pub output: Vec<f32>,
    /// Where the time went.
    pub timings: Timings,
}

/// One class of an answer.
#[derive(Debug)]
pub struct Prediction {
    /// Position in the network's output.
    pub class_index: usize,
    /// 0 to 1.
    pub probability: f32,
    /// The names of the class.
    pub label: Label,
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
    /// Images in that batch.
    pub batch_size: usize,
}

/// Why an image has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The image's fault.
    #[error(transparent)]
    Image(#[from] PreprocessError),
    /// Decoding panicked; the text of the panic is in the log.
    #[error("decoding panicked")]
    DecodePanicked,
    /// The network's fault.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network answered something that is no number.
    #[error(transparent)]
    Output(#[from] NotFinite),
    /// The classifier is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// More images are waiting than the queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} images are waiting, the queue holds {capacity}")]
pub struct QueueFull {
    /// Images accepted and not yet running.
    pub waiting: usize,
    /// The limit.
    pub capacity: usize,
}

/// Models, pools and queue of one server.
#[derive(Debug)]
pub struct Classifier {
    models: Vec<Arc<ServedModel>>,
    places: Arc<Semaphore>,
    options: ClassifierOptions,
    metrics: Arc<Metrics>,
    // Dropped in this order: images being decoded still reach the batcher, which then answers what it holds.
    pool: Pool,
    batcher: Arc<Batcher>,
}

/// An image on its way; its work is dropped if this is.
#[derive(Debug)]
pub struct Pending {
    model: Arc<ServedModel>,
    options: ClassifyOptions,
    prepared: oneshot::Receiver<Result<Prepared, PreprocessError>>,
    answer: oneshot::Receiver<Result<BatchAnswer, EngineError>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Prepared {
    waited: Duration,
    image: ImageInfo,
    decode: Duration,
    preprocess: Duration,
}

impl Classifier {
    /// Starts the threads and warms every model up; the first model is the default.
    ///
    /// # Errors
    /// [`StartError`] if a thread or an engine does not start.
    ///
    /// # Panics
    /// If `models` is empty.
    pub fn start(
        models: Vec<LoadedModel>,
        options: ClassifierOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Classifier, StartError> {
        assert!(!models.is_empty(), "a classifier needs a model");
        let lanes = models
            .iter()
            .map(|m| Lane {
                name: m.name.clone(),
                model: Arc::clone(&m.model),
            })
            .collect();
        let batcher = Arc::new(Batcher::start(lanes, options.batching, &metrics)?);
        let pool = Pool::start("prep", options.prep_threads)?;
        let serve = |(lane, info): (usize, LoadedModel)| {
            let preprocessor = Preprocessor::new(info.preprocess.clone(), options.images.clone());
            Arc::new(ServedModel {
                info,
                preprocessor,
                lane,
            })
        };
        let models = models.into_iter().enumerate().map(serve).collect();
        let places = Arc::new(Semaphore::new(options.queue_capacity));
        Ok(Classifier {
            models,
            places,
            options,
            metrics,
            pool,
            batcher,
        })
    }

    /// The served models, the default first.
    #[must_use]
    pub fn models(&self) -> &[Arc<ServedModel>] {
        &self.models
    }

    /// The model of this name; the default without one.
    #[must_use]
    pub fn model(&self, name: Option<&str>) -> Option<&Arc<ServedModel>> {
        match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|m| m.info.name == name),
        }
    }

    /// Images waiting in a model's queue.
    #[must_use]
    pub fn queue_depth(&self, model: &ServedModel) -> usize {
        self.batcher.depth(model.lane)
    }

    /// Bytes that decoders hold at the moment.
    #[must_use]
    pub fn decode_memory_in_use(&self) -> u64 {
        self.options.images.memory.in_use()
    }

    /// Looks whether there is a place in the queue, without taking it.
    ///
    /// # Errors
    /// [`QueueFull`] if there is none.
    pub fn check_places(&self) -> Result<(), QueueFull> {
        match self.places.available_permits() {
            0 => Err(self.queue_full(0)),
            _ => Ok(()),
        }
    }

    fn queue_full(&self, free: usize) -> QueueFull {
        let capacity = self.options.queue_capacity;
        QueueFull {
            waiting: capacity - free,
            capacity,
        }
    }

    /// Reserves places in the queue for `images` images, all or none.
    ///
    /// # Errors
    /// [`QueueFull`] at once, if there are not enough.
    pub fn admit(&self, images: usize) -> Result<Vec<OwnedSemaphorePermit>, QueueFull> {
        let full = self.queue_full(self.places.available_permits());
        let count = u32::try_from(images).map_err(|_| full)?;
        match Arc::clone(&self.places).try_acquire_many_owned(count) {
            Ok(mut places) => Ok((0..images).filter_map(|_| places.split(1)).collect()),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(full),
        }
    }

    /// Waits for a place in the queue: for callers that can wait, as a command line does.
    pub async fn place(&self) -> OwnedSemaphorePermit {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }

    /// Starts to classify an image; the answer is waited for with [`Pending::wait`].
    #[must_use]
    pub fn submit(
        &self,
        model: &Arc<ServedModel>,
        image: Bytes,
        options: ClassifyOptions,
        place: OwnedSemaphorePermit,
    ) -> Pending {
        let (prepared_to, prepared) = oneshot::channel();
        let (answer_to, answer) = oneshot::channel();
        let job = Job {
            model: Arc::clone(model),
            batcher: Arc::clone(&self.batcher),
            metrics: Arc::clone(&self.metrics),
            submitted: Instant::now(),
            image,
            exif: options.exif,
            place,
            prepared: prepared_to,
            answer: answer_to,
        };
        let span = tracing::Span::current();
        // A closed pool drops the job and with it the channels, which `wait` reports.
        let _ = self.pool.submit(move || span.in_scope(|| job.run()));
        Pending {
            model: Arc::clone(model),
            options,
            prepared,
            answer,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// What a `prep-N` thread does for one image.
struct Job {
    model: Arc<ServedModel>,
    batcher: Arc<Batcher>,
    metrics: Arc<Metrics>,
    submitted: Instant,
    image: Bytes,
    exif: ExifMode,
    place: OwnedSemaphorePermit,
    prepared: oneshot::Sender<Result<Prepared, PreprocessError>>,
    answer: oneshot::Sender<Result<BatchAnswer, EngineError>>,
}

impl Job {
    fn run(self) {
        if self.prepared.is_closed() {
            self.metrics
                .requests_canceled
                .with_label_values(&["decode"])
                .inc();
            return; // its client has gone
        }
        let waited = self.submitted.elapsed();
        let encoded_len = self.image.len();
        let canceled = || self.prepared.is_closed();
        let result = self.model.preprocess(&self.image, self.exif, &canceled);
        drop(self.image);
        match result {
            Ok(Preprocessed {
                image,
                info,
                decode,
                preprocess,
            }) => {
                let format = [info.format.name()];
                self.metrics
                    .image_bytes
                    .with_label_values(&format)
                    .observe(encoded_len as f64);
                let pixels = f64::from(info.width) * f64::from(info.height);
                self.metrics
                    .image_pixels
                    .with_label_values(&format)
                    .observe(pixels);
                let entry = Entry {
                    image,
                    arrived: Instant::now(),
                    reply: self.answer,
                    place: self.place,
                };
                // A closed batcher drops the entry, which `wait` reports.
                let _ = self.batcher.submit(self.model.lane, entry);
                let _ = self.prepared.send(Ok(Prepared {
                    waited,
                    image: info,
                    decode,
                    preprocess,
                }));
            }
            Err(PreprocessError::Canceled) => self
                .metrics
                .requests_canceled
                .with_label_values(&["decode"])
                .inc(),
            Err(e) => {
                if let PreprocessError::Panicked { format } = e {
                    let panics = &self.metrics.decode_panics;
                    panics.with_label_values(&[format.name()]).inc();
                }
                let _ = self.prepared.send(Err(e));
            }
        }
    }
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ClassifyError`]: this image's alone.
    pub async fn wait(self) -> Result<Classification, ClassifyError> {
        // The sender is only lost when the job panicked; during shutdown jobs still run.
        let prepared = self
            .prepared
            .await
            .map_err(|_| ClassifyError::DecodePanicked)??;
        let answer = self
            .answer
            .await
            .map_err(|_| ClassifyError::ShuttingDown)??;
        let timings = Timings {
            decode: prepared.decode,
            preprocess: prepared.preprocess,
            queue: prepared.waited + answer.queue,
            infer: answer.infer,
            batch_size: answer.batch_size,
        };
        timings.observe(&self.metrics);
        let info = &self.model.info;
        let ranked = match info.output {
            OutputKind::Logits => postprocess::rank_logits(&answer.output, self.options.top_k)?,
            OutputKind::Probabilities => {
                postprocess::rank_probabilities(&answer.output, self.options.top_k)?
            }
        };
        let name = |Ranked {
                        class_index,
                        probability,
                    }: Ranked| {
            let label = info
                .labels
                .get(class_index)
                .expect("a loaded model has a label a class")
                .clone();
            Prediction {
                class_index,
                probability,
                label,
            }
        };
        let predictions = ranked.into_iter().map(name).collect();
        Ok(Classification {
            predictions,
            image: prepared.image,
            output: answer.output,
            timings,
        })
    }
}

impl Timings {
    fn observe(&self, metrics: &Metrics) {
        let stages = [
            ("decode", self.decode),
            ("preprocess", self.preprocess),
            ("queue", self.queue),
            ("infer", self.infer),
        ];
        for (stage, time) in stages {
            metrics
                .stage_duration
                .with_label_values(&[stage])
                .observe(time.as_secs_f64());
        }
    }
}
