//! tract behind the engine trait: runs of a plan that `import` has made.
//!
//! Called by `registry` to load and by `batcher` to run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;

use super::import::{self, ModelSource};
use super::{Engine, EngineError, EngineOptions, EngineSpec, LoadError, Model};
use crate::kernels::nn::{Program, StepProfile};
use crate::tensor::Tensor as Image;

/// A network imported and optimized by tract.
#[derive(Debug)]
pub struct TractModel {
    pub(super) spec: EngineSpec,
    pub(super) plan: Arc<TypedRunnableModel>,
    /// Of the regions in the plan.
    pub(super) programs: Vec<Arc<Program>>,
    /// Most images of one run.
    pub(super) max_batch: usize,
}

impl TractModel {
    /// Imports a network, replaces what it recognizes by our operators, and optimizes the rest.
    ///
    /// The plan takes whatever batch arrives if our operators compute all of the network, elementwise ends apart. Else
    /// it takes one image at a time, unless the file fixes another batch size: stock tract needs 1.5 to 2 times as long
    /// per image at batch 8 as at batch 1. Either way an image's output is the same bits in whatever batch it arrives.
    ///
    /// # Errors
    /// [`LoadError`], naming the node where there is one.
    pub fn load(source: ModelSource<'_>, options: &EngineOptions) -> Result<TractModel, LoadError> {
        let loaded = catch_unwind(AssertUnwindSafe(|| import::load(source, options)));
        loaded.unwrap_or_else(|_| Err(import::gave_up()))
    }

    /// The side of the network's square input, in pixels; reads the file without optimizing or running it.
    ///
    /// # Errors
    /// [`LoadError`] if it is not ONNX or its input is not that of an image classifier.
    pub fn input_side(source: ModelSource<'_>) -> Result<usize, LoadError> {
        let parsed = catch_unwind(AssertUnwindSafe(|| import::input_side(source)));
        parsed.unwrap_or_else(|_| Err(import::gave_up()))
    }

    /// The raw output for a test image; tells logits from probabilities, and damaged weights from sound ones.
    ///
    /// # Errors
    /// [`LoadError::NotFinite`] if the output is not finite, [`LoadError::BadGraph`] if the run fails.
    pub fn probe(&self) -> Result<Vec<f32>, LoadError> {
        let refuse = |e: EngineError| LoadError::BadGraph(format!("a test image fails: {e}"));
        let side = self.spec.side;
        // A gradient over the range of normalized pixels: no network maps it to the same value everywhere.
        let data = (0..3 * side * side)
            .map(|i| (i % 255) as f32 / 64.0 - 2.0)
            .collect();
        let mut engine = self.spawn().map_err(refuse)?;
        let output = engine
            .run(&[Image::new(vec![3, side, side], data)])
            .map_err(refuse)?
            .remove(0);
        match output.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            Some((class_index, &value)) => Err(LoadError::NotFinite { class_index, value }),
            None => Ok(output),
        }
    }
}

impl TractModel {
    /// Measures every step of our operators from now on, or no longer.
    pub fn set_profiling(&self, on: bool) {
        for program in &self.programs {
            program.set_profiling(on);
        }
    }

    /// What the steps of our operators took while profiling was on; nothing of what is tract's.
    #[must_use]
    pub fn profile(&self) -> Vec<StepProfile> {
        self.programs.iter().flat_map(|p| p.profile()).collect()
    }
}

impl Model for TractModel {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
        let state = self.plan.spawn().map_err(failed)?;
        Ok(Box::new(TractEngine {
            state,
            spec: self.spec.clone(),
            max_batch: self.max_batch,
        }))
    }
}

#[derive(Debug)]
struct TractEngine {
    state: TypedSimpleState,
    spec: EngineSpec,
    max_batch: usize,
}

impl Engine for TractEngine {
    fn run(&mut self, images: &[Image]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut outputs = Vec::with_capacity(images.len());
        for chunk in images.chunks(self.spec.plan_batch.unwrap_or(self.max_batch)) {
            let input = self.stack(chunk).map_err(failed)?;
            let result = self.state.run(tvec!(input.into())).map_err(failed)?;
            let result = result[0].to_plain_array_view::<f32>().map_err(failed)?;
            let values = result
                .as_slice()
                .ok_or_else(|| EngineError::Failed("output is not contiguous".into()))?;
            outputs.extend(
                values
                    .chunks_exact(self.spec.classes)
                    .take(chunk.len())
                    .map(<[f32]>::to_vec),
            );
        }
        Ok(outputs)
    }
}

impl TractEngine {
    /// The chunk as tract's `[batch, 3, side, side]`, padded with zeros where the plan fixes the batch.
    fn stack(&self, chunk: &[Image]) -> TractResult<Tensor> {
        let side = self.spec.side;
        let batch = self.spec.plan_batch.unwrap_or(chunk.len());
        let shape = [batch, 3, side, side];
        if let ([image], 1) = (chunk, batch) {
            return Tensor::from_shape(&shape, image.data());
        }
        let mut data = Vec::with_capacity(shape.iter().product());
        for image in chunk {
            data.extend_from_slice(image.data());
        }
        data.resize(shape.iter().product(), 0.0);
        Tensor::from_shape(&shape, &data)
    }
}

fn failed(e: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("{e:#}"))
}
