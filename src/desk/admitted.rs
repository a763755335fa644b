//! A request from its first place to its last answer.
//!
//! Made by [`Desk::admit`]. A protocol reads its images out of the body between [`Admitted::read`] and
//! [`Admitted::admit_all`].

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;

use super::{AnswerMemory, Deadline, Desk, DeskError, HeldBody, body};
use crate::classifier::{
    Classification, ClassifyError, ClassifyOptions, Pending, Permit, ServedModel, SharedClassifier,
    Timings, Wish,
};
use crate::fair_queue::ClientId;
use crate::preprocess::{ExifMode, Source};

/// What a request asks for, and whose it is.
#[derive(Debug)]
pub struct InferRequest {
    /// The models in charge when it came.
    pub classifier: Arc<SharedClassifier>,
    /// The one of these models that it is for.
    pub model: Arc<ServedModel>,
    /// The client that sent it.
    pub client: ClientId,
    /// How its images are to be classified; the desk sets their deadline.
    pub options: ClassifyOptions,
    /// When its answer is no longer wanted.
    pub deadline: Deadline,
}

/// A request that may come in.
#[derive(Debug)]
pub struct Admitted<'a> {
    desk: &'a Desk,
    request: &'a InferRequest,
    permits: Vec<Permit>,
    /// The request's options, completed by those that its body gives.
    options: ClassifyOptions,
    /// When it came in.
    start: Instant,
    /// How long its body took to arrive and its images to be found; known when they are.
    read: Duration,
    /// The deadline of its images; known when the body is there.
    deadline: Instant,
}

/// The answers to a request's images.
#[derive(Debug)]
pub struct Answered<E> {
    /// For each image, in order, its classification or why there is none.
    pub results: Vec<Result<Classification, E>>,
    /// When the request came in, and its body began to be read.
    pub start: Instant,
    /// How long the body took to arrive, and its images to be found.
    pub read: Duration,
    /// When the answers are no longer wanted.
    pub deadline: Instant,
}

impl Desk {
    /// Takes the first image's place, before the body is read: a refusal should cost neither side a long upload.
    ///
    /// # Errors
    /// [`DeskError::Stuck`], [`DeskError::Refused`]; [`Desk::refusal_delay`] tells when a client
    /// should hear of the latter.
    pub fn admit<'a>(&'a self, request: &'a InferRequest) -> Result<Admitted<'a>, DeskError> {
        let InferRequest {
            classifier,
            model,
            client,
            deadline,
            ..
        } = request;
        if let Some(stuck) = classifier.stuck().filter(|stuck| stuck.all) {
            return Err(DeskError::Stuck(stuck));
        }
        let start = Instant::now();
        let deadline = deadline.at(start);
        Ok(Admitted {
            desk: self,
            request,
            permits: classifier.admit(model, *client, 1, 0, deadline - start)?,
            options: request.options,
            start,
            read: Duration::ZERO,
            deadline,
        })
    }

    /// Counts a refusal and tells how much later its client should hear of it: zero as a rule, some time if it asks
    /// again and again.
    pub fn refusal_delay(&self, request: &InferRequest) -> Duration {
        let now = Instant::now();
        let answer = request.classifier.time_of_an_answer(&request.model);
        let hold = self.refusal_pace.hold(request.client, answer, now);
        // Nobody is held back past a deadline, nor the drain.
        match self.is_draining() {
            true => Duration::ZERO,
            false => hold.min(request.deadline.at(now) - now),
        }
    }
}

