//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, passes it through the desk, and writes the answers in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::access::Work;
use super::answer::Writer;
use super::error::ApiError;
use super::passage::{Passage, told};
use super::query::OF_WISHES;
use super::target::{self, Named, Parameters, Resolved};
use super::upload;
use super::wishes::Wishes;
use crate::classifier::{Classification, ClassifyError, ServedModel};
use crate::desk::{Admitted, AnswerMemory, Answered, Desk, DeskError, HeldBody};
use crate::overlay;
use crate::preprocess::Source;

pub(super) async fn classify(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    handle(&desk, Ok(None), query, request, CLASSES).await
}

pub(super) async fn classify_with(
    State(desk): State<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let named = match name {
        Ok(Path(model)) => Ok(Some(Named {
            model,
            version: None,
        })),
        Err(_) => Err(ApiError::BadUrl),
    };
    handle(&desk, named, query, request, CLASSES).await
}

/// A form in which a route answers.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// The query's parameters that it has beside those of every route with images.
    pub(super) parameters: &'static [&'static str],
    /// How what was found in a request's images is written.
    pub(super) write: fn(&ServedModel, Wishes, Found) -> Result<Response, ApiError>,
}

/// The form of `/classify`.
const CLASSES: Form = Form {
    parameters: &OF_WISHES,
    write,
};

/// What was found in a request's images.
pub(super) struct Found {
    pub(super) results: Vec<Result<Classification, ApiError>>,
    /// Whether the answer is a list even for one image.
    pub(super) is_list: bool,
    /// How long the body took to arrive.
    pub(super) read: Duration,
}

fn write(model: &ServedModel, wishes: Wishes, mut found: Found) -> Result<Response, ApiError> {
    let writer = Writer {
        model: &model.info,
        embedding: wishes.embedding,
        timed: wishes.timing.then_some(found.read),
    };
    Ok(match found.is_list {
        true => writer.list(&found.results),
        false => writer.single(&found.results.remove(0)?),
    })
}

/// Answers a request whose body has the images, and whose path may name a model; tells its metrics and its line in the
/// log what it was about, also when the answer is a problem.
pub(super) async fn handle(
    desk: &Desk,
    path: Result<Option<Named>, ApiError>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
    form: Form,
) -> Response {
    let arrived = Instant::now();
    fault!("http-handler");
    let (head, mut body) = request.into_parts();
    let resolved = target::resolve(desk, path, query, (&head, arrived), form.parameters);
    let mut work = Work::of(resolved.as_ref().map(|r| &r.request));
    let answer = match resolved {
        Ok(resolved) => run(desk, &resolved, (&head, &mut body), form, &mut work).await,
        Err(e) => Err(e),
    };
    told(answer, work)
}

/// A class in an answer is as much to write as this many numbers: it has an index, a probability and three names.
const NUMBERS_OF_CLASS: usize = 5;

/// From this size on, in bytes, JSON is taken apart on another thread: below it takes less than half a millisecond.
pub(super) const LARGE_JSON: usize = 256 << 10;

async fn run(
    desk: &Desk,
    resolved: &Resolved,
    (head, body): (&Parts, &mut Body),
    form: Form,
    work: &mut Work,
) -> Result<Response, ApiError> {
    let passage = Passage {
        desk,
        request: &resolved.request,
        head,
    };
    let (admitted, mut held) = passage.enter(body).await?;
    let (images, is_list) = images(passage, &admitted, &mut held).await?;
    let wishes = resolved.wishes;
    if wishes.is_overlay && images.len() > 1 {
        return Err(ApiError::OverlayOfSeveral(images.len()));
    }
    let model = Arc::clone(&resolved.request.model);
    let of_image = wishes.bytes_beside_classes(&model);
    let memory = admitted.reserve_answer(images.len(), of_image)?;
    let answered = passage.classify(admitted, held, images, work).await?;
    let respond = Instant::now();
    let Answered {
        mut results,
        read,
        deadline,
        ..
    } = answered;
    let response = if wishes.is_overlay {
        drawn(passage, results.remove(0)?, deadline).await?
    } else {
        let of_classes = NUMBERS_OF_CLASS * resolved.request.options.top_k;
        let numbers = results.len() * (of_classes + wishes.numbers(&model));
        let found = Found {
            results,
            is_list,
            read,
        };
        let write = move || {
            let response = (form.write)(&model, wishes, found);
            response.map(|response| (response, memory)) // which stays while it is written
        };
        let (response, memory) = passage.compute(numbers, deadline, write).await??;
        kept(response, memory).await?
    };
    passage.responded(read, respond, work);
    Ok(response)
}

/// The answer, whose body is in memory, holding what it takes until it is read.
async fn kept(response: Response, memory: AnswerMemory) -> Result<Response, ApiError> {
    if memory.is_empty() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let written = to_bytes(body, usize::MAX).await;
    let written = written.map_err(|_| DeskError::Panicked)?; // nothing of it is on its way
    Ok(Response::from_parts(head, memory.keep(written).into()))
}

/// The explanation of an image as a picture. Most drawings that wait or are read at a time are as many as have room in
/// the memory for answers with a byte a pixel, of which a picture takes a fraction once it is drawn.
///
/// # Errors
/// [`ApiError::OverlayTooLarge`]; the desk's, of the memory and the deadline.
async fn drawn(
    passage: Passage<'_>,
    classification: Classification,
    deadline: Instant,
) -> Result<Response, ApiError> {
    let Classification { image, further, .. } = classification;
    let (Some(image), Some(activation)) = (image, further.activation) else {
        return Err(DeskError::Panicked.into()); // a file was sent, and the model explains
    };
    let size = (image.width, image.height);
    let seen = passage.request.model.info.preprocess.seen(size.0, size.1);
    let pixels = overlay::pixels(size)?;
    let client = passage.request.client;
    let memory = passage.desk.reserve_answer(client, 1, pixels)?;
    if Instant::now() >= deadline {
        return Err(ClassifyError::Expired.into());
    }
    let draw = move || {
        let png = overlay::draw(&activation, seen, size);
        png.map(|png| (png, memory)) // which stays while it is drawn
    };
    let (png, memory) = passage.compute(pixels, deadline, draw).await??;
    let kind = HeaderValue::from_static("image/png");
    Ok(([(header::CONTENT_TYPE, kind)], memory.keep(png.into())).into_response())
}

/// The images of a body in one of the forms that it may have, and whether they are a list.
///
/// # Errors
/// The body's own; that of one image is in the list.
async fn images(
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
