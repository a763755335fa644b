//! `ModelInfer`: one request, one answer.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::frame::{self, Frames, Reader};
use super::infer_request::{self, ModelInferRequest};
use super::messages::{InferResponse, TensorMetadata};
use super::tell::find;
use super::timeout::patience;
use crate::classifier::ClassifyOptions;
use crate::desk::{Deadline, Desk, DeskError, HeldBody, InferRequest};
use crate::http::{ApiError, LARGE_TENSORS, Passage, Work, client_id, told, whole};
use crate::oip::response::OutputTensor;
use crate::oip::{self, ModelForm};

pub(super) async fn infer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let mut work = Work::default();
    let answer = run(&desk, &head, body, arrived, &mut work).await;
    let response = match answer {
        Ok(answer) => frame::answer(&answer),
        Err(error) => error.into_response(),
    };
    told(response, work)
}

async fn run(
    desk: &Desk,
    head: &Parts,
    body: Body,
    arrived: Instant,
    work: &mut Work,
) -> Result<InferResponse, ApiError> {
    let limits = desk.limits();
    let deadline = Deadline::new(arrived, limits.request_timeout, patience(&head.headers)?);
    let reader = Reader {
        desk,
        client: client_id(desk, &head.extensions),
        deadline: &deadline,
    };
    let mut frames = Frames::new(body);
    let begun = tokio::time::timeout(limits.body_timeout, frames.begin()).await;
    let length = begun.map_err(|_| DeskError::BodyTimeout(limits.body_timeout))??;
    let length = length.ok_or(DeskError::BodyCut)?;
    let held = frames.read(length, reader).await?;
    answer(reader, head, held, work).await
}

/// The answer to a message that is here.
///
/// # Errors
/// What is wrong with it, and the desk's.
pub(super) async fn answer(
    reader: Reader<'_>,
    head: &Parts,
    mut held: HeldBody,
    work: &mut Work,
) -> Result<InferResponse, ApiError> {
    let Reader {
        desk,
        client,
        deadline,
    } = reader;
    let size = held.len();
    let ModelInferRequest {
        model,
        version,
        request: asked,
    } = infer_request::read(held.take())?;
    let (classifier, model) = find(desk, &model, &version)?;
    work.model.clone_from(&model.info.name);
    let request = InferRequest {
        classifier,
        model,
        client,
        options: ClassifyOptions {
            top_k: 1,
            ..ClassifyOptions::default()
        },
        deadline: *deadline,
    };
    let passage = Passage {
        desk,
        request: &request,
        head,
    };
    let mut admitted = passage.admit(&mut Body::empty()).await?;
    let form = ModelForm::of(&request.model.info);
    let max_images = desk.limits().max_images;
    let take_apart = move || oip::Work::of(asked, &form, max_images);
    let found = match size > LARGE_TENSORS {
        true => admitted.compute(take_apart).await??,
        false => take_apart()?,
    };
    admitted.set_exif(found.exif);
    if let Some(timeout) = found.timeout {
        admitted.expect_within(timeout);
    }
    let images = found.images.into_iter().map(Ok).collect();
    let answered = passage.classify(admitted, held, images, work).await?;
    let respond = Instant::now();
    let classifications = whole(answered.results)?;
    let numbers: usize = classifications.iter().map(|c| c.output.len()).sum();
    let numbers = numbers * found.wanted.outputs.len();
    let model = Arc::clone(&request.model);
    let write = move || {
        message(&oip::Response::new(
            &model.info,
            found.wanted,
            &classifications,
        ))
    };
    let message = passage.compute(numbers, write).await?;
    passage.responded(answered.read, respond, work);
    Ok(message)
}

/// An answer with its elements behind its tensors, where every client looks for them.
fn message(response: &oip::Response) -> InferResponse {
    let tensor = |output: &OutputTensor| TensorMetadata {
        name: output.name.clone(),
        datatype: output.datatype().name().into(),
        shape: output
            .shape
            .iter()
            .map(|n| i64::try_from(*n).unwrap_or(i64::MAX))
            .collect(),
    };
    let raw = |output: &OutputTensor| {
        let mut bytes = Vec::new();
        output.write(&mut bytes);
        Bytes::from(bytes)
    };
    InferResponse {
        model_name: response.model_name.clone(),
        model_version: response.model_version.into(),
        id: response.id.clone().unwrap_or_default(),
        outputs: response.outputs.iter().map(tensor).collect(),
        raw_output_contents: response.outputs.iter().map(raw).collect(),
    }
}
