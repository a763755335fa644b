//! A model reference to a network ready to serve, with its preprocessing and labels.
//!
//! Called by `cli` at start; hands `LoadedModel` to `classifier`. Refuses what it cannot serve correctly.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builtin::Builtin;
use super::labels::Labels;
use super::spec::{
    ModelSpec, fitted_labels, fitted_preprocess, has_standard_colors, standard_labels,
    standard_preprocess,
};
use super::{ModelError, ModelRef, OutputKind, Source, sha256_of};
use crate::engine::{
    EngineOptions, Model, ModelSource, NetworkInput, OutputWish, Single, TractModel,
};
use crate::preprocess::PreprocessSpec;

/// Largest model file, in bytes: ten times the largest ResNet of the catalogue.
const MAX_MODEL_BYTES: u64 = 2 << 30;

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
    /// What its class indices mean; one a class.
    pub labels: Labels,
    /// What its output is.
    pub output: OutputKind,
    /// Where that was taken from; for people.
    pub output_reason: String,
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

/// A model's parts before its network is imported.
struct Parts {
    origin: String,
    onnx: std::borrow::Cow<'static, [u8]>,
    dir: Option<PathBuf>,
    sha256: String,
    license: Option<String>,
    preprocess: Option<PreprocessSpec>,
    labels: Option<Labels>,
    output_name: Option<String>,
    kind: Option<OutputKind>,
}

