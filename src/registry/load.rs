//! A model reference to a network ready to serve, with its preprocessing and labels.
//!
//! Called by `cli` at the start and whenever models are exchanged; hands `LoadedModel` to `classifier`. Refuses what it
//! cannot serve correctly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::labels::{Label, Labels};
use super::parts::{Parts, parts};
use super::recipe::{Provenance, Recipes};
use super::spec::{check_preprocess, fitted_labels, standard_labels};
use super::version::split_version;
use super::{ModelError, ModelOrigin, ModelRef, OutputKind};
use crate::engine::{
    ColorValues, EngineOptions, FeatureSpec, InputForm, Model, ModelSource, Network, NetworkInput,
    OutputWish, Pixels, Single, TractModel, WeightsDir,
};
use crate::preprocess::PreprocessSpec;

/// A network ready to serve; a copy shares the network.
#[derive(Clone)]
pub struct LoadedModel {
    /// The name it is served by, with its version if that was given.
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
    /// Which of the settings of `preprocess` were taken from where, for people.
    pub preprocess_from: String,
    /// What its class indices mean; one a class.
    pub labels: Labels,
    /// Where `labels` were taken from, for people.
    pub labels_from: String,
    /// What whoever serves the model should know: labels that are equal, files that are not read.
    pub notes: Vec<String>,
    /// What the numbers of its output are.
    pub output: OutputKind,
    /// Where `output` was taken from; for people.
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

/// What is wanted beside the classes needs a network of another form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "model \"{model}\" has no explanation and no embedding: its classes are not computed by one linear layer from the mean \
     of a feature map"
)]
pub struct NoFeatures {
    /// The model.
    pub model: String,
}

impl LoadedModel {
    /// Its name without a version.
    #[must_use]
    pub fn base_name(&self) -> &str {
        split_version(&self.name).0
    }

    /// The last feature map, by which it tells where it saw a class.
    ///
    /// # Errors
    /// [`NoFeatures`] if its network ends otherwise.
    pub fn features(&self) -> Result<FeatureSpec, NoFeatures> {
        let none = || NoFeatures {
            model: self.name.clone(),
        };
        self.model.spec().features.ok_or_else(none)
    }

    /// Its version; 1 where none was given.
    #[must_use]
    pub fn version(&self) -> u32 {
        split_version(&self.name).1.unwrap_or(1)
    }

    /// The model with another network, which was made of its own.
    ///
    /// # Errors
    /// [`ModelError`] if it cannot be computed.
    pub fn with_network(
        &self,
        onnx: Vec<u8>,
        options: &EngineOptions,
    ) -> Result<LoadedModel, ModelError> {
        let start = Instant::now();
        let refuse = |reason| ModelError::Load {
            origin: self.origin.clone(),
            reason,
        };
        let spec = self.model.spec();
        let source = ModelSource {
            bytes: onnx.into(),
            dir: None,
            default_size: spec.size,
            output: OutputWish {
                name: Some(spec.output_name().to_owned()),
                classes: Some(self.labels.len()),
                single: Some(match self.output {
                    OutputKind::Logits => Single::Logit,
                    OutputKind::Probabilities | OutputKind::Scores => Single::Probability,
                }),
            },
        };
        let network = Network::read(source).map_err(refuse)?;
        let colors = color_values(&self.preprocess);
        let model = TractModel::load(network, &colors, options).map_err(refuse)?;
        Ok(LoadedModel {
            model: Arc::new(model),
            load_time: start.elapsed(),
            ..self.clone()
        })
    }

    /// Its preprocessing and the kind of its output as a `model.toml`.
    #[must_use]
    pub fn toml(&self) -> String {
        let PreprocessSpec {
            resize,
            resize_mode,
            interpolation,
            crop,
            crop_rounding,
            channels,
            scale,
            mean,
            std,
        } = &self.preprocess;
        format!(
            "[preprocess]\nresize = {resize}\nresize_mode = \"{}\"\ninterpolation = \"{}\"\ncrop = {crop}\n\
             crop_rounding = \"{}\"\nchannels = \"{}\"\nscale = {scale:?}\nmean = {mean:?}\nstd = {std:?}\n\n\
             [output]\nname = {:?}\nkind = \"{}\"\n",
            resize_mode.name(),
            interpolation.name(),
            crop_rounding.name(),
            channels.name(),
            self.model.spec().output_name(),
            self.output.name(),
        )
    }

    /// Its labels as a `labels.txt`, one line a class.
    #[must_use]
    pub fn labels_text(&self) -> String {
        let name = |label: &Label| match &label.wnid {
            Some(wnid) => format!("{wnid} {}", label.synset),
            None => label.label.to_string(),
        };
        let names: Vec<String> = self.labels.iter().map(name).collect();
        let lines = names.join("\n") + "\n";
        // Names that lines do not hold, as those with line ends or a number in front, are held by JSON.
        match Labels::parse(&lines) {
            Ok(labels) if labels == self.labels => lines,
            _ => serde_json::to_string(&names).unwrap_or(lines),
        }
    }
}

