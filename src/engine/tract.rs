//! tract behind the engine trait: runs of a plan that `import` has made.
//!
//! Called by `registry` to load and by `batcher` to run.

use std::sync::Arc;

use anyhow::Context as _;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::bail;

use super::caught::catch;
use super::import::{self, ModelSource, Network};
use super::{
    ColorValues, Engine, EngineError, EngineOptions, EngineSpec, LoadError, Model, NetworkInput,
    Single, precision, probes,
};
use crate::ops::{Region, Weights};
use crate::postprocess::{NotFinite, bound_below, check_finite};
use crate::tensor::Image;
use kernels::nn::{Precision, Program, StepProfile};

/// A network imported and optimized by tract.
#[derive(Debug)]
pub struct TractModel {
    pub(super) spec: EngineSpec,
    pub(super) colors: ColorValues,
    /// What an output's number means, where the output gives but one.
    pub(super) single: Option<Single>,
    /// The weights of the last linear layer, `[classes, channels]`, where there are [`EngineSpec::features`]: the
    /// file's tensor, which is kept for this alone, 8 of ResNet-50's 102 million bytes.
    pub(super) class_weights: Option<Weights>,
    /// The answers to [`probes::images`], where the choice of the precision had to know them.
    pub(super) answers: Vec<Vec<f32>>,
    pub(super) plan: Arc<TypedRunnableModel>,
    /// The plan for images of bytes, where [`EngineSpec::takes_bytes`].
    pub(super) bytes_plan: Option<Arc<TypedRunnableModel>>,
    /// The programs of the regions in the plan.
    pub(super) programs: Vec<Arc<Program>>,
    /// Most images of one run.
    pub(super) max_batch: usize,
}

impl TractModel {
    /// Replaces what of a network it recognizes by our operators in the precision that `options` ask for or a self-check
    /// finds, and optimizes the rest. Images are normalized by `colors`.
    ///
    /// The plan takes whatever batch arrives if our operators compute all of the network, elementwise ends apart. Else
    /// it takes one image at a time, unless the file fixes another batch size: stock tract needs 1.5 to 2 times as long
    /// per image at batch 8 as at batch 1. Either way an image's output is the same bits in whatever batch it arrives.
    ///
    /// # Errors
    /// [`LoadError`], naming the node where there is one.
    pub fn load(
        network: Network,
        colors: &ColorValues,
        options: &EngineOptions,
    ) -> Result<TractModel, LoadError> {
        catch(|| precision::load(network, colors, options))
    }

    /// What a network takes; reads the file without optimizing or running it.
    ///
    /// # Errors
    /// [`LoadError`] if it is not ONNX or its input is not that of an image classifier.
    pub fn input(source: ModelSource<'_>) -> Result<NetworkInput, LoadError> {
        catch(|| import::input(source))
    }

    /// The raw outputs for test images; they tell logits from probabilities, damaged weights from sound ones, and a
    /// network from one that answers the same to whatever it sees.
    ///
    /// # Errors
    /// [`LoadError::NotAClassifier`] if the only number of an output is taken for a probability and is none,
    /// [`LoadError::NotFinite`] if an output is not finite, [`LoadError::SameAnswer`] if all are the same,
    /// [`LoadError::BadGraph`] if the run fails.
    pub fn probe(&self) -> Result<Vec<Vec<f32>>, LoadError> {
        catch(|| self.answers_to_probes())
    }

    fn answers_to_probes(&self) -> Result<Vec<Vec<f32>>, LoadError> {
        let mut engine = self
            .spawn()
            .map_err(|e| LoadError::BadGraph(format!("a test image fails: {e}")))?;
        // Three images decide, unless they agree; whether a number can be a probability, all of them.
        let enough = match self.single {
            Some(Single::Probability) => usize::MAX,
            _ => 3,
        };
        let differ = |outputs: &[Vec<f32>]| outputs.iter().any(|o| *o != outputs[0]);
        let mut outputs = Vec::new();
        for probe in probes::of_any_range(self.spec.size, &self.colors) {
            let known = probe.picture.and_then(|picture| self.answers.get(picture));
            let mut output = match known {
                Some(answer) => answer.clone(),
                None => engine
                    .run(&[probe.image])
                    .map_err(|e| LoadError::BadGraph(format!("a test image fails: {e}")))?
                    .remove(0),
            };
            bound_below(&mut output);
            check_finite(&output).map_err(|NotFinite { class_index, value }| {
                LoadError::NotFinite { class_index, value }
            })?;
            if let (Some(single), [_, number]) = (self.single, &output[..]) {
                single.check(*number, self.spec.output_name())?;
            }
            outputs.push(output);
            if outputs.len() >= enough && differ(&outputs) {
                return Ok(outputs);
            }
        }
        if differ(&outputs) {
            return Ok(outputs);
        }
        Err(LoadError::SameAnswer {
            images: outputs.len(),
            value: outputs[0][0],
        })
    }
}

