//! Which model a path of the protocol is about.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use crate::classifier::{ServedModel, SharedClassifier};
use crate::desk::{Desk, DeskError};
use crate::http::error::ApiError;
use crate::http::target::Named;

/// A model that is served, by a path that may name it.
pub(super) type NamedPath = Result<Path<Named>, PathRejection>;

/// Finds the model that the path names among those in charge.
///
/// # Errors
/// Not ready, and no such model or version.
pub(super) fn model(
    desk: &Desk,
    path: NamedPath,
) -> Result<(Arc<SharedClassifier>, Arc<ServedModel>), ApiError> {
    let classifier = desk.classifier()?;
    let Path(Named { model, version }) = path.map_err(|_| ApiError::BadUrl)?;
    let model = desk.model(&classifier, Some(&model), version.as_deref())?;
    Ok((classifier, model))
}

/// The models in charge, where the server takes requests.
///
/// # Errors
/// [`DeskError::NotReady`], [`DeskError::ShuttingDown`].
pub(super) fn ready(desk: &Desk) -> Result<Arc<SharedClassifier>, DeskError> {
    match desk.is_draining() {
        true => Err(DeskError::ShuttingDown),
        false => desk.classifier(),
    }
}
