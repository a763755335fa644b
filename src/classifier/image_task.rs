//! What a `prep-N` thread does for one image: decode it and hand it to the batcher, if anybody still waits for it.
//!
//! Made by `Classifier::submit`, which hands on itself what needs no thread: a network's own numbers.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::served_model::TakenImage;
use super::{ClassifyError, MaxPixels, ServedModel};
use crate::batcher::{BatchAnswer, BatchError, Batcher, Entry, Permit};
use crate::engine::Wish;
use crate::fair_queue::ClientId;
use crate::metrics::Metrics;
use crate::preprocess::{ExifMode, ImageInfo, Interest, PreprocessError, Source, UnderWay};

/// An image that has been decoded.
#[derive(Debug)]
pub(super) struct Prepared {
    /// When the image was handed in.
    pub(super) submitted: Instant,
    /// When a thread began to decode it.
    pub(super) began: Instant,
    /// When it was handed to the batcher.
    pub(super) arrived: Instant,
    /// Format and size of an encoded image; none of pixels and values, which are no file.
    pub(super) image: Option<ImageInfo>,
    pub(super) decode: Duration,
    pub(super) preprocess: Duration,
}

/// One image and where its results go.
pub(super) struct ImageTask {
    pub(super) model: Arc<ServedModel>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) submitted: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) image: Source,
    pub(super) exif: ExifMode,
    pub(super) wish: Wish,
    pub(super) max_pixels: Option<MaxPixels>,
    pub(super) permit: Permit,
    pub(super) prepared: oneshot::Sender<Result<Prepared, ClassifyError>>,
    pub(super) answer: oneshot::Sender<Result<BatchAnswer, BatchError>>,
    /// The span of the image's request, to which its log lines belong.
    pub(super) span: tracing::Span,
}

/// From this many pixels on an image is large: above most of what is sent to be classified, below what phones take.
/// Decoding 4 megapixels takes some ten times as long as an image of a data set.
const LARGE_PIXELS: u64 = 4_000_000;

impl ImageTask {
    pub(super) fn client(&self) -> ClientId {
        self.permit.client()
    }

    /// Decodes the image and hands it on. A large one that [may not run now](crate::preprocess::PoolTask::run) comes back.
    pub(super) fn run(
        self,
        may_run_large: &dyn Fn() -> bool,
        under_way: UnderWay,
    ) -> Option<ImageTask> {
        let span = self.span.clone();
        span.in_scope(|| self.prepare(may_run_large, under_way))
    }
}

/// Whoever waits for the image of a job, while it is decoded.
struct OneImage<'a> {
    job: &'a ImageTask,
    may_run_large: &'a dyn Fn() -> bool,
    postponed: Cell<bool>,
    /// Pixels of an image that has too many, and the limit.
    too_many: Cell<Option<(u64, MaxPixels)>>,
    memory_wait: Cell<Duration>,
}

impl Interest for OneImage<'_> {
    fn is_lost(&self) -> bool {
        self.job.is_gone() || self.job.is_late()
    }

    fn may_decode(&self, pixels: u64) -> bool {
        if let Some(max) = self.job.max_pixels.filter(|max| pixels > max.number()) {
            self.too_many.set(Some((pixels, max)));
            return false;
        }
        let may = pixels < LARGE_PIXELS || (self.may_run_large)();
        self.postponed.set(!may);
        may
    }

    fn waited_for_memory(&self, time: Duration) {
        self.memory_wait.set(self.memory_wait.get() + time);
    }
}

impl ImageTask {
    fn prepare(self, may_run_large: &dyn Fn() -> bool, under_way: UnderWay) -> Option<ImageTask> {
        // Late first: whoever waited until the deadline is gone as well.
        if self.is_late() {
            self.expire();
            return None;
        }
        if self.is_gone() {
            self.count_dropped(&self.metrics.requests_canceled);
            return None;
        }
        let start = Instant::now();
        let interest = OneImage {
            job: &self,
            may_run_large,
            postponed: Cell::new(false),
            too_many: Cell::new(None),
            memory_wait: Cell::new(Duration::ZERO),
        };
        let taken = self.model.take(&self.image, self.exif, &interest);
        let (postponed, memory_wait) = (interest.postponed.get(), interest.memory_wait.get());
        if let Some((got, max)) = interest.too_many.get() {
            let now = Instant::now();
            self.permit.wasted(now - start, now);
            self.refuse(ClassifyError::TooManyPixels { got, max });
            return None;
        }
        match taken {
            Err(PreprocessError::Canceled) if postponed => return Some(self),
            Ok(taken) => self.queue(start, memory_wait, taken, Box::new(under_way)),
            Err(PreprocessError::Canceled) if self.is_late() => self.expire(),
            Err(PreprocessError::Canceled) => {
                self.count_dropped(&self.metrics.requests_canceled);
            }
            Err(e) => {
                let now = Instant::now();
                self.permit
                    .wasted((now - start).saturating_sub(memory_wait), now);
                if let PreprocessError::Panicked { format } = e {
                    let panics = &self.metrics.decode_panics;
                    panics.with_label_values(&[format.name()]).inc();
                }
                self.refuse(e.into());
            }
        }
        None
    }

    /// Hands the network's own numbers on. They wait in their body's memory, so that none of them is counted among the
    /// images that are decoded ahead.
    pub(super) fn pass_on(self, values: &Bytes) {
        let taken = self.model.take_values(values);
        self.queue(Instant::now(), Duration::ZERO, taken, Box::new(()));
    }

    /// Hands a decoded image on. What it cost is what was done for it: while it waits for memory, its thread waits for
    /// other images' work, which is counted there.
    fn queue(
        mut self,
        start: Instant,
        memory_wait: Duration,
        taken: TakenImage,
        until_run: Box<dyn fmt::Debug + Send>,
    ) {
        let now = Instant::now();
        self.permit
            .decoded((now - start).saturating_sub(memory_wait), now);
        let TakenImage {
            image,
            info,
            decode,
            preprocess,
        } = taken;
        if let Some(info) = info {
            self.observe(info);
        }
        let entry = Entry {
            image,
            wish: self.wish,
            arrived: now,
            deadline: self.deadline,
            reply: self.answer,
            permit: self.permit,
            until_run,
        };
        let prepared = Prepared {
            submitted: self.submitted,
            began: start,
            arrived: now,
            image: info,
            decode,
            preprocess,
        };
        let queued = self.batcher.submit(self.model.lane, entry);
        let told = queued.map(|()| prepared);
        let _ = self
            .prepared
            .send(told.map_err(|_| ClassifyError::ShuttingDown)); // fails if the client has gone
    }

    /// Counts what was decoded.
    fn observe(&self, info: ImageInfo) {
        let format = [info.format.name()];
        self.metrics
            .image_bytes
            .with_label_values(&format)
            .observe(self.image.bytes().len() as f64);
        let pixels = f64::from(info.width) * f64::from(info.height);
        self.metrics
            .image_pixels
            .with_label_values(&format)
            .observe(pixels);
    }

    fn is_gone(&self) -> bool {
        self.prepared.is_closed()
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|d| d <= Instant::now())
    }

    fn expire(self) {
        self.count_dropped(&self.metrics.requests_expired);
        self.refuse(ClassifyError::Expired);
    }

    fn count_dropped(&self, counter: &prometheus::IntCounterVec) {
        counter.with_label_values(&["decode"]).inc();
    }

    fn refuse(self, error: ClassifyError) {
        // The place is free before the client can ask for the next.
        drop(self.permit);
        let _ = self.prepared.send(Err(error));
    }
}
