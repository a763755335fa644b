//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, passes it through the desk, and writes the answers in order.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::access::Work;
use super::error::ApiError;
use super::passage::{Passage, told};
use super::target::{self, Parameters};
use super::{answer, upload};
use crate::desk::{Admitted, Desk, HeldBody, InferRequest};
use crate::preprocess::Source;

pub(super) async fn classify(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    handle(&desk, Ok(None), query, request).await
}

pub(super) async fn classify_with(
    State(desk): State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let name = name
        .map(|Path(name)| Some(name))
        .map_err(|_| ApiError::BadUrl);
    handle(&desk, name, query, request).await
}

/// Answers, and tells the request's metrics and its line in the log what it was about, also when the answer is a problem.
async fn handle(
    desk: &Desk,
    path_model: Result<Option<String>, ApiError>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    fault!("http-handler");
    let (head, mut body) = request.into_parts();
    let resolved = target::resolve(desk, path_model, query, &head, arrived);
    let mut work = Work::default();
    let answer = match resolved {
        Ok(request) => {
            work.model.clone_from(&request.model.info.name);
            run(desk, &request, &head, &mut body, &mut work).await
        }
        Err(e) => Err(e),
    };
    told(answer.unwrap_or_else(IntoResponse::into_response), work)
}

/// From this size on, in bytes, JSON is taken apart on another thread: below it takes less than half a millisecond.
pub(super) const LARGE_JSON: usize = 256 << 10;

async fn run(
    desk: &Desk,
    request: &InferRequest,
    head: &Parts,
    body: &mut Body,
    work: &mut Work,
) -> Result<Response, ApiError> {
    let passage = Passage {
        desk,
        request,
        head,
    };
    let (admitted, mut held) = passage.enter(body).await?;
    let (images, is_list) = images(passage, &admitted, &mut held).await?;
    let mut answered = passage.classify(admitted, held, images, work).await?;
    let respond = Instant::now();
    let name = &request.model.info.name;
    let response = if is_list {
        answer::list(name, &answered.results)
    } else {
        answer::single(name, &answered.results.remove(0)?, answered.read)
    };
    passage.responded(answered.read, respond, work);
    Ok(response)
}

/// The images of a body in one of the forms that it may have, and whether they are a list.
///
/// # Errors
/// The body's own; that of one image is in the list.
pub(super) async fn images(
    passage: Passage<'_>,
    admitted: &Admitted<'_>,
    held: &mut HeldBody,
) -> Result<(Vec<Result<Source, ApiError>>, bool), ApiError> {
    let Passage { desk, head, .. } = passage;
    let max_images = desk.limits().max_images;
    let upload = if held.len() > LARGE_JSON && upload::is_json(&head.headers) {
        let bytes = held.take_kept();
        let parse = move || {
            fault!("large-json");
            upload::json(&bytes, max_images)
        };
        admitted.compute(parse).await??
    } else {
        upload::parse(&head.headers, held.take(), max_images)?
    };
    let images = upload.images.into_iter();
    let images = images.map(|image| image.map(Source::from).map_err(ApiError::from));
    Ok((images.collect(), upload.is_list))
}
