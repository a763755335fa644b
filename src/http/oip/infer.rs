//! `POST /v2/models/{model}/infer`: tensors or photos in, the network's numbers or ranked classes out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::find::{self, NamedPath};
use crate::classifier::ClassifyOptions;
use crate::desk::{Deadline, Desk, InferRequest};
use crate::http::access::Work;
use crate::http::classify::LARGE_JSON;
use crate::http::client::client_id;
use crate::http::deadline::patience;
use crate::http::error::ApiError;
use crate::http::passage::{LARGE_TENSORS, Passage, told, whole};
use crate::oip::{self, ModelForm, OipError};

const JSON_LENGTH: HeaderName = HeaderName::from_static(oip::binary::HEADER);

pub(super) async fn infer(
    State(desk): State<Arc<Desk>>,
    path: NamedPath,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (head, mut body) = request.into_parts();
    let mut work = Work::default();
    let answer = match resolve(&desk, path, &head, arrived) {
        Ok(request) => {
            work.model.clone_from(&request.model.info.name);
            run(&desk, &request, &head, &mut body, &mut work).await
        }
        Err(e) => Err(e),
    };
    told(answer.unwrap_or_else(IntoResponse::into_response), work)
}

fn resolve(
    desk: &Desk,
    path: NamedPath,
    head: &Parts,
    arrived: Instant,
) -> Result<InferRequest, ApiError> {
    let (classifier, model) = find::model(desk, path)?;
    let patience = patience(&head.headers, None)?;
    Ok(InferRequest {
        classifier,
        model,
        client: client_id(desk, &head.extensions),
        options: ClassifyOptions {
            top_k: 1,
            ..ClassifyOptions::default()
        },
        deadline: Deadline::new(arrived, desk.limits().request_timeout, patience),
    })
}

async fn run(
    desk: &Desk,
    request: &InferRequest,
    head: &Parts,
    body: &mut Body,
    work: &mut Work,
) -> Result<Response, ApiError> {
    let lengths = head.headers.get_all(JSON_LENGTH).iter();
    let json_length = oip::binary::json_length(lengths.map(HeaderValue::as_bytes))?;
    let passage = Passage {
        desk,
        request,
        head,
    };
    let (mut admitted, mut held) = passage.enter(body).await?;
    let form = ModelForm::of(&request.model.info);
    let max_images = desk.limits().max_images;
    let all = held.len() as u64;
    let json = json_length.unwrap_or(all).min(all);
    let is_large = json > LARGE_JSON as u64 || (json > 0 && all - json > LARGE_TENSORS as u64);
    let found = if is_large {
        let bytes = held.take_kept();
        let take_apart = move || {
            fault!("large-json");
            oip::request::take_apart(bytes, json_length, &form, max_images)
        };
        admitted.compute(take_apart).await??
    } else {
        oip::request::take_apart(held.take(), json_length, &form, max_images)?
    };
    admitted.set_exif(found.exif);
    if let Some(timeout) = found.timeout {
        admitted.expect_within(timeout);
    }
    let images = found.images.into_iter().map(Ok).collect();
    let answered = passage.classify(admitted, held, images, work).await?;
    let respond = Instant::now();
    let classifications = whole(answered.results)?;
    let numbers =
        classifications.len() * classifications[0].output.len() * found.wanted.outputs.len();
    let model = Arc::clone(&request.model);
    let write = move || oip::Response::new(&model.info, found.wanted, &classifications).encode();
    let (body, json_length) = passage.compute(numbers, write).await?;
    let response = response(body, json_length);
    passage.responded(answered.read, respond, work);
    Ok(response)
}

fn response(body: Vec<u8>, json_length: Option<usize>) -> Response {
    let content_type = match json_length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let content_type = HeaderValue::from_static(content_type);
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(length) = json_length {
        let headers = response.headers_mut();
        headers.insert(JSON_LENGTH, HeaderValue::from(length));
    }
    response
}

impl From<OipError> for ApiError {
    fn from(error: OipError) -> ApiError {
        ApiError::Oip(error)
    }
}
