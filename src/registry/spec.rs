//! `model.toml`: what a user's own model was trained with, and what it answers.
//!
//! Read by `load`; a missing file or field means the ImageNet standard.

use serde::{Deserialize, Serialize};

use super::catalog::LabelSet;
use super::labels::Labels;
use crate::engine::is_distribution;
use crate::hex;
use crate::preprocess::{MAX_SIDE, PreprocessSpec};

/// The content of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// SHA-256 of `model.onnx` in hex; what has another one is refused, and so are weights in other files, which it
    /// would not cover.
    pub sha256: Option<String>,
    /// Resize, crop and normalization; fields left out are ImageNet's.
    pub preprocess: Option<PreprocessSpec>,
    /// What the output is.
    #[serde(default)]
    pub output: OutputSpec,
}

impl ModelSpec {
    /// Checks what no type says.
    ///
    /// # Errors
    /// A sentence naming the field, the value and what is allowed.
    pub(super) fn validate(&self) -> Result<(), String> {
        let is_digest = |text: &String| hex::decode::<32>(text).is_some();
        match &self.sha256 {
            Some(text) if !is_digest(text) => Err(format!(
                "sha256 is \"{text}\", allowed are 64 hexadecimal digits"
            )),
            _ => self
                .preprocess
                .as_ref()
                .map_or(Ok(()), PreprocessSpec::validate),
        }
    }
}

/// The `[output]` table of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Logits or probabilities; found out with a test image if left out.
    pub kind: Option<OutputKind>,
    /// A compiled-in list of labels, instead of a `labels.txt`.
    pub labels: Option<LabelSet>,
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

/// The standard preprocessing for a square input of `side` pixels.
///
/// ImageNet's ratio of resize to crop, 256 to 224, holds for other sizes too.
pub(super) fn standard_preprocess(side: usize) -> PreprocessSpec {
    let side = u32::try_from(side).unwrap_or(u32::MAX);
    let standard = PreprocessSpec::default();
    let resize = (u64::from(side) * u64::from(standard.resize)).div_ceil(u64::from(standard.crop));
    PreprocessSpec {
        resize: u32::try_from(resize)
            .unwrap_or(u32::MAX)
            .min(MAX_SIDE.max(side)),
        crop: side,
        ..standard
    }
}

/// ImageNet's labels if the network has its 1000 classes, class numbers otherwise.
pub(super) fn standard_labels(classes: usize) -> Labels {
    let imagenet = Labels::imagenet1k();
    if classes == imagenet.len() {
        imagenet
    } else {
        Labels::numbers(classes)
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
    fn standard_preprocessing_keeps_the_ratio() {
        assert_eq!(standard_preprocess(224), PreprocessSpec::default());
        assert_eq!(standard_preprocess(64).resize, 74);
        assert_eq!(standard_preprocess(1).resize, 2);
    }

    #[test]
    fn model_toml_is_strict() {
        let spec: ModelSpec = toml::from_str(
            "[preprocess]\nresize = 232\n[output]\nkind = \"probabilities\"\nlabels = \"imagenet1k\"\n",
        )
        .expect("valid");
        assert_eq!(
            spec.preprocess,
            Some(PreprocessSpec {
                resize: 232,
                ..PreprocessSpec::default()
            })
        );
        assert_eq!(spec.output.kind, Some(OutputKind::Probabilities));
        let error =
            toml::from_str::<ModelSpec>("[preprocess]\nresise = 232\n").expect_err("a typo");
        assert!(error.to_string().contains("resise"), "{error}");
    }
}
