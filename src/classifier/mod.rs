//! One image in, a ranking with labels out: the way through preprocess, batcher and postprocess, protocol-free.
//!
//! Called by the `desk`, `resnet classify` and `resnet eval`; they get the same answers because all come through here.

mod active;
mod answer;
mod image_task;
mod memory;
mod pending;
mod recent_classes;
mod served_model;
mod statistics;
mod task;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::batcher::{
    Admission, AdmissionPolicy, Ask, BatchPolicy, Batcher, Lane, RunCounter, StartError,
};
use crate::fair_queue::ClientId;
use crate::metrics::Metrics;
use crate::preprocess::{ExifMode, Format, ImageOptions, Pool, Preprocessor, Source};
use crate::registry::LoadedModel;

pub use crate::batcher::{Health, Permit, Refusal, Runs};
pub use crate::engine::{ActivationMap, Explain, Further, Wish};

pub use crate::registry::{split_version, version_of};

pub use self::active::{ActiveClassifier, SharedClassifier};
pub use self::answer::{Began, Classification, ClassifyError, Prediction, Timings};
pub use self::memory::{ImageSize, bound as images_memory_bound};
pub use self::pending::Pending;
pub use self::recent_classes::{Frequent, RecentClasses};
pub use self::served_model::ServedModel;
pub use self::statistics::{Served, Statistics, Total};

use self::image_task::ImageTask;
use self::task::Task;

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
    /// Longest estimated wait with which a request is accepted.
    pub max_queue_wait: Duration,
    /// How long one image may be decoded, or one batch run, before its thread counts as stuck.
    pub stuck_after: Duration,
}

/// How one image is to be classified.
#[derive(Debug, Clone, Copy)]
pub struct ClassifyOptions {
    /// Classes in the answer, 1 to the number of classes.
    pub top_k: usize,
    /// Whether to turn the image upright.
    pub exif: ExifMode,
    /// What is wanted beside the classes; of a model that has it.
    pub wish: Wish,
    /// Pixels above which the image is refused by its header, where what is wanted has such a limit.
    pub max_pixels: Option<MaxPixels>,
    /// When the answer is no longer wanted.
    pub deadline: Option<Instant>,
}

/// A limit for an image's pixels, and what it is the limit of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxPixels {
    /// Most pixels of an image on which an overlay is drawn.
    OfDrawing(u64),
    /// Most pixels of an image whose overlay there is memory for.
    OfMemory(u64),
}

impl MaxPixels {
    /// The number of pixels.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            MaxPixels::OfDrawing(max) | MaxPixels::OfMemory(max) => max,
        }
    }
}

impl Default for ClassifyOptions {
    /// Five classes of the upright image, without a deadline.
    fn default() -> Self {
        ClassifyOptions {
            top_k: 5,
            exif: ExifMode::Apply,
            wish: Wish::default(),
            max_pixels: None,
            deadline: None,
        }
    }
}

/// Threads of a pool that have been too long at one image or batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// The pool they belong to: `prep` or `engine`.
    pub pool: &'static str,
    /// How long the longest has been at the same image or batch.
    pub busy: Duration,
    /// Whether as many are stuck as the pool has for images or batches of any size.
    pub all: bool,
}

/// Least number of images that are decoded ahead of the networks, so that some clients have a share of it.
const LEAST_AHEAD: usize = 8;

/// Images that are decoded ahead: a batch for each worker, and so many that some model has a whole batch, which a worker
/// may wait for, when no more are decoded.
fn images_ahead(batching: &BatchPolicy, models: usize) -> usize {
    let batches = batching.workers.max(models);
    batches
        .saturating_mul(batching.max_batch_size)
        .max(LEAST_AHEAD)
}

