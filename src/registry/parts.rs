//! A model's parts before its network is imported: its file, and what is said of it anywhere.
//!
//! Called by `load`. Reads files, decides nothing about the network.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::beside::{self, Beside};
use super::builtin::Builtin;
use super::exporters::{self, Metadata, Table};
use super::hashed::read_hashed;
use super::labels::Labels;
use super::python_json;
use super::recipe::{Recipe, Recipes};
use super::spec::ModelSpec;
use super::text::read_text;
use super::{LabelSet, LabelsError, ModelError, ModelOrigin, ModelRef, OutputKind, sha256_of};
use crate::engine::{WeightsDir, metadata_of};

/// Largest model file, in bytes: ten times the largest ResNet of the catalogue.
const MAX_MODEL_BYTES: u64 = 2 << 30;

/// A model's parts.
pub(super) struct Parts {
    pub(super) origin: String,
    pub(super) onnx: Bytes,
    /// Where its weights in other files may lie.
    pub(super) dir: Option<WeightsDir>,
    pub(super) sha256: String,
    pub(super) license: Option<String>,
    pub(super) recipes: Recipes,
    /// The labels, with where they come from.
    pub(super) labels: Option<(Labels, String)>,
    /// Which of the network's outputs gives the classes.
    pub(super) output_name: Option<String>,
    pub(super) kind: Option<OutputKind>,
    /// What whoever starts the server should know.
    pub(super) notes: Vec<String>,
}

/// Reads what `reference` names.
///
/// # Errors
/// [`ModelError`], with the file and the reason.
pub(super) fn parts(reference: &ModelRef) -> Result<Parts, ModelError> {
    match &reference.source {
        ModelOrigin::Builtin(builtin) => builtin_parts(builtin),
        ModelOrigin::File(path) => described_parts(path, Beside::of_file(path)),
        ModelOrigin::Directory(dir) => {
            let model = beside::model_in(dir)?;
            described_parts(&model, Beside::of_directory(dir, &model))
        }
        ModelOrigin::Catalog(entry, path) => {
            let parts = file_parts(path)?;
            if parts.sha256 != entry.sha256 {
                return Err(ModelError::WrongDigest {
                    name: entry.name.clone(),
                    path: path.clone(),
                    got: parts.sha256,
                    expected: entry.sha256.clone(),
                });
            }
            Ok(Parts {
                recipes: Recipes(vec![Recipe::of_known(CATALOGUE, &entry.preprocess)]),
                labels: Some((entry.labels.labels(), CATALOGUE.into())),
                license: Some(entry.license.clone()),
                dir: None, // the digest covers one file
                ..parts
            })
        }
    }
}

const CATALOGUE: &str = "the catalogue";
const BUILT_IN: &str = "built-in";

fn builtin_parts(builtin: &'static Builtin) -> Result<Parts, ModelError> {
    let labels = Labels::parse(builtin.labels)
        .expect("the compiled-in labels parse; a unit test reads them");
    Ok(Parts {
        origin: BUILT_IN.into(),
        sha256: sha256_of(&mut &*builtin.onnx).expect("memory is read"),
        onnx: builtin.onnx.into(),
        dir: None,
        license: Some(builtin.license.into()),
        recipes: Recipes(vec![Recipe::of_known(BUILT_IN, &builtin.preprocess)]),
        labels: Some((labels, BUILT_IN.into())),
        output_name: None,
        kind: None,
        notes: Vec::new(),
    })
}

/// The parts of a file alone, without what lies beside it.
fn file_parts(path: &Path) -> Result<Parts, ModelError> {
    let (onnx, sha256) = read_hashed(path, MAX_MODEL_BYTES)?;
    Ok(Parts {
        origin: path.display().to_string(),
        sha256,
        onnx: onnx.into(),
        dir: Some(WeightsDir::of(path)),
        license: None,
        recipes: Recipes::default(),
        labels: None,
        output_name: None,
        kind: None,
        notes: Vec::new(),
    })
}

/// The parts of a file, with what lies beside it.
fn described_parts(path: &Path, beside: Beside) -> Result<Parts, ModelError> {
    let spec = beside
        .spec
        .as_deref()
        .map(ModelSpec::read)
        .transpose()?
        .unwrap_or_default();
    let preprocessor = read_table(beside.preprocessor.as_deref())?;
    let config = read_table(beside.config.as_deref())?;
    let listed = read_labels(&beside)?;
    let mut parts = file_parts(path)?;
    if let Some(expected) = spec.sha256 {
        if !expected.eq_ignore_ascii_case(&parts.sha256) {
            return Err(ModelError::WrongSpecDigest {
                path: path.to_owned(),
                got: parts.sha256,
                expected,
            });
        }
        parts.dir = None; // the digest covers one file
    }
    let metadata = Metadata(metadata_of(&parts.onnx));
    let name = |path: &Option<PathBuf>| {
        let name = path.as_deref().map(|path| beside.name_of(path));
        name.unwrap_or_default()
    };
    let mut recipes = Vec::new();
    if let Some(given) = &spec.preprocess {
        recipes.push(Recipe::of_given(name(&beside.spec), given));
    }
    if let Some(table) = &preprocessor {
        recipes.push(exporters::preprocessor_recipe(
            name(&beside.preprocessor),
            table,
        ));
    }
    if let Some(table) = &config {
        recipes.push(exporters::config_recipe(name(&beside.config), table));
    }
    recipes.push(metadata.recipe(METADATA.into()));

    let set = |set: LabelSet| (set.labels(), name(&beside.spec));
    let mut labels = listed.or(spec.output.labels.map(set));
    if labels.is_none()
        && let (Some(table), Some(path)) = (&config, &beside.config)
    {
        let found = exporters::labels(table).map_err(|e| bad_labels(path, &e))?;
        labels = found.map(|labels| (labels, beside.name_of(path)));
    }
    if labels.is_none() {
        let found = metadata.labels().map_err(|e| bad_labels(path, &e))?;
        labels = found.map(|(labels, key)| (labels, format!("{METADATA} ({key})")));
    }
    let recipes = Recipes(recipes);
    Ok(Parts {
        notes: beside.note.into_iter().chain(recipes.notes()).collect(),
        recipes,
        labels,
        output_name: spec.output.name,
        kind: spec.output.kind,
        ..parts
    })
}

const METADATA: &str = "the file's metadata";

fn bad_labels(path: &Path, error: &LabelsError) -> ModelError {
    ModelError::BadSpec {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn read_labels(beside: &Beside) -> Result<Option<(Labels, String)>, ModelError> {
    let Some(path) = &beside.labels else {
        return Ok(None);
    };
    let read = match path.extension().is_some_and(|e| e == "json") {
        true => Labels::parse_json,
        false => Labels::parse,
    };
    let labels = read(&read_text(path)?).map_err(|e| bad_labels(path, &e))?;
    Ok(Some((labels, beside.name_of(path))))
}

fn read_table(path: Option<&Path>) -> Result<Option<Table>, ModelError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let refuse = |reason: String| ModelError::BadSpec {
        path: path.to_owned(),
        reason,
    };
    match python_json::read(&read_text(path)?) {
        Ok(Value::Object(table)) => Ok(Some(table)),
        Ok(_) => Err(refuse("is no JSON object".into())),
        Err(e) => Err(refuse(format!("is damaged JSON: {e}"))),
    }
}