impl Parts {
    /// What the engine is told of the output.
    fn output_wish(&self) -> OutputWish {
        OutputWish {
            name: self.output_name.clone(),
            classes: self.labels.as_ref().map(Labels::len),
            single: self.kind.map(|kind| match kind {
                OutputKind::Logits => Single::Logit,
                OutputKind::Probabilities | OutputKind::Scores => Single::Probability,
            }),
        }
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
    let wish = parts.output_wish();
    let preprocess = parts.preprocess;
    let source = model_source(parts.onnx, parts.dir.as_deref(), preprocess.as_ref(), wish);
    let model = TractModel::load(source, options).map_err(refuse)?;
    let classes = model.spec().classes();
    let preprocess = preprocess_for(&model.spec().input(), preprocess).map_err(bad_spec)?;
    let labels = match parts.labels {
        Some(labels) => fitted_labels(labels, classes),
        None => standard_labels(classes),
    };
    if labels.len() != classes {
        return Err(bad_spec(format!(
            "there are {} labels, the network has {classes} classes",
            labels.len()
        )));
    }
    let outputs = model.probe().map_err(refuse)?;
    let (output, kind_reason) = match parts.kind {
        Some(kind) => (kind, "by model.toml".to_owned()),
        None => {
            let kind = OutputKind::of(model.spec().ending, &outputs).map_err(bad_spec)?;
            (kind, format!("by {} test images", outputs.len()))
        }
    };
    Ok(LoadedModel {
        name: reference.name.clone(),
        origin: parts.origin,
        sha256: parts.sha256,
        bytes,
        license: parts.license,
        preprocess,
        labels,
        output,
        output_reason: format!("{}; {kind_reason}", model.spec().output_reason),
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
    let wish = parts.output_wish();
    let source = model_source(
        parts.onnx,
        parts.dir.as_deref(),
        parts.preprocess.as_ref(),
        wish,
    );
    let input = TractModel::input(source).map_err(|reason| ModelError::Load {
        origin: parts.origin.clone(),
        reason,
    })?;
    preprocess_for(&input, parts.preprocess).map_err(|reason| ModelError::BadSpec {
        path: PathBuf::from(parts.origin),
        reason,
    })
}

fn model_source<'a>(
    bytes: std::borrow::Cow<'static, [u8]>,
    dir: Option<&'a Path>,
    preprocess: Option<&PreprocessSpec>,
    output: OutputWish,
) -> ModelSource<'a> {
    let standard = PreprocessSpec::default(); // of any side, in `preprocess_for` too
    let preprocess = preprocess.unwrap_or(&standard);
    let PreprocessSpec {
        crop, mean, std, ..
    } = preprocess;
    ModelSource {
        may_normalize_itself: has_standard_colors(preprocess),
        bytes,
        dir,
        default_side: *crop as usize,
        normalization: Some([0, 1, 2].map(|channel| (mean[channel], std[channel]))),
        output,
    }
}

/// The preprocessing given, or the standard one, checked against the side of the network's input.
fn preprocess_for(
    input: &NetworkInput,
    given: Option<PreprocessSpec>,
) -> Result<PreprocessSpec, String> {
    let side = input.side;
    let preprocess = given.unwrap_or_else(|| standard_preprocess(side));
    if preprocess.crop as usize != side {
        return Err(format!(
            "the preprocessing crops to {}, the network takes {side}×{side}",
            preprocess.crop
        ));
    }
    preprocess.validate()?;
    fitted_preprocess(preprocess, input)
}

fn parts(reference: &ModelRef) -> Result<Parts, ModelError> {
    match &reference.source {
        Source::Builtin(builtin) => builtin_parts(builtin),
        Source::File(path) => file_parts(path),
        Source::Catalog(entry, path) => {
            let parts = file_parts(path)?;
            if parts.sha256 != entry.sha256 {
                return Err(ModelError::WrongDigest {
                    name: entry.name.clone(),
                    path: path.clone(),
                    got: parts.sha256,
                    expected: entry.sha256.clone(),
                });
            }
            let (preprocess, labels) =
                (Some(entry.preprocess.clone()), Some(entry.labels.labels()));
            Ok(Parts {
                preprocess,
                labels,
                license: Some(entry.license.clone()),
                dir: None, // the digest covers one file
                ..parts
            })
        }
        Source::Directory(dir) => {
            let spec = read_spec(&dir.join("model.toml"))?;
            let labels = match (read_labels(&dir.join("labels.txt"))?, spec.output.labels) {
                (Some(labels), _) => Some(labels),
                (None, set) => set.map(super::LabelSet::labels),
            };
            let path = dir.join("model.onnx");
            let mut parts = file_parts(&path)?;
            if let Some(expected) = spec.sha256 {
                if !expected.eq_ignore_ascii_case(&parts.sha256) {
                    return Err(ModelError::WrongSpecDigest {
                        path,
                        got: parts.sha256,
                        expected,
                    });
                }
                parts.dir = None; // the digest covers one file
            }
            Ok(Parts {
                preprocess: spec.preprocess,
                labels,
                output_name: spec.output.name,
                kind: spec.output.kind,
                ..parts
            })
        }
    }
}

fn builtin_parts(builtin: &'static Builtin) -> Result<Parts, ModelError> {
    Ok(Parts {
        origin: "built-in".into(),
        sha256: digest(builtin.onnx, Path::new("built-in"))?,
        onnx: builtin.onnx.into(),
        dir: None,
        license: Some(builtin.license.into()),
        preprocess: Some(builtin.preprocess.clone()),
        labels: Some(
            Labels::parse(builtin.labels)
                .expect("the compiled-in labels parse; a unit test reads them"),
        ),
        output_name: None,
        kind: None,
    })
}

fn file_parts(path: &Path) -> Result<Parts, ModelError> {
    let onnx = read_capped(path, MAX_MODEL_BYTES)?;
    Ok(Parts {
        origin: path.display().to_string(),
        sha256: digest(&onnx, path)?,
        onnx: onnx.into(),
        dir: Some(
            path.parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
                .to_owned(),
        ),
        license: None,
        preprocess: None,
        labels: None,
        output_name: None,
        kind: None,
    })
}

fn digest(bytes: &[u8], path: &Path) -> Result<String, ModelError> {
    sha256_of(&mut &*bytes).map_err(|e| ModelError::Unreadable {
        path: path.to_owned(),
        reason: format!("cannot be hashed: {e}"),
    })
}

/// Reads a whole regular file: a pipe or device could block or never end.
fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, ModelError> {
    let refuse = |reason: String| ModelError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let meta = std::fs::metadata(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
    if !meta.is_file() {
        return Err(refuse("is not a file".into()));
    }
    if meta.len() > max {
        return Err(refuse(format!(
            "has {} bytes, allowed are {max}",
            meta.len()
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    let file = std::fs::File::open(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
    file.take(max)
        .read_to_end(&mut bytes)
        .map_err(|e| refuse(format!("cannot be read: {e}")))?;
    Ok(bytes)
}

/// Largest `model.toml` and `labels.txt`, in bytes.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The file's text, or `None` if there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read_capped(path, MAX_TEXT_BYTES)?);
    text.map(Some).map_err(|e| ModelError::BadSpec {
        path: path.to_owned(),
        reason: format!("is not UTF-8: {e}"),
    })
}

fn read_spec(path: &Path) -> Result<ModelSpec, ModelError> {
    let refuse = |reason: String| ModelError::BadSpec {
        path: path.to_owned(),
        reason,
    };
    let Some(text) = read_text(path)? else {
        return Ok(ModelSpec::default());
    };
    let spec: ModelSpec = toml::from_str(&text).map_err(|e| {
        let line = e
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        refuse(format!("line {line}: {}", e.message()))
    })?;
    spec.validate().map_err(refuse)?;
    Ok(spec)
}

fn read_labels(path: &Path) -> Result<Option<Labels>, ModelError> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    let refuse = |e: super::LabelsError| ModelError::BadSpec {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    Labels::parse(&text).map(Some).map_err(refuse)
}