/// Models, pools and queue of one server.
#[derive(Debug)]
pub struct Classifier {
    models: Vec<Arc<ServedModel>>,
    admission: Arc<Admission>,
    options: ClassifierOptions,
    metrics: Arc<Metrics>,
    // Dropped in this order: images being decoded still reach the batcher, which then answers what it holds.
    pool: Pool<Task>,
    batcher: Arc<Batcher>,
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
        Classifier::start_after(None, models, options, metrics)
    }

    /// Starts a classifier in place of another. Models that both have keep their statistics and their learnt costs.
    ///
    /// # Errors
    /// As of [`Classifier::start`].
    ///
    /// # Panics
    /// As of [`Classifier::start`].
    pub fn start_after(
        before: Option<&Classifier>,
        models: Vec<LoadedModel>,
        options: ClassifierOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Classifier, StartError> {
        let same = |model: &LoadedModel| -> Option<(&Classifier, &ServedModel)> {
            let is_same = |old: &&Arc<ServedModel>| Arc::ptr_eq(&old.info.model, &model.model);
            let before = before?;
            Some((before, before.models.iter().find(is_same)?))
        };
        assert!(!models.is_empty(), "a classifier needs a model");
        let lanes = models
            .iter()
            .map(|m| Lane {
                name: m.name.clone(),
                model: Arc::clone(&m.model),
                runs: same(m).map_or_else(RunCounter::default, |(before, old)| {
                    before.batcher.run_counter(old.lane)
                }),
            })
            .collect();
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.queue_max.set(gauge(options.queue_capacity));
        metrics
            .batch_size_max
            .set(gauge(options.batching.max_batch_size));
        let memory = i64::try_from(options.images.memory.total()).unwrap_or(i64::MAX);
        metrics.decode_memory_max.set(memory);
        metrics.decode(Format::built_in().map(Format::name));
        models.iter().for_each(|model| metrics.serve(&model.name));
        let admission = Admission::new(
            models.len(),
            AdmissionPolicy {
                capacity: options.queue_capacity,
                max_wait: options.max_queue_wait,
                prep_threads: options.prep_threads,
                workers: options.batching.workers,
                max_batch_size: options.batching.max_batch_size,
            },
        );
        for (lane, model) in models.iter().enumerate() {
            if let Some((before, old)) = same(model) {
                admission.learn(lane, &before.admission, old.lane);
            }
        }
        let batcher = Arc::new(Batcher::start(
            lanes,
            options.batching,
            Arc::clone(&admission),
            Arc::clone(&metrics),
        )?);
        let ahead = images_ahead(&options.batching, models.len());
        let pool = Pool::start("prep", options.prep_threads, ahead);
        let pool = pool.map_err(StartError::Thread)?;
        let serve = |(lane, info): (usize, LoadedModel)| {
            let preprocessor = Preprocessor::new(info.preprocess.clone(), options.images.clone());
            let old = same(&info).map(|(_, old)| old);
            let statistics = old.map(|old| Arc::clone(&old.statistics));
            let recent_classes = old.map(|old| Arc::clone(&old.recent_classes));
            let classes = info.labels.len();
            Arc::new(ServedModel {
                info,
                preprocessor,
                lane,
                statistics: statistics.unwrap_or_default(),
                recent_classes: recent_classes.unwrap_or_else(|| RecentClasses::of(classes)),
            })
        };
        let models = models.into_iter().enumerate().map(serve).collect();
        Ok(Classifier {
            models,
            admission,
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

    /// The model of this name; the default without one. The name or `version` may say which version, else it is the
    /// newest.
    #[must_use]
    pub fn model(&self, name: Option<&str>, version: Option<u32>) -> Option<&Arc<ServedModel>> {
        let (name, written) = match name {
            None => (self.models.first()?.info.base_name(), None),
            Some(name) => split_version(name),
        };
        let wanted = match (written, version) {
            (Some(one), Some(other)) if one != other => return None,
            (one, other) => one.or(other),
        };
        let versions = self.models.iter().filter(|m| m.info.base_name() == name);
        match wanted {
            Some(version) => { versions }.find(|m| m.info.version() == version),
            None => versions.max_by_key(|m| m.info.version()),
        }
    }

    /// The versions of this name that are served, the oldest first; none of a name that is not.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<u32> {
        let (name, _) = split_version(name);
        let same = self.models.iter().filter(|m| m.info.base_name() == name);
        let mut versions: Vec<u32> = same.map(|m| m.info.version()).collect();
        versions.sort_unstable();
        versions
    }

    /// The time in which the busy server answers one image of a model; zero as long as none has been.
    #[must_use]
    pub fn time_of_an_answer(&self, model: &ServedModel) -> Duration {
        self.admission.time_of_an_image(model.lane)
    }

    /// Images of a model that have been accepted and are not running: those that are to be decoded, and those that are
    /// ready for a worker.
    #[must_use]
    pub fn queue_depth(&self, model: &ServedModel) -> (usize, usize) {
        let ready = self.batcher.depth(model.lane);
        (
            self.admission.waiting(model.lane).saturating_sub(ready),
            ready,
        )
    }

    /// The runs of a model's batches so far, by their size, the smallest first.
    #[must_use]
    pub fn runs(&self, model: &ServedModel) -> Vec<Runs> {
        self.batcher.runs(model.lane)
    }

    /// How batches are formed.
    #[must_use]
    pub fn batching(&self) -> &BatchPolicy {
        &self.options.batching
    }

    /// Bytes that decoders hold at the moment.
    #[must_use]
    pub fn decode_memory_in_use(&self) -> u64 {
        self.options.images.memory.in_use()
    }

    /// Takes a place for each of `images` images, all or none; their deadline is `left` away. Their request
    /// has `held` places already.
    ///
    /// # Errors
    /// [`Refusal`] at once, if they would have to wait too long, or there are not enough places.
    pub fn admit(
        &self,
        model: &ServedModel,
        client: ClientId,
        images: usize,
        held: usize,
        left: Duration,
    ) -> Result<Vec<Permit>, Refusal> {
        self.admission.admit(&Ask {
            client,
            lane: model.lane,
            images,
            held,
            left,
        })
    }

    /// Takes a place whatever is waiting: for callers who bound their own work, as a command line does.
    #[must_use]
    pub fn enter(&self, model: &ServedModel) -> Permit {
        self.admission.enter(ClientId::LOCAL, model.lane)
    }

    /// Most bytes that images hold from their decoding to their answer.
    #[must_use]
    pub fn images_memory(&self) -> u64 {
        let sizes: Vec<ImageSize> = self.models.iter().map(|m| ImageSize::of(&m.info)).collect();
        memory::bound(&sizes, self.options.queue_capacity, &self.options.batching)
    }

    /// How long one more image would wait for a worker, of the client that has most on their way.
    #[must_use]
    pub fn estimated_wait(&self, model: &ServedModel) -> Duration {
        self.admission.estimated_wait(model.lane)
    }

    /// The state of the workers, and each later change of it.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.batcher.health()
    }

    /// The pool that has threads which have been at one image or batch for too long; the one without a free thread
    /// first.
    #[must_use]
    pub fn stuck(&self) -> Option<Stuck> {
        let stuck = |pool, mut busy: Vec<Duration>, threads| {
            busy.retain(|busy| *busy > self.options.stuck_after);
            Some(Stuck {
                pool,
                busy: *busy.iter().max()?,
                all: busy.len() >= threads,
            })
        };
        let (prep_threads, workers) = (self.options.prep_threads, self.options.batching.workers);
        let pools = [
            stuck("prep", self.pool.busy().collect(), prep_threads),
            stuck("engine", self.batcher.busy().collect(), workers),
        ];
        pools.into_iter().flatten().max_by_key(|stuck| stuck.all)
    }

    /// Computes something on a prep thread, in the turn of this client: what takes milliseconds would keep others from
    /// their answers on a thread that serves sockets. Nothing comes if it panics.
    #[must_use]
    pub fn compute<T: Send + 'static>(
        &self,
        client: ClientId,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (task, result) = Task::computation(client, compute);
        let _ = self.pool.submit(task); // a closed pool drops it, and the result's channel with it
        result
    }

    /// Starts to classify an image; the answer is waited for with [`Pending::wait`].
    #[must_use]
    pub fn submit(
        &self,
        model: &Arc<ServedModel>,
        image: Source,
        options: ClassifyOptions,
        permit: Permit,
    ) -> Pending {
        let (prepared_to, prepared) = oneshot::channel();
        let (answer_to, answer) = oneshot::channel();
        let job = ImageTask {
            model: Arc::clone(model),
            batcher: Arc::clone(&self.batcher),
            metrics: Arc::clone(&self.metrics),
            submitted: Instant::now(),
            deadline: options.deadline,
            image,
            exif: options.exif,
            wish: options.wish,
            max_pixels: options.max_pixels,
            permit,
            prepared: prepared_to,
            answer: answer_to,
            span: tracing::Span::current(),
        };
        match &job.image {
            Source::Values(values) => {
                let values = values.clone();
                job.pass_on(&values);
            }
            Source::Encoded(_) | Source::Pixels(_) => {
                // A closed pool drops the job and with it the channels, which `wait` reports.
                let _ = self.pool.submit(Task::Image(Box::new(job)));
            }
        }
        Pending {
            model: Arc::clone(model),
            options,
            prepared,
            answer,
            metrics: Arc::clone(&self.metrics),
        }
    }
}
