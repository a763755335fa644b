//! Images to logits: what a runtime must offer, and tract behind it.
//!
//! Called by `batcher` on an `engine-N` thread. Synchronous, knows no request, no file and no label.

mod agreement;
mod caught;
mod colors;
mod error;
mod external;
mod features;
mod graph_error;
#[cfg(test)]
mod hostile;
mod import;
mod input;
mod lower;
mod metadata;
mod onnx;
mod operands;
mod options;
mod outputs;
mod precision;
mod probes;
mod proto;
mod quantize;
mod quantized;
mod recurrence;
mod sizes;
mod strides;
mod tract;
mod trial;
mod weights;
mod widen;
mod wish;

use crate::tensor::{Image, Size};
use kernels::nn::{Precision, StepProfile};

pub use self::agreement::is_distribution;
pub use self::caught::is_expected as is_expected_panic;
pub use self::colors::ColorValues;
pub use self::error::{EngineError, LoadError};
pub use self::external::WeightsDir;
pub use self::features::{ActivationMap, Further, Given, run_with};
pub use self::import::{ModelSource, Network};
pub use self::lower::{Lowering, RefusedNode};
pub use self::metadata::metadata_of;
pub use self::onnx::{Ending, InputForm, Pixels};
pub use self::options::EngineOptions;
pub use self::outputs::{OutputWish, Single};
pub use self::quantize::{BeforeSums, Observed, Observer, Quantizable, Rounded};
pub use self::tract::TractModel;
pub use self::wish::{Explain, Wish};

/// What a loaded network takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// Name of the network's input.
    pub input_name: String,
    /// The form in which the file takes images; the engine takes `[N, 3, height, width]`, and puts them into it.
    pub input_form: InputForm,
    /// The numbers that the file takes for a pixel.
    pub pixels: Pixels,
    /// What is computed otherwise than the file says; for people.
    pub notes: Vec<String>,
    /// What the network gives; at least one. The first are the classes' logits or probabilities, of rank one.
    pub outputs: Vec<OutputInfo>,
    /// What its classes are computed from, if that is the mean of a feature map, by one linear layer: the outputs at
    /// [`FeatureSpec::MAP`] and [`FeatureSpec::POOLED`] are there then.
    pub features: Option<FeatureSpec>,
    /// Why the first of `outputs` is that one of the file's; for people.
    pub output_reason: String,
    /// What makes the numbers of the first of `outputs`.
    pub ending: Ending,
    /// Size of the RGB input.
    pub size: Size,
    /// Images that one run of the execution plan takes, smaller batches being padded to it; none if it takes any
    /// number.
    pub plan_batch: Option<usize>,
    /// Whether images may also be bytes, which the network's first convolution normalizes: with the same answers, bit
    /// for bit, as for the normalized tensor.
    pub takes_bytes: bool,
    /// What executes the network, for people.
    pub runtime: String,
    /// What of the network our operators compute.
    pub lowering: Lowering,
    /// How values are stored and multiplied.
    pub precision: Precision,
    /// Why `precision` is that one, with the self-check's figures where there was one; one line for people.
    pub precision_reason: String,
    /// The instructions that multiply: "avx512", "amx"; "tract" where no operator is ours.
    pub instructions: String,
}

/// What a network takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInput {
    /// Name of its input.
    pub name: String,
    /// Size of the RGB input.
    pub size: Size,
    /// The form in which the file takes images.
    pub form: InputForm,
    /// The numbers that the file takes for a pixel.
    pub pixels: Pixels,
}

/// The last feature map of a network that ends in its mean and one linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Channels of the map, and so the length of its mean.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FeatureSpec {
    /// Where the map, `[channels, height, width]`, stands among [`EngineSpec::outputs`].
    pub const MAP: usize = 1;
    /// Where the mean of each channel, as the linear layer reads it, stands among [`EngineSpec::outputs`].
    pub const POOLED: usize = 2;
}

/// One of a network's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputInfo {
    /// Its name in the file.
    pub name: String,
    /// Its extents for one image, without the batch.
    pub shape: Vec<usize>,
}

impl EngineSpec {
    /// Number of classes: the length of the first output.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.outputs[0].shape.iter().product()
    }

    /// What the network takes.
    #[must_use]
    pub fn input(&self) -> NetworkInput {
        NetworkInput {
            name: self.input_name.clone(),
            size: self.size,
            form: self.input_form,
            pixels: self.pixels.clone(),
        }
    }

    /// Name of the first output.
    #[must_use]
    pub fn output_name(&self) -> &str {
        &self.outputs[0].name
    }
}

/// A loaded network: its weights are shared by all engines that it spawns.
pub trait Model: Send + Sync {
    /// What the network takes and gives.
    fn spec(&self) -> &EngineSpec;

    /// Makes the working state for one thread.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if the runtime cannot set up its state.
    fn spawn(&self) -> Result<Box<dyn Engine>, EngineError>;

    /// What the last linear layer multiplies each of the pooled features by for this class; none without
    /// [`EngineSpec::features`], or such a class.
    fn class_weights(&self, class: usize) -> Option<Vec<f32>> {
        let _ = class;
        None
    }

    /// Turns the measuring of every step of ours on or off.
    fn set_profiling(&self, on: bool) {
        let _ = on;
    }

    /// What was measured, a step a row, summed over all engines; empty where no step is ours.
    fn profile(&self) -> Vec<StepProfile> {
        Vec::new()
    }
}

/// One thread's working state of a network.
pub trait Engine {
    /// Runs the network on some images and gives some of its outputs; an image's do not depend on its neighbours. What
    /// is not asked for costs nothing.
    ///
    /// # Shapes
    /// - `images`: each of [`EngineSpec::size`]; crops only where [`EngineSpec::takes_bytes`]
    /// - `outputs`: positions in [`EngineSpec::outputs`]
    /// - returns: for each of `outputs`, for each image, both in order, the values of the output's shape, row-major
    ///
    /// # Errors
    /// [`EngineError`] if there is no such output or the runtime fails; then no image has any.
    fn run_for(
        &mut self,
        images: &[Image],
        outputs: &[usize],
    ) -> Result<Vec<Vec<Vec<f32>>>, EngineError>;

    /// Runs the network as [`Engine::run_for`], image by image: `each` sees an image's values where they lie.
    ///
    /// # Errors
    /// As of [`Engine::run_for`]; `each` may have seen some images by then.
    fn run_each(
        &mut self,
        images: &[Image],
        outputs: &[usize],
        each: &mut dyn FnMut(&[&[f32]]),
    ) -> Result<(), EngineError> {
        let outputs = self.run_for(images, outputs)?;
        for image in 0..images.len() {
            let of_image = outputs.iter().map(|output| output.get(image));
            let of_image: Option<Vec<&[f32]>> = of_image.map(|o| o.map(Vec::as_slice)).collect();
            let missing = || EngineError::Failed(format!("image {image} has no output"));
            each(&of_image.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// Runs the network for its first output, the classes': `classes` values for each image, in order.
    ///
    /// # Errors
    /// As [`Engine::run_for`].
    fn run(&mut self, images: &[Image]) -> Result<Vec<Vec<f32>>, EngineError> {
        let outputs = self.run_for(images, &[0])?;
        let first = outputs.into_iter().next();
        first.ok_or_else(|| EngineError::Failed("the output asked for is not there".into()))
    }
}
