//! Images to logits: what a runtime must offer, and tract behind it.
//!
//! Called by `batcher` on an `engine-N` thread. Synchronous, knows no request, no file and no label.

mod agreement;
mod error;
mod import;
mod lower;
mod onnx;
mod options;
mod precision;
mod probes;
mod tract;
mod weights;

use crate::tensor::Image;
use kernels::nn::{Precision, StepProfile};

pub use self::agreement::is_distribution;
pub use self::error::{EngineError, LoadError};
pub use self::import::ModelSource;
pub use self::lower::Lowering;
pub use self::options::EngineOptions;
pub use self::tract::TractModel;

/// What a loaded network takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// Name of the network's input.
    pub input_name: String,
    /// Name of the network's output.
    pub output_name: String,
    /// Height and width of the square RGB input, in pixels.
    pub side: usize,
    /// Number of classes: the length of one image's output.
    pub classes: usize,
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
    /// Why it is that one, with the self-check's figures where there was one; one line for people.
    pub precision_reason: String,
    /// The instructions that multiply: "avx512", "amx"; "tract" where no operator is ours.
    pub instructions: String,
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

    /// Measures every step of ours from now on, or no longer.
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
    /// Runs the network on some images; an image's output does not depend on its neighbours.
    ///
    /// # Shapes
    /// - `images`: each of `side` rows and columns; crops only where [`EngineSpec::takes_bytes`]
    /// - returns: for each image, in order, `classes` values
    ///
    /// # Errors
    /// [`EngineError`] if the runtime fails; then no image has an output.
    fn run(&mut self, images: &[Image]) -> Result<Vec<Vec<f32>>, EngineError>;
}
