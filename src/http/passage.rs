//! A request's way through the desk, the same for every route that takes images.
//!
//! Called by `classify`, `predictions` and `oip`, which find the images in the body between [`Passage::enter`] and
//! [`Passage::classify`], and by `grpc`, which has the body before.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Version;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::access::Work;
use super::body;
use super::error::ApiError;
use crate::classifier::Classification;
use crate::desk::{Admitted, Answered, Desk, DeskError, HeldBody, InferRequest, or_expired};
use crate::preprocess::Source;

/// From this many numbers on, an answer is computed and written on another thread: fewer take less than half a
/// millisecond.
const MANY_NUMBERS: usize = 8192;

/// Images of a request, the first ones, whose stages are spans: they share a queue with those of all other requests.
const IMAGES_APART: usize = 8;

/// A request on its way through the desk.
#[derive(Clone, Copy)]
pub(crate) struct Passage<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) request: &'a InferRequest,
    pub(crate) head: &'a Parts,
}

impl<'a> Passage<'a> {
    /// Takes the first image's place, and reads the body.
    ///
    /// # Errors
    /// The desk's.
    pub(crate) async fn enter(self, body: &mut Body) -> Result<(Admitted<'a>, HeldBody), ApiError> {
        let mut admitted = self.admit(body).await?;
        let held = body::read(&mut admitted, &self.head.headers, body).await?;
        Ok((admitted, held))
    }

    /// Takes the first image's place; of a refused request's body what is short is read away.
    ///
    /// # Errors
    /// The desk's.
    pub(crate) async fn admit(self, body: &mut Body) -> Result<Admitted<'a>, ApiError> {
        match self.desk.admit(self.request) {
            Ok(admitted) => Ok(admitted),
            Err(e) => Err(self.refuse(body, e).await),
        }
    }

    /// Takes the other images' places, and waits for their answers.
    ///
    /// # Errors
    /// The desk's.
    pub(crate) async fn classify(
        self,
        admitted: Admitted<'a>,
        held: HeldBody,
        images: Vec<Result<Source, ApiError>>,
        work: &mut Work,
    ) -> Result<Answered<ApiError>, ApiError> {
        work.found(images.len());
        let admitted = match admitted.admit_all(images.len()) {
            Ok(admitted) => admitted,
            Err(e) => {
                drop((images, held));
                return Err(self.refuse(&mut Body::empty(), e).await);
            }
        };
        let answered = admitted.classify(held, images).await?;
        let apart = match self.desk.tracer() {
            Some(_) => IMAGES_APART,
            None => 0,
        };
        work.answered(&answered, apart);
        let problems = &self.desk.metrics().image_problems;
        for problem in answered
            .results
            .iter()
            .filter_map(|r: &Result<_, ApiError>| r.as_ref().err())
        {
            problems.with_label_values(&[problem.code()]).inc();
        }
        Ok(answered)
    }

    /// Makes an answer of so many numbers: on another thread where they are many, if it is still wanted when one is free.
    ///
    /// # Errors
    /// That of the deadline, which ends the wait, and [`DeskError::Panicked`].
    pub(crate) async fn compute<T: Send + 'static>(
        self,
        numbers: usize,
        deadline: Instant,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if numbers <= MANY_NUMBERS {
            return Ok(compute());
        }
        let InferRequest {
            classifier, client, ..
        } = self.request;
        let computed = classifier.compute(*client, compute);
        let computed = or_expired(Some(deadline), computed).await?;
        computed.map_err(|_| DeskError::Panicked.into())
    }

    /// The answer is written, which was begun at `start`; reading the body had taken `read`.
    pub(crate) fn responded(self, read: Duration, start: Instant, work: &mut Work) {
        let responding = start.elapsed();
        work.responded(start, responding);
        let stages = &self.desk.metrics().stage_duration;
        let model = self.request.model.info.name.as_str();
        for (stage, time) in [("read", read), ("respond", responding)] {
            stages
                .with_label_values(&[stage, model])
                .observe(time.as_secs_f64());
        }
    }

    /// A refusal, as late as this client's are. What it still sends is read away if that is short; a client that is
    /// sending more should hear at once that it need not.
    async fn refuse(self, body: &mut Body, error: DeskError) -> ApiError {
        let Passage {
            desk,
            request,
            head,
        } = self;
        if let DeskError::Refused(_) = error {
            let is_read = body::discard(head, body, desk.limits().max_body_bytes).await;
            let delay = desk.refusal_delay(request);
            let sends_no_more = is_read || head.version == Version::HTTP_2; // which has windows for that
            if sends_no_more && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
        }
        error.into()
    }
}

/// The answer, or the problem in its place, with what its line in the log and its metrics tell of it.
pub(crate) fn told(answer: Result<Response, ApiError>, work: Work) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(work);
    response
}

/// The images' answers, where a protocol has all or none.
///
/// # Errors
/// The first image's that has none; with its position where there are several.
pub(crate) fn whole(
    results: Vec<Result<Classification, ApiError>>,
) -> Result<Vec<Classification>, ApiError> {
    let several = results.len() > 1;
    let place = |(index, result): (usize, Result<_, ApiError>)| {
        result.map_err(|error| match several {
            true => ApiError::OfImage {
                index,
                error: Box::new(error),
            },
            false => error,
        })
    };
    results.into_iter().enumerate().map(place).collect()
}
