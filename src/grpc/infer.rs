//! `ModelInfer`: one request, one answer.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;

use super::frame::{self, Frames, Reader, framed};
use super::infer_request::{self, ModelInferRequest};
use super::messages::{InferResponse, TensorMetadata};
use super::tell::find;
use super::timeout::patience;
use crate::desk::{AnswerMemory, Deadline, Desk, DeskError, HeldBody};
use crate::http::{
    ApiError, Inference, LARGE_TENSORS, Passage, Work, client_id, inference_request, told,
};
use crate::oip::response::OutputTensor;
use crate::oip::{self, ModelForm};

pub(super) async fn infer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let mut work = Work::default();
    let answer = run(&desk, &head, body, arrived, &mut work).await;
    let framed = answer.map(|(answer, memory)| frame::answer_framed(memory.keep(framed(&answer))));
    told(framed, work)
}

async fn run(
    desk: &Desk,
    head: &Parts,
    body: Body,
    arrived: Instant,
    work: &mut Work,
) -> Result<(InferResponse, AnswerMemory), ApiError> {
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

/// The answer to a message that is here, with the memory that it takes until it is read.
///
/// # Errors
/// What is wrong with it, and the desk's.
pub(super) async fn answer(
    reader: Reader<'_>,
    head: &Parts,
    mut held: HeldBody,
    work: &mut Work,
) -> Result<(InferResponse, AnswerMemory), ApiError> {
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
    let found = find(desk, &model, &version)?;
    work.model.clone_from(&found.1.info.name);
    let request = inference_request(found, client, *deadline);
    let passage = Passage {
        desk,
        request: &request,
        head,
    };
    let admitted = passage.admit(&mut Body::empty()).await?;
    let inference = Inference {
        passage,
        admitted,
        held,
        is_large: size > LARGE_TENSORS,
    };
    let take_apart = move |form: &ModelForm, max_images| oip::Work::of(asked, form, max_images);
    let write = |answer: oip::Response| message(&answer);
    inference.answer(take_apart, write, work).await
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
        model_version: response.model_version.clone(),
        id: response.id.clone().unwrap_or_default(),
        outputs: response.outputs.iter().map(tensor).collect(),
        raw_output_contents: response.outputs.iter().map(raw).collect(),
    }
}
