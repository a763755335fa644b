//! `model.toml`: what a user's own model was trained with, and what it answers.
//!
//! Read by `load`; a missing file or field means the ImageNet standard.

use serde::Deserialize;

use super::catalog::LabelSet;
use super::labels::Labels;
use super::output_kind::OutputKind;
use crate::engine::{NetworkInput, Pixels};
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
    /// Which of the network's outputs gives the classes, where the file has several that can.
    pub name: Option<String>,
    /// What its numbers are; found out with test images if left out.
    pub kind: Option<OutputKind>,
    /// A compiled-in list of labels, instead of a `labels.txt`.
    pub labels: Option<LabelSet>,
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

/// Whether pixels are normalized as nobody has said otherwise.
pub(super) fn has_standard_colors(spec: &PreprocessSpec) -> bool {
    let standard = PreprocessSpec::default();
    (spec.mean, spec.std) == (standard.mean, standard.std)
}

/// The preprocessing for a network that may normalize pixels itself, or take grey ones.
pub(super) fn fitted_preprocess(
    mut given: PreprocessSpec,
    input: &NetworkInput,
) -> Result<PreprocessSpec, String> {
    if let (Some((mean, std)), true) = (input.pixels.mean_and_std(), has_standard_colors(&given)) {
        (given.mean, given.std) = ([mean; 3], [std; 3]);
    }
    let raw = Pixels::Bytes.mean_and_std();
    if input.form.bytes && raw.is_some_and(|raw| (given.mean[0], given.std[0]) != raw) {
        return Err(format!(
            "its input \"{}\" is uint8 and takes pixels from 0 to 255 as they are: leave mean and std out of model.toml",
            input.name
        ));
    }
    let of_one = |all: [f32; 3]| all.iter().all(|v| *v == all[0]);
    match input.form.grey && !(of_one(given.mean) && of_one(given.std)) {
        true => Err(format!(
            "its input \"{}\" is grey, of one channel: give the mean and the deviation that it was trained with in \
            model.toml, each three times, as [preprocess] mean = [0.5, 0.5, 0.5] and std = [0.5, 0.5, 0.5]",
            input.name
        )),
        false => Ok(given),
    }
}

/// ImageNet's labels if the network has its 1000 classes, or these behind one for the background; class numbers
/// otherwise.
pub(super) fn standard_labels(classes: usize) -> Labels {
    let imagenet = Labels::imagenet1k();
    match classes.checked_sub(imagenet.len()) {
        Some(0) => imagenet,
        Some(1) => imagenet.behind_background(),
        _ => Labels::numbers(classes),
    }
}

/// The labels given, behind one for the background where they are ImageNet's and the network has one class more.
pub(super) fn fitted_labels(given: Labels, classes: usize) -> Labels {
    match classes == given.len() + 1 && given == Labels::imagenet1k() {
        true => given.behind_background(),
        false => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::InputForm;

    #[test]
    fn network_that_takes_pixels_as_they_are_gets_them_so() {
        let input = |form: InputForm, pixels| NetworkInput {
            name: "x".into(),
            side: 224,
            form,
            pixels,
        };
        let float = InputForm::default();
        let bytes = InputForm {
            bytes: true,
            ..float
        };
        let standard = PreprocessSpec::default;
        let own = PreprocessSpec {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..standard()
        };
        let fitted = |given, form, pixels| fitted_preprocess(given, &input(form, pixels));
        assert_eq!(
            fitted(standard(), float, Pixels::Normalized),
            Ok(standard())
        );
        for form in [float, bytes] {
            let raw = fitted(standard(), form, Pixels::Bytes).unwrap();
            assert_eq!((raw.mean, raw.std), ([0.0; 3], [1.0 / 255.0; 3]));
        }
        // What model.toml says counts, where it can be meant.
        assert_eq!(fitted(own.clone(), float, Pixels::Bytes), Ok(own.clone()));
        let error = fitted(own.clone(), bytes, Pixels::Bytes).unwrap_err();
        assert!(error.contains("leave mean and std out"), "{error}");
        let grey = InputForm {
            grey: true,
            ..float
        };
        assert_eq!(fitted(own.clone(), grey, Pixels::Normalized), Ok(own));
        let error = fitted(standard(), grey, Pixels::Normalized).unwrap_err();
        assert!(error.contains("is grey"), "{error}");
    }

    #[test]
    fn imagenet_has_the_background_first_in_1001_classes() {
        let imagenet = Labels::imagenet1k();
        let first = |labels: Labels| labels.get(0).unwrap().label.to_string();
        assert_eq!(standard_labels(1000), imagenet);
        for labels in [standard_labels(1001), fitted_labels(imagenet.clone(), 1001)] {
            assert_eq!(labels.len(), 1001);
            assert_eq!(labels.get(1), imagenet.get(0));
            assert_eq!(first(labels), "background");
        }
        assert_eq!(fitted_labels(imagenet.clone(), 1000), imagenet);
        assert_eq!(first(standard_labels(1002)), "0");
        let others = Labels::numbers(1000);
        assert_eq!(fitted_labels(others.clone(), 1001), others);
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
