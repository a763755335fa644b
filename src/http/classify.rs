//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, passes it through the desk, and writes the answers in order.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::Version;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::access::Work;
use super::error::ApiError;
use super::target::{self, Parameters};
use super::{answer, body, upload};
use crate::desk::{Desk, DeskError, InferRequest};

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
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(work);
    response
}

/// From this size on, in bytes, JSON is taken apart on another thread: below it takes less than half a millisecond.
const LARGE_JSON: usize = 256 << 10;

async fn run(
    desk: &Desk,
    request: &InferRequest,
    head: &Parts,
    body: &mut Body,
    work: &mut Work,
) -> Result<Response, ApiError> {
    let mut admitted = match desk.admit(request) {
        Ok(admitted) => admitted,
        Err(e) => return Err(refuse(desk, request, head, body, e).await),
    };
    let mut held = body::read(&mut admitted, &head.headers, body).await?;
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
    work.found(upload.images.len());
    let admitted = match admitted.admit_all(upload.images.len()) {
        Ok(admitted) => admitted,
        Err(e) => {
            drop((upload, held));
            return Err(refuse(desk, request, head, &mut Body::empty(), e).await);
        }
    };
    let images = upload.images.into_iter();
    let images = images.map(|image| image.map_err(ApiError::from)).collect();
    let mut answered = admitted.classify(held, images).await?;
    work.answered(&answered.results, answered.read);
    let problems = &desk.metrics().image_problems;
    for problem in answered
        .results
        .iter()
        .filter_map(|r: &Result<_, ApiError>| r.as_ref().err())
    {
        problems.with_label_values(&[problem.code()]).inc();
    }

    let respond = Instant::now();
    let name = &request.model.info.name;
    let response = if upload.is_list {
        answer::list(name, &answered.results)
    } else {
        answer::single(name, &answered.results.remove(0)?, answered.read)
    };
    let stages = &desk.metrics().stage_duration;
    stages
        .with_label_values(&["read"])
        .observe(answered.read.as_secs_f64());
    let responding = respond.elapsed();
    work.responded(responding);
    stages
        .with_label_values(&["respond"])
        .observe(responding.as_secs_f64());
    Ok(response)
}

/// A refusal, as late as this client's are. What it still sends is read away if that is short; a client that is sending
/// more should hear at once that it need not.
async fn refuse(
    desk: &Desk,
    request: &InferRequest,
    head: &Parts,
    body: &mut Body,
    error: DeskError,
) -> ApiError {
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
