//! An inference request of the Open Inference Protocol from its message to its answer, whatever carried it.
//!
//! Called by `oip` for REST, and by `grpc`; each finds the model and the message, and says how an answer is written.

use std::sync::Arc;
use std::time::Instant;

use super::access::Work;
use super::error::ApiError;
use super::passage::{Passage, whole};
use crate::classifier::{ClassifyOptions, ServedModel, SharedClassifier};
use crate::desk::{Admitted, AnswerMemory, Deadline, HeldBody, InferRequest};
use crate::fair_queue::ClientId;
use crate::oip::{self, ModelForm, OipError};

/// From this size on, in bytes, tensors are checked on another thread: below it takes less than half a millisecond.
pub(crate) const LARGE_TENSORS: usize = 4 << 20;

/// What the desk is asked for an inference: all of the network's output, of which the message says what is wanted.
pub(crate) fn request(
    (classifier, model): (Arc<SharedClassifier>, Arc<ServedModel>),
    client: ClientId,
    deadline: Deadline,
) -> InferRequest {
    InferRequest {
        classifier,
        model,
        client,
        options: ClassifyOptions {
            top_k: 1,
            ..ClassifyOptions::default()
        },
        deadline,
    }
}

/// A request whose body is here.
pub(crate) struct Inference<'a> {
    pub(crate) passage: Passage<'a>,
    pub(crate) admitted: Admitted<'a>,
    pub(crate) held: HeldBody,
    /// Whether to take its message apart takes long.
    pub(crate) is_large: bool,
}

impl Inference<'_> {
    /// Takes the message apart, runs the network on what is in it, and writes the answer, which takes the memory beside
    /// it until it is read.
    ///
    /// # Errors
    /// What is wrong with the message or an image, and the desk's.
    pub(crate) async fn answer<T: Send + 'static>(
        self,
        take_apart: impl FnOnce(&ModelForm, usize) -> Result<oip::Work, OipError> + Send + 'static,
        write: impl FnOnce(oip::Response) -> T + Send + 'static,
        work: &mut Work,
    ) -> Result<(T, AnswerMemory), ApiError> {
        let Inference {
            passage,
            mut admitted,
            held,
            is_large,
        } = self;
        let model = Arc::clone(&passage.request.model);
        let form = ModelForm::of(&model.info);
        let max_images = passage.desk.limits().max_images;
        let found = if is_large {
            let take_apart = move || {
                fault!("large-json");
                take_apart(&form, max_images)
            };
            admitted.compute(take_apart).await??
        } else {
            take_apart(&form, max_images)?
        };
        admitted.set_exif(found.exif);
        admitted.set_wish(found.wanted.wish());
        if let Some(timeout) = found.timeout {
            admitted.expect_within(timeout);
        }
        let of_image = found.wanted.bytes_beside_classes();
        let memory = admitted.reserve_answer(found.images.len(), of_image)?;
        let images = found.images.into_iter().map(Ok).collect();
        let answered = passage.classify(admitted, held, images, work).await?;
        let respond = Instant::now();
        let classifications = whole(answered.results)?;
        let numbers = classifications.len() * found.wanted.numbers();
        let write = move || {
            let response = oip::Response::new(&model.info, found.wanted, classifications);
            response.map(|response| (write(response), memory)) // which stays while it is written
        };
        let answer = passage.compute(numbers, answered.deadline, write).await??;
        passage.responded(answered.read, respond, work);
        Ok(answer)
    }
}
