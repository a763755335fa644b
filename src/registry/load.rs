//! A model reference to a network ready to serve, with its preprocessing and labels.
//!
//! Called by `cli` at start; hands `LoadedModel` to `classifier`. Refuses what it cannot serve correctly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::labels::Labels;
use super::parts::parts;
use super::recipe::Recipes;
use super::spec::{OutputKind, standard_labels};
use super::{ModelError, ModelRef, Source};
use crate::engine::{EngineOptions, Model, ModelSource, TractModel, WeightsDir};
use crate::preprocess::PreprocessSpec;

/// A network ready to serve.
pub struct LoadedModel {
    /// The name it is served by.
    pub name: String,
    /// The file it came from, or "built-in".
    pub origin: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
    /// Size of its file.
    pub bytes: u64,
    /// Its licence, where the catalogue knows it.
    pub license: Option<String>,
    /// How images become its input.
    pub preprocess: PreprocessSpec,
    /// Which of these settings were taken from where, for people.
    pub preprocess_from: String,
    /// What its class indices mean; one a class.
    pub labels: Labels,
    /// Where they were taken from, for people.
    pub labels_from: String,
    /// What whoever serves it should know: labels that are equal, files that are not read.
    pub notes: Vec<String>,
    /// What its output is.
    pub output: OutputKind,
    /// The network.
    pub model: Arc<dyn Model>,
    /// Time from file to plan.
    pub load_time: Duration,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedModel")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Loads the model that `reference` names.
///
/// # Errors
/// [`ModelError`], one line naming the file, the node where there is one, and the reason.
pub fn load(reference: &ModelRef, options: &EngineOptions) -> Result<LoadedModel, ModelError> {
    let start = Instant::now();
    let parts = parts(reference)?;
    let refuse = |reason| ModelError::Load {
        origin: parts.origin.clone(),
        reason,
    };
    let bad_spec = |reason: String| ModelError::BadSpec {
        path: PathBuf::from(&parts.origin),
        reason,
    };
    let bytes = parts.onnx.len() as u64;
    let source = model_source(parts.onnx, parts.dir.as_ref(), &parts.recipes).map_err(bad_spec)?;
    let model = TractModel::load(source, options).map_err(refuse)?;
    let (side, classes) = (model.spec().side, model.spec().classes());
    let (preprocess, preprocess_from) = parts.recipes.whole(side).map_err(bad_spec)?;
    let (labels, labels_from) = parts.labels.unwrap_or_else(|| standard_labels(classes));
    if labels.len() != classes {
        return Err(bad_spec(format!(
            "there are {} labels, the network has {classes} classes ({labels_from} has the labels)",
            labels.len()
        )));
    }
    let mut notes = parts.notes;
    notes.extend(equal_labels(&labels));
    let output = match (parts.kind, model.probe().map_err(refuse)?) {
        (Some(kind), _) => kind,
        (None, output) => OutputKind::of(&output),
    };
    Ok(LoadedModel {
        name: reference.name.clone(),
        origin: parts.origin,
        sha256: parts.sha256,
        bytes,
        license: parts.license,
        preprocess,
        preprocess_from: preprocess_from.to_string(),
        labels,
        labels_from,
        notes,
        output,
        model: Arc::new(model),
        load_time: start.elapsed(),
    })
}

/// How images become the input of the model that `reference` names, without optimizing or running its network.
///
/// # Errors
/// [`ModelError`], one line naming the file and the reason.
pub fn preprocess_of(reference: &ModelRef) -> Result<PreprocessSpec, ModelError> {
    if let Source::Catalog(entry, _) = &reference.source {
        return Ok(entry.preprocess.clone());
    }
    let parts = parts(reference)?;
    let origin = PathBuf::from(&parts.origin);
    let bad_spec = |reason: String| ModelError::BadSpec {
        path: origin.clone(),
        reason,
    };
    let source = model_source(parts.onnx, parts.dir.as_ref(), &parts.recipes).map_err(bad_spec)?;
    let side = TractModel::input_side(source).map_err(|reason| ModelError::Load {
        origin: parts.origin,
        reason,
    })?;
    let (preprocess, _) = parts.recipes.whole(side).map_err(bad_spec)?;
    Ok(preprocess)
}

/// The file for the engine.
///
/// # Errors
/// A sentence, if how colors become values cannot be honoured.
fn model_source<'a>(
    bytes: std::borrow::Cow<'static, [u8]>,
    dir: Option<&'a WeightsDir>,
    recipes: &Recipes,
) -> Result<ModelSource<'a>, String> {
    let colors = recipes.colors()?;
    // The kernels that normalize bytes take pixels as 0 to 1; any other range comes normalized.
    let is_usual = colors.scale == 1.0;
    Ok(ModelSource {
        bytes,
        dir,
        default_side: recipes.open_side(),
        normalization: is_usual
            .then(|| [0, 1, 2].map(|channel| (colors.mean[channel], colors.std[channel]))),
    })
}

/// A sentence about classes that nothing tells apart, with the first three of them.
fn equal_labels(labels: &Labels) -> Option<String> {
    let repeated = labels.repeated();
    let shown = |(first, again): &(usize, usize)| {
        let name = labels.get(*again).map_or("", |label| &label.synset);
        format!("{first} and {again} are both \"{name}\"")
    };
    let examples: Vec<String> = repeated.iter().take(3).map(shown).collect();
    (!repeated.is_empty()).then(|| {
        format!(
            "classes have equal labels, so that answers do not tell them apart by name: {}{}",
            examples.join(", "),
            if repeated.len() > 3 { ", …" } else { "" }
        )
    })
}
