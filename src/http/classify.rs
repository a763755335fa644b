//! `POST` and `PUT /classify` and `/models/{name}/classify`: images in, ranked classes out.
//!
//! Reads the request, hands each image to `classifier`, and writes the answers in order.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::Version;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::client::client_id;
use super::deadline::Deadline;
use super::observe::ModelLabel;
use super::{ApiError, App, answer, body, upload};
use crate::classifier::{
    Classification, Classifier, ClassifyError, ClassifyOptions, Pending, Place, Refusal,
    ServedModel, SharedClassifier,
};
use crate::preprocess::ExifMode;
use crate::turns::ClientId;

/// Query parameters as they came; unknown ones are refused, so that a typo is not a silent default.
type Parameters = Vec<(String, String)>;

pub(super) async fn classify(
    State(app): State<Arc<App>>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    handle(&app, Ok(None), query, request).await
}

pub(super) async fn classify_with(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let name = name
        .map(|Path(name)| Some(name))
        .map_err(|_| ApiError::BadUrl);
    handle(&app, name, query, request).await
}

/// Answers, and names the model in the request's metrics also when the answer is a problem.
async fn handle(
    app: &App,
    path_model: Result<Option<String>, ApiError>,
    query: Result<Query<Parameters>, QueryRejection>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    fault!("http-handler");
    let (head, mut body) = request.into_parts();
    let resolved = resolve(app, path_model, query, &head, arrived);
    let label = resolved
        .as_ref()
        .ok()
        .map(|target| ModelLabel(target.model.info.name.clone()));
    let answer = match resolved {
        Ok(target) => {
            let client = client_id(&head.extensions, &app.client_seed);
            run(app, &target, client, &head, &mut body).await
        }
        Err(e) => Err(e),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if let Some(label) = label {
        response.extensions_mut().insert(label);
    }
    response
}

async fn run(
    app: &App,
    target: &Target,
    client: ClientId,
    head: &Parts,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let Target {
        classifier,
        model,
        options,
        deadline,
    } = target;
    if let Some(stuck) = classifier.stuck().filter(|stuck| stuck.all) {
        return Err(ApiError::Stuck(stuck));
    }
    // Before the body is read: a refusal should cost neither side a long upload.
    let start = Instant::now();
    let mut places = match classifier.admit(model, client, 1, 0, deadline.at(start) - start) {
        Ok(places) => places,
        Err(refusal) => return Err(refuse(app, target, client, head, body, refusal).await),
    };
    let headers = &head.headers;
    let reading = body::read(headers, body, &app.limits, app.body_memory.share(client));
    let reading = or_expired(deadline.client(), reading);
    let mut body = while_reserved(&mut places, reading).await??;
    let upload = upload::parse(headers, body.take(), app.limits.max_images).await?;
    let now = Instant::now();
    let (read, deadline) = (now - start, deadline.at(now));
    let missing = upload.images.len() - places.len();
    if missing > 0 {
        let held = places.len();
        match classifier.admit(model, client, missing, held, deadline - now) {
            Ok(more) => places.extend(more),
            Err(refusal) => {
                drop((places, upload, body));
                return Err(refuse(app, target, client, head, &mut Body::empty(), refusal).await);
            }
        }
    }
    let options = ClassifyOptions {
        deadline: Some(deadline),
        ..*options
    };

    let submitted: Vec<Result<Pending, ApiError>> = upload
        .images
        .into_iter()
        .zip(places)
        .map(|(image, place)| Ok(classifier.submit(model, body.keep(image?), options, place)))
        .collect();
    // Also when nobody looks at the images' own deadlines, because every thread is stuck.
    let mut results = or_expired(Some(deadline), wait_all(submitted)).await?;
    drop(body);

    let respond = Instant::now();
    let name = &model.info.name;
    let response = if upload.is_list {
        answer::list(name, &results)
    } else {
        answer::single(name, &results.remove(0)?, read)
    };
    let stages = &app.metrics.stage_duration;
    stages
        .with_label_values(&["read"])
        .observe(read.as_secs_f64());
    stages
        .with_label_values(&["respond"])
        .observe(respond.elapsed().as_secs_f64());
    Ok(response)
}

/// A refusal, as late as this client's are. What it still sends is read away if that is short; a client that is sending
/// more should hear at once that it need not.
async fn refuse(
    app: &App,
    target: &Target,
    client: ClientId,
    head: &Parts,
    body: &mut Body,
    refusal: Refusal,
) -> ApiError {
    let is_read = body::discard(head, body, app.limits.max_body_bytes).await;
    let now = Instant::now();
    let answer = target.classifier.time_of_an_answer(&target.model);
    // Nobody is held back past a deadline, nor the drain.
    let hold = app.refusal_pace.hold(client, answer, now);
    let hold = hold.min(target.deadline.at(now) - now);
    let sends_no_more = is_read || head.version == Version::HTTP_2; // which has windows for that
    if sends_no_more && !hold.is_zero() && !app.is_draining() {
        tokio::time::sleep(hold).await;
    }
    refusal.into()
}

async fn wait_all(
    submitted: Vec<Result<Pending, ApiError>>,
) -> Vec<Result<Classification, ApiError>> {
    let mut results = Vec::with_capacity(submitted.len());
    for pending in submitted {
        results.push(match pending {
            Ok(pending) => pending.wait().await.map_err(ApiError::from),
            Err(e) => Err(e),
        });
    }
    results
}

/// How long a place is kept for an upload. Most take less; a client that takes longer should not keep others out, and
/// asks again when it is done.
const RESERVATION: Duration = Duration::from_millis(250);

/// Reads an upload, and gives its place up when that takes long.
async fn while_reserved<T>(places: &mut Vec<Place>, reading: impl Future<Output = T>) -> T {
    let mut reading = std::pin::pin!(reading);
    match tokio::time::timeout(RESERVATION, &mut reading).await {
        Ok(result) => result,
        Err(_) => {
            places.clear();
            reading.await
        }
    }
}

/// Waits until `deadline` at most.
async fn or_expired<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, ApiError> {
    let Some(deadline) = deadline else {
        return Ok(work.await);
    };
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .map_err(|_| ClassifyError::Expired.into())
}

/// What a request asks for.
struct Target {
    classifier: Arc<SharedClassifier>,
    model: Arc<ServedModel>,
    options: ClassifyOptions,
    deadline: Deadline,
}

fn resolve(
    app: &App,
    path_model: Result<Option<String>, ApiError>,
    query: Result<Query<Parameters>, QueryRejection>,
    head: &Parts,
    arrived: Instant,
) -> Result<Target, ApiError> {
    let classifier = app.classifier()?;
    let path_model = path_model?;
    let Query(parameters) = query.map_err(|_| ApiError::BadUrl)?;
    let (mut model, mut top_k, mut exif, mut timeout_ms) = (None, None, None, None);
    for (key, value) in parameters {
        let (name, slot) = match key.as_str() {
            "model" => ("model", &mut model),
            "top_k" => ("top_k", &mut top_k),
            "exif" => ("exif", &mut exif),
            "timeout_ms" => ("timeout_ms", &mut timeout_ms),
            _ => return Err(ApiError::UnknownParameter { name: cut(&key) }),
        };
        if slot.replace(value).is_some() {
            return Err(ApiError::RepeatedParameter { name });
        }
    }
    let name = match (path_model, model) {
        (Some(path), Some(query)) if path != query => {
            return Err(bad_query(
                "model",
                &query,
                format!("\"{}\", which the path names", cut(&path)),
            ));
        }
        (path, query) => path.or(query),
    };
    let model = classifier.model(name.as_deref()).cloned();
    let model = model.ok_or_else(|| unknown_model(&classifier, name.as_deref()))?;
    let classes = model.info.labels.len();
    let exif = match exif.as_deref() {
        None | Some("auto") => ExifMode::Apply,
        Some("ignore") => ExifMode::Ignore,
        Some(other) => return Err(bad_query("exif", other, "auto and ignore".into())),
    };
    let top_k = match top_k {
        None => ClassifyOptions::default().top_k.min(classes),
        Some(text) => text
            .parse()
            .ok()
            .filter(|k| (1..=classes).contains(k))
            .ok_or_else(|| {
                bad_query("top_k", &text, format!("whole numbers from 1 to {classes}"))
            })?,
    };
    let limit = app.limits.request_timeout;
    Ok(Target {
        classifier,
        model,
        options: ClassifyOptions {
            top_k,
            exif,
            deadline: None,
        },
        deadline: Deadline::new(arrived, limit, &head.headers, timeout_ms.as_deref())?,
    })
}

fn bad_query(name: &str, value: &str, allowed: String) -> ApiError {
    ApiError::BadQuery {
        name: name.into(),
        value: cut(value),
        allowed,
    }
}

/// What of a client's text goes into a message.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

pub(super) fn unknown_model(classifier: &Classifier, name: Option<&str>) -> ApiError {
    let served: Vec<&str> = classifier
        .models()
        .iter()
        .map(|m| m.info.name.as_str())
        .collect();
    ApiError::UnknownModel {
        name: cut(name.unwrap_or_default()),
        served: served.join(", "),
    }
}