impl TractModel {
    /// Whether operators of ours compute some of the network in this precision.
    pub(super) fn computes(&self, precision: Precision) -> bool {
        let mut programs = self.programs.iter();
        programs.any(|program| program.arithmetic().precision() == precision)
    }

    /// The layers of ours that are computed on numbers, as some may be although the network is one of bytes.
    pub(super) fn layers_on_numbers(&self) -> Vec<&str> {
        let layers = self.programs.iter().flat_map(|program| program.layers());
        layers
            .filter(|(_, precision)| *precision != Precision::Int8)
            .map(|(name, _)| name)
            .collect()
    }

    /// Turns the measuring of every step of our operators on or off.
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
        Ok(Box::new(TractEngine {
            tensors: Running::new(&self.plan),
            bytes: self.bytes_plan.as_ref().map(Running::new),
            spec: self.spec.clone(),
            single: self.single,
            max_batch: self.max_batch,
        }))
    }

    fn class_weights(&self, class: usize) -> Option<Vec<f32>> {
        let channels = self.spec.features?.channels;
        self.class_weights.as_ref()?.of_output(class, channels)
    }

    fn set_profiling(&self, on: bool) {
        TractModel::set_profiling(self, on);
    }

    fn profile(&self) -> Vec<StepProfile> {
        TractModel::profile(self)
    }
}

/// A plan, and one thread's state of it from the first run on: most engines only ever see one kind of image.
#[derive(Debug)]
struct Running {
    plan: Arc<TypedRunnableModel>,
    state: Option<TypedSimpleState>,
    /// The input of the last run: the next one of as many images is written over it. In fresh memory each of its pages
    /// would cost a fault, 147 of them for an image of 224 × 224.
    input: Option<Arc<Tensor>>,
}

impl Running {
    fn new(plan: &Arc<TypedRunnableModel>) -> Running {
        Running {
            plan: Arc::clone(plan),
            state: None,
            input: None,
        }
    }

    /// Writes the input of the next run: images one after the other by `write`, padded with zeros where the shape has
    /// room for more.
    fn fill<T: Datum + Copy + Default>(
        &mut self,
        shape: &[usize],
        images: &[Image],
        write: impl Fn(&Image, &mut [T]) -> TractResult<()>,
    ) -> TractResult<()> {
        // A run that failed may hold its input still.
        let is_free = |last: &Arc<Tensor>| last.shape() == shape && Arc::strong_count(last) == 1;
        let mut input = match self.input.take().filter(is_free) {
            Some(last) => last,
            None => Arc::new(Tensor::zero_dt(T::datum_type(), shape)?),
        };
        let tensor = Arc::get_mut(&mut input).context("the input has another owner")?;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let size = shape[1..].iter().product();
        let (taken, padding) = plain.as_slice_mut::<T>()?.split_at_mut(images.len() * size);
        for (to, image) in taken.chunks_exact_mut(size).zip(images) {
            write(image, to)?;
        }
        padding.fill(T::default());
        self.input = Some(input);
        Ok(())
    }

    /// Runs the plan on what was filled in; of what leaves it on request only these `outputs` are there.
    fn run(&mut self, outputs: &[usize]) -> TractResult<TVec<TValue>> {
        let input = self.input.clone().context("there is no input")?;
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(self.plan.spawn()?),
        };
        Region::ask(&mut state.op_states, outputs);
        state.run(tvec!(TValue::from_const(input)))
    }
}