impl Admitted<'_> {
    /// Reads the body, of which `announced` bytes are to come if the client has told. An upload that takes long gives
    /// its place up and asks again when it is done.
    ///
    /// # Errors
    /// Those of a body, [`DeskError::BodyTooLarge`] and its like; that of the client's deadline.
    pub async fn read<E>(
        &mut self,
        announced: Option<u64>,
        chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<HeldBody, DeskError> {
        let share = self.desk.body_memory.share(self.request.client);
        let reading = body::read(announced, chunks, &self.desk.limits, share);
        let reading = or_expired(self.request.deadline.client(), reading);
        let body = while_reserved(&mut self.permits, reading).await??;
        self.deadline = self.request.deadline.at(Instant::now());
        Ok(body)
    }

    /// The body says how long its client waits, counted from when the request came in; that can only shorten it.
    pub fn expect_within(&mut self, patience: Duration) {
        // more than a year is as good as none
        if let Some(moment) = self.start.checked_add(patience) {
            self.deadline = self.deadline.min(moment);
        }
    }

    /// The body says whether its images are to be turned upright.
    pub fn set_exif(&mut self, exif: ExifMode) {
        self.options.exif = exif;
    }

    /// The body says what is wanted of its images beside their classes.
    pub fn set_wish(&mut self, wish: Wish) {
        self.options.wish = wish;
    }

    /// Takes a body apart where that is much work: on a prep thread, in this client's turn.
    ///
    /// # Errors
    /// [`ClassifyError::Expired`] if the deadline passes, [`DeskError::Panicked`].
    pub async fn compute<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeskError> {
        let InferRequest {
            classifier, client, ..
        } = self.request;
        let computed = classifier.compute(*client, compute);
        let computed = or_expired(Some(self.deadline), computed).await?;
        computed.map_err(|_| DeskError::Panicked)
    }

    /// Takes memory for the answer to this many images, of which each takes so many bytes beside its ranking.
    ///
    /// # Errors
    /// As [`Desk::reserve_answer`].
    pub fn reserve_answer(
        &self,
        images: usize,
        bytes_of_image: usize,
    ) -> Result<AnswerMemory, DeskError> {
        let client = self.request.client;
        self.desk.reserve_answer(client, images, bytes_of_image)
    }

    /// Takes places for all images that were found in the body, at least one.
    ///
    /// # Errors
    /// As [`Desk::admit`].
    pub fn admit_all(mut self, images: usize) -> Result<Self, DeskError> {
        // The images have been found in it.
        self.read = self.start.elapsed();
        let held = self.permits.len();
        if images > held {
            let InferRequest {
                classifier,
                model,
                client,
                ..
            } = self.request;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let more = classifier.admit(model, *client, images - held, held, left)?;
            self.permits.extend(more);
        }
        Ok(self)
    }

    /// Classifies the images, for which there are places; one that the protocol could not read keeps its error.
    ///
    /// # Errors
    /// [`ClassifyError::Expired`] if the deadline passes, also when nobody looks at the images' own deadlines because
    /// every thread is stuck.
    pub async fn classify<E: From<ClassifyError>>(
        self,
        body: HeldBody,
        images: Vec<Result<Source, E>>,
    ) -> Result<Answered<E>, DeskError> {
        let InferRequest {
            classifier, model, ..
        } = self.request;
        let options = ClassifyOptions {
            deadline: Some(self.deadline),
            ..self.options
        };
        let submit = |(image, permit): (Result<Source, E>, Permit)| {
            let image = image?.map(|bytes| body.keep(bytes));
            Ok(classifier.submit(model, image, options, permit))
        };
        let submitted = images.into_iter().zip(self.permits).map(submit).collect();
        let waited = or_expired(Some(self.deadline), wait_all(submitted)).await;
        let time = self.start.elapsed();
        let statistics = model.statistics();
        let results = waited.inspect_err(|_| statistics.failed(time))?;
        let answered = || results.iter().flatten();
        match answered().map(|c| c.timings).reduce(Timings::longest) {
            Some(stages) => statistics.answered(answered().count(), time, &stages),
            None => statistics.failed(time),
        }
        Ok(Answered {
            results,
            start: self.start,
            read: self.read,
            deadline: self.deadline,
        })
    }
}

async fn wait_all<E: From<ClassifyError>>(
    submitted: Vec<Result<Pending, E>>,
) -> Vec<Result<Classification, E>> {
    let mut results = Vec::with_capacity(submitted.len());
    for pending in submitted {
        results.push(match pending {
            Ok(pending) => pending.wait().await.map_err(E::from),
            Err(e) => Err(e),
        });
    }
    results
}

/// How long a place is kept for an upload. Most take less; a client that takes longer should not keep others out, and
/// asks again when it is done.
const RESERVATION: Duration = Duration::from_millis(250);

/// Reads an upload, and gives its place up when that takes long.
async fn while_reserved<T>(permits: &mut Vec<Permit>, reading: impl Future<Output = T>) -> T {
    let mut reading = std::pin::pin!(reading);
    match tokio::time::timeout(RESERVATION, &mut reading).await {
        Ok(result) => result,
        Err(_) => {
            permits.clear();
            reading.await
        }
    }
}

/// Waits until `deadline` at most.
///
/// # Errors
/// [`ClassifyError::Expired`].
pub async fn or_expired<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, DeskError> {
    let Some(deadline) = deadline else {
        return Ok(work.await);
    };
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .map_err(|_| ClassifyError::Expired.into())
}
