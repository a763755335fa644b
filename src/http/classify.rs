//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, passes it through the desk, and writes the answers in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::response::Response;

use super::access::Work;
use super::answer::{self, Writer};
use super::error::ApiError;
use super::passage::{Passage, told};
use super::target::{self, Named, OF_WISHES, Parameters, Resolved};
use super::upload;
use crate::classifier::Classification;
use crate::desk::{Admitted, Desk, DeskError, HeldBody};
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

/// A way to answer.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// The parameters that it has beside those of all.
    pub(super) parameters: &'static [&'static str],
    /// How what was found in a request's images is written.
    pub(super) write: fn(&Resolved, Found) -> Result<Response, ApiError>,
}

/// That of `/classify`.
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

fn write(resolved: &Resolved, mut found: Found) -> Result<Response, ApiError> {
    let writer = Writer {
        model: &resolved.request.model.info,
        embedding: resolved.wishes.embedding,
    };
    Ok(match found.is_list {
        true => writer.list(&found.results),
        false => writer.single(&found.results.remove(0)?, found.read),
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
    let is_overlay = resolved.wishes.is_overlay;
    if is_overlay && images.len() > 1 {
        return Err(ApiError::OverlayOfSeveral(images.len()));
    }
    let answered = passage.classify(admitted, held, images, work).await?;
    let (respond, read) = (Instant::now(), answered.read);
    let mut found = Found {
        results: answered.results,
        is_list,
        read,
    };
    let response = match is_overlay {
        true => drawn(passage, found.results.remove(0)?, read).await?,
        false => (form.write)(resolved, found)?,
    };
    passage.responded(read, respond, work);
    Ok(response)
}

/// The explanation of an image as a picture.
///
/// # Errors
/// [`ApiError::OverlayTooLarge`].
async fn drawn(
    passage: Passage<'_>,
    classification: Classification,
    read: Duration,
) -> Result<Response, ApiError> {
    let Classification {
        image,
        further,
        timings,
        ..
    } = classification;
    let (Some(image), Some(activation)) = (image, further.activation) else {
        return Err(DeskError::Panicked.into()); // a file was sent, and the model explains
    };
    let size = (image.width, image.height);
    let seen = passage.request.model.info.preprocess.seen(size.0, size.1);
    let pixels = usize::try_from(u64::from(size.0) * u64::from(size.1)).unwrap_or(usize::MAX);
    let draw = move || overlay::draw(&activation, seen, size);
    let png = passage.compute(pixels, draw).await??;
    Ok(answer::png(png, read, &timings))
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