#[derive(Debug)]
struct TractEngine {
    tensors: Running,
    bytes: Option<Running>,
    spec: EngineSpec,
    single: Option<Single>,
    max_batch: usize,
}

impl Engine for TractEngine {
    fn run_for(
        &mut self,
        images: &[Image],
        outputs: &[usize],
    ) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        let mut values: Vec<_> = outputs.iter().map(|_| Vec::new()).collect();
        self.run_each(images, outputs, &mut |image| {
            for (values, numbers) in values.iter_mut().zip(image) {
                values.push(numbers.to_vec());
            }
        })?;
        Ok(values)
    }

    fn run_each(
        &mut self,
        images: &[Image],
        outputs: &[usize],
        each: &mut dyn FnMut(&[&[f32]]),
    ) -> Result<(), EngineError> {
        let count = self.spec.outputs.len();
        if let Some(output) = outputs.iter().find(|&&output| output >= count) {
            let text = format!("there is no output {output}, the network has {count}");
            return Err(EngineError::Failed(text));
        }
        for alike in images.chunk_by(|a, b| is_crop(a) == is_crop(b)) {
            for chunk in alike.chunks(self.spec.plan_batch.unwrap_or(self.max_batch)) {
                let result = self.run_alike(chunk, outputs).map_err(failed)?;
                let slices = outputs.iter().map(|&output| {
                    let view = result[output].to_plain_array_view::<f32>();
                    let slice = view.map_err(failed)?.to_slice();
                    slice.ok_or_else(|| EngineError::Failed("output is not contiguous".into()))
                });
                let slices = slices.collect::<Result<Vec<&[f32]>, _>>()?;
                let size = |output: usize| match self.single {
                    Some(_) => 1,
                    None => self.spec.outputs[output].shape.iter().product(),
                };
                for image in 0..chunk.len() {
                    let of_image = outputs.iter().zip(&slices).map(|(&output, slice)| {
                        let size: usize = size(output);
                        slice.get(image * size..(image + 1) * size)
                    });
                    let numbers = of_image.collect::<Option<Vec<&[f32]>>>();
                    let numbers = numbers
                        .ok_or_else(|| EngineError::Failed("an output is too short".into()))?;
                    match (self.single, &numbers[..]) {
                        (Some(single), [[number]]) => each(&[&single.both(*number)]),
                        _ => each(&numbers),
                    }
                }
            }
        }
        Ok(())
    }
}

impl TractEngine {
    /// Runs the plan for the kind of image that all of the chunk are.
    fn run_alike(&mut self, chunk: &[Image], outputs: &[usize]) -> TractResult<TVec<TValue>> {
        let [channels, height, width] = self.spec.size.shape();
        let batch = self.spec.plan_batch.unwrap_or(chunk.len());
        if !chunk.iter().any(is_crop) {
            let shape = [batch, channels, height, width];
            self.tensors.fill(&shape, chunk, write_numbers)?;
            return self.tensors.run(outputs);
        }
        let Some(bytes) = &mut self.bytes else {
            bail!("the network takes no bytes");
        };
        bytes.fill(&[batch, height, channels, width], chunk, write_bytes)?;
        bytes.run(outputs)
    }
}

fn is_crop(image: &Image) -> bool {
    matches!(image, Image::Crop(_))
}

fn write_numbers(image: &Image, to: &mut [f32]) -> TractResult<()> {
    match image {
        Image::Tensor(tensor) => {
            check_size(tensor.data().len(), to.len())?;
            to.copy_from_slice(tensor.data());
        }
        Image::Values(values) => {
            check_size(values.len(), to.len())?;
            to.iter_mut()
                .zip(values.iter())
                .for_each(|(to, value)| *to = value);
        }
        Image::Crop(_) => bail!("a crop among numbers"),
    }
    Ok(())
}

fn write_bytes(image: &Image, to: &mut [u8]) -> TractResult<()> {
    let Image::Crop(crop) = image else {
        bail!("numbers among crops");
    };
    check_size(crop.bytes().len(), to.len())?;
    to.copy_from_slice(crop.bytes());
    Ok(())
}

fn check_size(got: usize, expected: usize) -> TractResult<()> {
    if got != expected {
        bail!("an image has {got} values, expected {expected}");
    }
    Ok(())
}

fn failed(e: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("{e:#}"))
}
