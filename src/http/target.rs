//! What a request asks for, from its path and query: the model, the options, the time it may take.
//!
//! Called by the routes that take images: `classify`, `predictions` and `oip`.

use std::time::Instant;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::request::Parts;

use super::client::client_id;
use super::deadline::patience;
use super::error::ApiError;
use super::query::OF_ALL;
use super::wishes::{Wanted, Wishes};
use crate::classifier::{ClassifyOptions, MaxPixels};
use crate::desk::{Deadline, Desk, InferRequest, cut};
use crate::overlay;
use crate::preprocess::ExifMode;

/// Query parameters as they came; unknown ones are refused, so that a typo is not a silent default.
pub(super) type Parameters = Vec<(String, String)>;

/// The model of a path, and the version if it names one.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Named {
    pub(super) model: String,
    pub(super) version: Option<String>,
}

/// What a request is for, and what its answer has beside the classes.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) request: InferRequest,
    pub(super) wishes: Wishes,
}

/// Reads what came at `arrived`; `further` are the parameters that this route has beside those of all.
///
/// # Errors
/// The first parameter that is wrong, unknown or contradicts another one.
pub(super) fn resolve(
    desk: &Desk,
    path: Result<Option<Named>, ApiError>,
    query: Result<Query<Parameters>, QueryRejection>,
    (head, arrived): (&Parts, Instant),
    further: &'static [&'static str],
) -> Result<Resolved, ApiError> {
    let classifier = desk.classifier()?;
    let (path_model, version) = match path? {
        Some(Named { model, version }) => (Some(model), version),
        None => (None, None),
    };
    let Query(parameters) = query.map_err(|_| ApiError::BadUrl)?;
    let (mut model, mut top_k, mut exif, mut timeout_ms) = (None, None, None, None);
    let mut wanted = Wanted::default();
    for (key, value) in parameters {
        let mut known = OF_ALL.iter().chain(further);
        let Some(name) = known.find(|name| **name == key) else {
            let known = OF_ALL.iter().chain(further).copied().collect();
            return Err(ApiError::UnknownParameter {
                name: cut(&key),
                known,
            });
        };
        let slot = match *name {
            "model" => &mut model,
            "top_k" => &mut top_k,
            "exif" => &mut exif,
            "timeout_ms" => &mut timeout_ms,
            "explain" => &mut wanted.explain,
            "explain_class" => &mut wanted.explain_class,
            "explain_image" => &mut wanted.explain_image,
            "embedding" => &mut wanted.embedding,
            _ => &mut wanted.timing,
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
    let model = desk.model(&classifier, name.as_deref(), version.as_deref())?;
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
    let wishes = Wishes::read(&wanted, &model)?;
    let patience = patience(&head.headers, timeout_ms.as_deref())?;
    let request = InferRequest {
        classifier,
        model,
        client: client_id(desk, &head.extensions),
        options: ClassifyOptions {
            top_k,
            exif,
            wish: wishes.of_classifier(),
            max_pixels: wishes.is_overlay.then(|| most_of_overlay(desk)),
            deadline: None,
        },
        deadline: Deadline::new(arrived, desk.limits().request_timeout, patience),
    };
    Ok(Resolved { request, wishes })
}

/// Most pixels of a photo with an overlay, which takes a byte of memory for each while it is drawn: what is more is
/// refused before the network runs for nothing.
fn most_of_overlay(desk: &Desk) -> MaxPixels {
    let of_memory = desk.most_for_answer() as u64;
    match of_memory < overlay::MAX_PIXELS {
        true => MaxPixels::OfMemory(of_memory),
        false => MaxPixels::OfDrawing(overlay::MAX_PIXELS),
    }
}

/// The refusal of a parameter's value.
pub(super) fn bad_query(name: &str, value: &str, allowed: String) -> ApiError {
    ApiError::BadQuery {
        name: name.into(),
        value: cut(value),
        allowed,
    }
}
