//! `model.toml`: what a user's own model was trained with, and what it answers.
//!
//! Read by `parts`; a missing file or field leaves it to what else is known of the model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::catalog::LabelSet;
use super::labels::Labels;
use super::recipe::Given;
use super::text::read_text;
use crate::engine::is_distribution;
use crate::hex;

/// The content of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSpec {
    /// SHA-256 of `model.onnx` in hex; what has another one is refused, and so are weights in other files, which it
    /// would not cover.
    pub(super) sha256: Option<String>,
    /// Resize, crop and normalization.
    pub(super) preprocess: Option<Given>,
    /// What the output is.
    #[serde(default)]
    pub(super) output: OutputSpec,
}

impl ModelSpec {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ModelError`], with the file, and the line or the field.
    pub(super) fn read(path: &Path) -> Result<ModelSpec, ModelError> {
        let refuse = |reason: String| ModelError::BadSpec {
            path: path.to_owned(),
            reason,
        };
        let text = read_text(path)?;
        let spec: ModelSpec = toml::from_str(&text).map_err(|e| {
            let line = e
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            refuse(format!("line {line}: {}", e.message()))
        })?;
        spec.validate().map_err(refuse)?;
        Ok(spec)
    }

    /// Checks what no type says; the preprocessing is checked with the network.
    fn validate(&self) -> Result<(), String> {
        match &self.sha256 {
            Some(text) if hex::decode::<32>(text).is_none() => Err(format!(
                "sha256 is \"{text}\", allowed are 64 hexadecimal digits"
            )),
            _ => Ok(()),
        }
    }
}

/// The `[output]` table of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputSpec {
    /// Logits or probabilities; found out with a test image if left out.
    pub(super) kind: Option<OutputKind>,
    /// A compiled-in list of labels, instead of a `labels.txt`.
    pub(super) labels: Option<LabelSet>,
}

/// Whether a network answers raw logits or already probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Unbounded scores, on which softmax is still due.
    Logits,
    /// Non-negative values that sum to one.
    Probabilities,
}

impl OutputKind {
    /// The word for it in `model.toml`, answers and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OutputKind::Logits => "logits",
            OutputKind::Probabilities => "probabilities",
        }
    }

    /// Tells the kind from one output.
    #[must_use]
    pub fn of(output: &[f32]) -> OutputKind {
        match is_distribution(output) {
            true => OutputKind::Probabilities,
            false => OutputKind::Logits,
        }
    }
}

/// ImageNet's labels if the network has its 1000 classes, class numbers otherwise; and why.
pub(super) fn standard_labels(classes: usize) -> (Labels, String) {
    let imagenet = Labels::imagenet1k();
    if classes == imagenet.len() {
        let reason = "ImageNet's, as nothing says otherwise and there are 1000 classes";
        (imagenet, reason.into())
    } else {
        let reason = "class numbers, as nothing names them";
        (Labels::numbers(classes), reason.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_told_from_an_output() {
        assert_eq!(OutputKind::of(&[0.2, 0.3, 0.5]), OutputKind::Probabilities);
        assert_eq!(OutputKind::of(&[0.2, 0.3, 0.6]), OutputKind::Logits);
        assert_eq!(OutputKind::of(&[-0.5, 1.5]), OutputKind::Logits);
    }

    #[test]
    fn model_toml_is_strict() {
        let spec: ModelSpec = toml::from_str(
            "[preprocess]\nresize = 232\n[output]\nkind = \"probabilities\"\nlabels = \"imagenet1k\"\n",
        )
        .expect("valid");
        assert!(spec.preprocess.is_some());
        assert_eq!(spec.output.kind, Some(OutputKind::Probabilities));
        let error =
            toml::from_str::<ModelSpec>("[preprocess]\nresise = 232\n").expect_err("a typo");
        assert!(error.to_string().contains("resise"), "{error}");
    }
}