/// The content of the file that `reference` names, and where its weights may lie outside of it.
///
/// # Errors
/// [`ModelError`] if it cannot be read or is another than the catalogue says.
pub fn file_of(reference: &ModelRef) -> Result<(Bytes, Option<WeightsDir>), ModelError> {
    let parts = parts(reference)?;
    Ok((parts.onnx, parts.dir))
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
    let wish = output_wish(&parts);
    let source = ModelSource {
        bytes: parts.onnx,
        dir: parts.dir.as_ref(),
        default_size: parts.recipes.open_size(),
        output: wish,
    };
    let network = Network::read(source).map_err(refuse)?;
    let (preprocess, preprocess_from) =
        preprocess_for(&network.input(), &parts.recipes).map_err(bad_spec)?;
    let guesses = [
        guessed_size(&preprocess, &preprocess_from),
        guessed_order(&preprocess, &preprocess_from),
    ];
    let model = TractModel::load(network, &color_values(&preprocess), options).map_err(refuse)?;
    let classes = model.spec().classes();
    let (labels, labels_from) = match parts.labels {
        Some((labels, from)) => (fitted_labels(labels, classes), from),
        None => standard_labels(classes),
    };
    if labels.len() != classes {
        return Err(bad_spec(format!(
            "there are {} labels, the network has {classes} classes ({labels_from} has the labels)",
            labels.len()
        )));
    }
    let mut notes = parts.notes;
    notes.extend(guesses.into_iter().flatten());
    notes.extend(equal_labels(&labels));
    let outputs = model.probe().map_err(refuse)?;
    let (output, kind_reason) = match parts.kind {
        Some(kind) => {
            let note = kind.said(model.spec().ending, &outputs);
            notes.extend(note.map_err(bad_spec)?);
            (kind, "by model.toml".to_owned())
        }
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
        preprocess_from: preprocess_from.to_string(),
        labels,
        labels_from,
        notes,
        output,
        output_reason: format!("{}; {kind_reason}", model.spec().output_reason),
        model: Arc::new(model),
        load_time: start.elapsed(),
    })
}

/// How images become the input of the model that `reference` names, and in which form its network takes them, without
/// optimizing or running it.
///
/// # Errors
/// [`ModelError`], one line naming the file and the reason.
pub fn preprocess_of(reference: &ModelRef) -> Result<(PreprocessSpec, InputForm), ModelError> {
    if let ModelOrigin::Catalog(entry, _) = &reference.source {
        return Ok((entry.preprocess.clone(), InputForm::default()));
    }
    let parts = parts(reference)?;
    let origin = PathBuf::from(&parts.origin);
    let bad_spec = |reason: String| ModelError::BadSpec {
        path: origin.clone(),
        reason,
    };
    let output = output_wish(&parts);
    let source = ModelSource {
        bytes: parts.onnx,
        dir: parts.dir.as_ref(),
        default_size: parts.recipes.open_size(),
        output,
    };
    let input = TractModel::input(source).map_err(|reason| ModelError::Load {
        origin: parts.origin,
        reason,
    })?;
    let (preprocess, _) = preprocess_for(&input, &parts.recipes).map_err(bad_spec)?;
    Ok((preprocess, input.form))
}

/// What the engine is told of the output.
fn output_wish(parts: &Parts) -> OutputWish {
    OutputWish {
        name: parts.output_name.clone(),
        classes: parts.labels.as_ref().map(|(labels, _)| labels.len()),
        single: parts.kind.map(|kind| match kind {
            OutputKind::Logits => Single::Logit,
            OutputKind::Probabilities | OutputKind::Scores => Single::Probability,
        }),
    }
}

fn color_values(preprocess: &PreprocessSpec) -> ColorValues {
    let PreprocessSpec {
        scale, mean, std, ..
    } = *preprocess;
    ColorValues { scale, mean, std }
}

/// The preprocessing for a network's input, and where it comes from.
fn preprocess_for(
    input: &NetworkInput,
    recipes: &Recipes,
) -> Result<(PreprocessSpec, Provenance), String> {
    if let Pixels::Unknown(reason) = &input.pixels
        && !recipes.say_colors()
    {
        return Err(format!("{reason}; {SAY_COLORS}"));
    }
    let (preprocess, from) = recipes.whole(input.size, input.pixels.white())?;
    check_preprocess(&preprocess, input)?;
    Ok((preprocess, from))
}

/// A sentence about how images become an input that is not square, where nothing says it.
fn guessed_size(preprocess: &PreprocessSpec, from: &Provenance) -> Option<String> {
    let PreprocessSpec { resize, crop, .. } = preprocess;
    let is_guess = from.is_assumed("resize") && from.is_assumed("resize_mode");
    (is_guess && !crop.is_square()).then(|| {
        format!(
            "its input is {crop} and nothing says how pictures become that: they are resized in proportion to cover \
             {resize}, and the middle is cut out; if it was trained on pictures of that size whatever their proportion, \
             say [preprocess] resize = {crop} in model.toml"
        )
    })
}

/// A sentence about means that grow from the first channel to the last, as they do in photos from blue to red, where
/// nothing says the order of the channels.
fn guessed_order(preprocess: &PreprocessSpec, from: &Provenance) -> Option<String> {
    let [first, second, third] = preprocess.mean;
    let grows = first < second && second < third && third - first > 0.1 * second;
    (from.is_assumed("channels") && grows).then(|| {
        format!(
            "mean is [{first}, {second}, {third}], as of blue, green and red, and nothing says the order of the channels, \
             so that they are red, green and blue: if it was trained on BGR, as Caffe's networks are, say [preprocess] \
             channels = \"bgr\" in model.toml, otherwise channels = \"rgb\""
        )
    })
}

/// What to say in `model.toml` where the network does not tell how its colors are normalized.
const SAY_COLORS: &str = "say in model.toml what is given to the network, [preprocess] scale = 255, mean = [0, 0, 0], \
    std = [1, 1, 1] for pixels from 0 to 255 as they are, or mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] \
    for ImageNet's normalization";

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
