//! What the server is, and what a model takes and gives, as the protocol tells it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::ANY_INPUT;
use super::{Datatype, EXTENSIONS, InputForm, ModelForm, OutputForm, Values};
use crate::registry::{LoadedModel, OutputKind};
use crate::tensor::Size;

/// What the server is.
#[derive(Debug, Serialize)]
pub struct ServerMetadata {
    /// The name of the program.
    pub name: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// Extensions of the protocol that it has.
    pub extensions: [&'static str; EXTENSIONS.len()],
}

/// What a model takes and gives.
#[derive(Debug, Serialize)]
pub struct ModelMetadata {
    /// The name it is served by.
    pub name: String,
    /// Versions that may be asked for, the oldest first.
    pub versions: Vec<String>,
    /// Project and format.
    pub platform: &'static str,
    /// Its inputs: one.
    pub inputs: Vec<TensorMetadata>,
    /// Its outputs.
    pub outputs: Vec<TensorMetadata>,
    /// Other facts about the model, by name.
    pub properties: BTreeMap<&'static str, String>,
}

/// One of a model's tensors.
#[derive(Debug, Serialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub datatype: &'static str,
    /// Its extents; -1 is any.
    pub shape: Vec<i64>,
}

/// The protocol's name for models of ONNX.
pub const PLATFORM: &str = "onnx_onnxv1";

impl ServerMetadata {
    /// The metadata of this server.
    #[must_use]
    pub fn new() -> ServerMetadata {
        ServerMetadata {
            name: "resnet",
            version: env!("CARGO_PKG_VERSION"),
            extensions: EXTENSIONS,
        }
    }
}

impl Default for ServerMetadata {
    fn default() -> Self {
        ServerMetadata::new()
    }
}

/// An extent as the protocol has it.
pub(super) fn extent(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl ModelMetadata {
    /// The metadata of a loaded model; `versions` are those of its name that may be asked for.
    #[must_use]
    pub fn of(model: &LoadedModel, versions: &[u32]) -> ModelMetadata {
        let form = ModelForm::of(model);
        let size = form.input.size;
        let output = |output: &OutputForm| TensorMetadata {
            name: output.name.into(),
            datatype: Datatype::Fp32.name(),
            shape: std::iter::once(-1)
                .chain(output.shape.iter().map(|n| extent(*n)))
                .collect(),
        };
        ModelMetadata {
            name: model.base_name().to_owned(),
            versions: versions.iter().map(u32::to_string).collect(),
            platform: PLATFORM,
            outputs: form.outputs.iter().map(output).collect(),
            properties: properties(model, size),
            inputs: vec![TensorMetadata {
                name: form.input.name,
                datatype: Datatype::Fp32.name(),
                shape: vec![-1, 3, size.height.into(), size.width.into()],
            }],
        }
    }
}

impl ModelForm {
    /// The form of a loaded model.
    #[must_use]
    pub fn of(model: &LoadedModel) -> ModelForm {
        let spec = model.model.spec();
        let output = |name, values, shape: &[usize]| OutputForm {
            name,
            values,
            shape: shape.to_vec(),
        };
        let classes = [spec.classes()];
        let mut outputs = vec![output(model.output.name(), Values::Raw, &classes)];
        if model.output == OutputKind::Logits {
            outputs.push(output("probabilities", Values::Probabilities, &classes));
        }
        if let Some(map) = spec.features {
            outputs.push(output("features", Values::Features, &[map.channels]));
            let shape = [map.channels, map.height, map.width];
            outputs.push(output("feature_map", Values::FeatureMap, &shape));
        }
        ModelForm {
            input: InputForm {
                name: spec.input_name.clone(),
                size: spec.size,
            },
            outputs,
            own_output: spec.output_name().to_owned(),
            classes: spec.classes(),
        }
    }
}

fn properties(model: &LoadedModel, size: Size) -> BTreeMap<&'static str, String> {
    let Size { height, width } = size;
    let spec = model.model.spec();
    let preprocess = serde_json::to_string(&model.preprocess);
    BTreeMap::from([
        (
            "input_fp32",
            format!("FP32 [-1, 3, {height}, {width}]: normalized as \"preprocess\" says"),
        ),
        (
            "input_uint8",
            format!("UINT8 [-1, {height}, {width}, 3]: RGB pixels, normalized here"),
        ),
        (
            "input_bytes",
            "BYTES [-1]: encoded images of any size, preprocessed here; in JSON as base64".into(),
        ),
        ("input_name", format!("\"{ANY_INPUT}\" means the input too")),
        ("output_kind", model.output.name().into()),
        ("precision", spec.precision.name().into()),
        (
            "preprocess",
            preprocess.expect("strings and numbers are always JSON"),
        ),
        ("sha256", model.sha256.clone()),
    ])
}
