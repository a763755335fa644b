//! `POST /v2/models/{model}/infer`: tensors or photos in, the network's numbers or ranked classes out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::find::{self, NamedPath};
use crate::desk::{Deadline, Desk, InferRequest};
use crate::http::access::Work;
use crate::http::classify::LARGE_JSON;
use crate::http::client::client_id;
use crate::http::deadline::patience;
use crate::http::error::ApiError;
use crate::http::inference::{self, Inference, LARGE_TENSORS};
use crate::http::passage::{Passage, told};
use crate::oip::{self, ModelForm, OipError};

const JSON_LENGTH: HeaderName = HeaderName::from_static(oip::binary::HEADER);

pub(super) async fn infer(
    State(desk): State<Arc<Desk>>,
    path: NamedPath,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (head, mut body) = request.into_parts();
    let resolved = resolve(&desk, path, &head, arrived);
    let mut work = Work::of(resolved.as_ref());
    let answer = match resolved {
        Ok(request) => run(&desk, &request, &head, &mut body, &mut work).await,
        Err(e) => Err(e),
    };
    told(answer, work)
}

fn resolve(
    desk: &Desk,
    path: NamedPath,
    head: &Parts,
    arrived: Instant,
) -> Result<InferRequest, ApiError> {
    let model = find::model(desk, path)?;
    let patience = patience(&head.headers, None)?;
    let deadline = Deadline::new(arrived, desk.limits().request_timeout, patience);
    Ok(inference::request(
        model,
        client_id(desk, &head.extensions),
        deadline,
    ))
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
    let (admitted, mut held) = passage.enter(body).await?;
    let all = held.len() as u64;
    let json = json_length.unwrap_or(all).min(all);
    let is_large = json > LARGE_JSON as u64 || (json > 0 && all - json > LARGE_TENSORS as u64);
    let bytes = match is_large {
        true => held.take_kept(),
        false => held.take(),
    };
    let inference = Inference {
        passage,
        admitted,
        held,
        is_large,
    };
    let take_apart = move |form: &ModelForm, max_images| {
        oip::request::take_apart(bytes, json_length, form, max_images)
    };
    let write = |answer: oip::Response| answer.encode();
    let (written, memory) = inference.answer(take_apart, write, work).await?;
    let (body, json_length) = written;
    Ok(response(memory.keep(body.into()), json_length))
}

fn response(body: Bytes, json_length: Option<usize>) -> Response {
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
