//! `model.toml`: what a user's own model was trained with, and what it answers.
//!
//! Read by `parts`; a missing file or field leaves it to what else is known of the model.

use std::path::Path;

use serde::Deserialize;

use super::ModelError;
use super::catalog::LabelSet;
use super::labels::Labels;
use super::output_kind::OutputKind;
use super::recipe::Given;
use super::text::read_text;
use crate::engine::NetworkInput;
use crate::hex;
use crate::preprocess::{Channels, PreprocessSpec};

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
    /// Which of the network's outputs gives the classes, where the file has several that can.
    pub(super) name: Option<String>,
    /// What the output's numbers are; found out with test images if left out.
    pub(super) kind: Option<OutputKind>,
    /// A compiled-in list of labels, instead of a `labels.txt`.
    pub(super) labels: Option<LabelSet>,
}

/// The preprocessing for a network that takes bytes, or grey pixels, checked against that.
pub(super) fn check_preprocess(given: &PreprocessSpec, input: &NetworkInput) -> Result<(), String> {
    let PreprocessSpec {
        channels,
        mean,
        std,
        scale,
        ..
    } = given;
    // The same said of pixels from 0 to 1 is not exact.
    let is_raw = *mean == [0.0; 3]
        && ((*std == [1.0; 3] && *scale == 255.0) || (*std == [1.0 / 255.0; 3] && *scale == 1.0));
    if input.form.bytes && !is_raw {
        return Err(format!(
            "its input \"{}\" is uint8 and takes pixels from 0 to 255 as they are: leave mean and std out of model.toml",
            input.name
        ));
    }
    if input.form.grey && *channels != Channels::Rgb {
        return Err(format!(
            "its input \"{}\" is grey, of one channel, which has no order: leave channels = \"{}\" out",
            input.name,
            channels.name()
        ));
    }
    let of_one = |all: &[f32; 3]| all.iter().all(|v| *v == all[0]);
    match input.form.grey && !(of_one(mean) && of_one(std)) {
        true => Err(format!(
            "its input \"{}\" is grey, of one channel: give the mean and the deviation that it was trained with in \
            model.toml, as [preprocess] mean = [0.5] and std = [0.5]",
            input.name
        )),
        false => Ok(()),
    }
}

/// ImageNet's labels if the network has its 1000 classes, or these behind one for the background; class numbers
/// otherwise; and why.
pub(super) fn standard_labels(classes: usize) -> (Labels, String) {
    let imagenet = Labels::imagenet1k();
    match classes.checked_sub(imagenet.len()) {
        Some(0) => {
            let reason = "ImageNet's, as nothing says otherwise and there are 1000 classes";
            (imagenet, reason.into())
        }
        Some(1) => {
            let reason = "ImageNet's behind one for the background, as nothing says otherwise and there are 1001 classes";
            (imagenet.behind_background(), reason.into())
        }
        _ => {
            let reason = "class numbers, as nothing names them";
            (Labels::numbers(classes), reason.into())
        }
    }
}

/// The labels given, behind one for the background where they are ImageNet's and the network has one class more; without
/// a head line where it has one less.
pub(super) fn fitted_labels(given: Labels, classes: usize) -> Labels {
    let has_background = classes == given.len() + 1 && given == Labels::imagenet1k();
    if has_background {
        return given.behind_background();
    }
    let head = given.without_head().filter(|rest| rest.len() == classes);
    head.unwrap_or(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{InputForm, Pixels};
    use crate::tensor::Size;

    #[test]
    fn bytes_and_grey_want_a_preprocessing_that_fits() {
        let check = |given: &PreprocessSpec, form| {
            let input = NetworkInput {
                name: "x".into(),
                size: Size::square(224),
                form,
                pixels: Pixels::Normalized,
            };
            check_preprocess(given, &input)
        };
        let float = InputForm::default();
        let bytes = InputForm {
            bytes: true,
            ..float
        };
        let grey = InputForm {
            grey: true,
            ..float
        };
        let standard = PreprocessSpec::default();
        let spec = |mean: f32, std: f32, scale: f32| PreprocessSpec {
            mean: [mean; 3],
            std: [std; 3],
            scale,
            ..PreprocessSpec::default()
        };
        assert_eq!(check(&standard, float), Ok(()));
        assert_eq!(check(&spec(0.0, 1.0 / 255.0, 1.0), bytes), Ok(()));
        assert_eq!(check(&spec(0.0, 1.0, 255.0), bytes), Ok(()));
        for wrong in [standard.clone(), spec(0.5, 0.5, 1.0), spec(0.0, 1.0, 1.0)] {
            let error = check(&wrong, bytes).expect_err("no pixels as they are");
            assert!(error.contains("leave mean and std out"), "{error}");
        }
        assert_eq!(check(&spec(0.5, 0.5, 1.0), grey), Ok(()));
        let error = check(&standard, grey).expect_err("three channels' numbers");
        assert!(error.contains("mean = [0.5] and std = [0.5]"), "{error}");
        let turned = PreprocessSpec {
            channels: Channels::Bgr,
            ..spec(0.5, 0.5, 1.0)
        };
        let error = check(&turned, grey).expect_err("one channel turned");
        assert!(error.contains("leave channels = \"bgr\" out"), "{error}");
        assert_eq!(check(&turned, float), Ok(()));
    }

    #[test]
    fn imagenet_has_the_background_first_in_1001_classes() {
        let imagenet = Labels::imagenet1k();
        let first = |labels: Labels| labels.get(0).unwrap().label.to_string();
        assert_eq!(standard_labels(1000).0, imagenet);
        for labels in [
            standard_labels(1001).0,
            fitted_labels(imagenet.clone(), 1001),
        ] {
            assert_eq!(labels.len(), 1001);
            assert_eq!(labels.get(1), imagenet.get(0));
            assert_eq!(first(labels), "background");
        }
        assert_eq!(fitted_labels(imagenet.clone(), 1000), imagenet);
        assert_eq!(first(standard_labels(1002).0), "0");
        let others = Labels::numbers(1000);
        assert_eq!(fitted_labels(others.clone(), 999), others);
        assert_eq!(fitted_labels(others.clone(), 1001), others);
    }

    #[test]
    fn head_line_is_no_class_where_there_is_one_line_more() {
        let of = |text: &str, classes| {
            let labels = fitted_labels(Labels::parse(text).unwrap(), classes);
            let names: Vec<&str> = labels.iter().map(|l| &*l.label).collect();
            names.join("|")
        };
        for head in ["label", "Class_Name", "name", "\"labels\"", "class name"] {
            assert_eq!(of(&format!("{head}\ncat\ndog\n"), 2), "cat|dog", "{head}");
        }
        assert_eq!(of("label\ncat\n", 2), "label|cat");
        assert_eq!(of("label\ncat\ndog\nowl\n", 2), "label|cat|dog|owl");
        assert_eq!(of("person\ncat\ndog\n", 2), "person|cat|dog");
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
