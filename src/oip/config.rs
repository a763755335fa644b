//! The extension `model_configuration`: as much of Triton's message as its clients read.

use serde::Serialize;

use super::ModelForm;
use super::metadata::extent;
use crate::classifier::Classifier;
use crate::desk::RequestLimits;
use crate::registry::LoadedModel;

/// How a model is served.
#[derive(Debug, Serialize)]
pub struct ModelConfig {
    /// The name it is served by.
    pub name: String,
    /// Triton's name for what runs ONNX.
    pub platform: &'static str,
    /// The name for what runs ONNX that newer clients read.
    pub backend: &'static str,
    /// The version that is served.
    pub version_policy: VersionPolicy,
    /// Most images of one request.
    pub max_batch_size: usize,
    /// Its inputs: one.
    pub input: Vec<TensorConfig>,
    /// Its outputs.
    pub output: Vec<TensorConfig>,
    /// How images of several requests are run together.
    pub dynamic_batching: DynamicBatching,
}

/// Which versions are served.
#[derive(Debug, Serialize)]
pub struct VersionPolicy {
    /// The only versions that are served.
    pub specific: Versions,
}

/// Versions by their numbers.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// The numbers.
    pub versions: [i64; 1],
}

/// One of a model's tensors, without the batch.
#[derive(Debug, Serialize)]
pub struct TensorConfig {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub data_type: &'static str,
    /// Its extents.
    pub dims: Vec<i64>,
}

/// How batches are formed.
#[derive(Debug, Serialize)]
pub struct DynamicBatching {
    /// The sizes that are preferred.
    pub preferred_batch_size: [usize; 1],
    /// How long an image may wait for company.
    pub max_queue_delay_microseconds: u64,
}

/// What the server's settings say of batches.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Most images of one request.
    pub max_images: usize,
    /// Most images that are run together.
    pub max_batch_size: usize,
    /// How long an image may wait for company, in microseconds.
    pub max_queue_delay: u64,
}

/// FP32, as Triton's configuration calls it.
const FP32: &str = "TYPE_FP32";

impl Batching {
    /// The settings of a server with these limits.
    #[must_use]
    pub fn of(limits: &RequestLimits, classifier: &Classifier) -> Batching {
        let policy = classifier.batching();
        let delay = policy.max_queue_delay.as_micros();
        Batching {
            max_images: limits.max_images,
            max_batch_size: policy.max_batch_size,
            max_queue_delay: u64::try_from(delay).unwrap_or(u64::MAX),
        }
    }
}

impl ModelConfig {
    /// The configuration of a loaded model.
    #[must_use]
    pub fn of(model: &LoadedModel, batching: Batching) -> ModelConfig {
        let form = ModelForm::of(model);
        let size = form.input.size;
        let output = |output: &super::OutputForm| TensorConfig {
            name: output.name.into(),
            data_type: FP32,
            dims: output.shape.iter().map(|n| extent(*n)).collect(),
        };
        ModelConfig {
            name: model.base_name().to_owned(),
            platform: "onnxruntime_onnx",
            backend: "onnxruntime",
            version_policy: VersionPolicy {
                specific: Versions {
                    versions: [model.version().into()],
                },
            },
            max_batch_size: batching.max_images,
            output: form.outputs.iter().map(output).collect(),
            input: vec![TensorConfig {
                name: form.input.name,
                data_type: FP32,
                dims: vec![3, size.height.into(), size.width.into()],
            }],
            dynamic_batching: DynamicBatching {
                preferred_batch_size: [batching.max_batch_size],
                max_queue_delay_microseconds: batching.max_queue_delay,
            },
        }
    }
}
