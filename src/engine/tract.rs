//! tract behind the engine trait: ONNX bytes to an optimized plan, and runs of that plan.
//!
//! Called by `registry` to load and by `batcher` to run. The only file besides `onnx` that knows tract's types.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::Factoid;

use super::{Engine, EngineError, EngineOptions, EngineSpec, LoadError, Lowering, Model, onnx};
use crate::kernels::nn::{Precision, StepProfile};
use crate::tensor::Tensor as Image;

/// Largest side of a network's input, in pixels; see `preprocess::spec`.
const MAX_SIDE: usize = 2048;

/// A model file in memory.
#[derive(Debug, Clone)]
pub struct ModelSource<'a> {
    /// The content of the `.onnx` file; given up as soon as it is decoded.
    pub bytes: Cow<'static, [u8]>,
    /// Where weights outside of the file may lie; nothing outside of this directory is read.
    pub dir: Option<&'a Path>,
    /// Side of the input in pixels where the file leaves it open.
    pub default_side: usize,
}

/// A network imported and optimized by tract.
#[derive(Debug)]
pub struct TractModel {
    spec: EngineSpec,
    plan: Arc<TypedRunnableModel>,
}

impl TractModel {
    /// Imports, optimizes and tries a network.
    ///
    /// The plan takes one image at a time unless the file fixes another batch size: stock tract needs 1.5 to 2 times as
    /// long per image at batch 8 as at batch 1, and so an image's output is the same bits in whatever batch it arrives.
    ///
    /// # Errors
    /// [`LoadError`], naming the node where there is one.
    pub fn load(source: ModelSource<'_>, options: &EngineOptions) -> Result<TractModel, LoadError> {
        let loaded = catch_unwind(AssertUnwindSafe(|| import(source, options)));
        loaded.unwrap_or_else(|_| Err(gave_up()))
    }

    /// The side of the network's square input, in pixels; reads the file without optimizing or running it.
    ///
    /// # Errors
    /// [`LoadError`] if it is not ONNX or its input is not that of an image classifier.
    pub fn input_side(source: ModelSource<'_>) -> Result<usize, LoadError> {
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            let default_side = source.default_side;
            classifier_input(&parse(source)?, default_side)
        }));
        let (_, input) = parsed.unwrap_or_else(|_| Err(gave_up()))?;
        Ok(input.side)
    }

    /// What the network takes and gives, for those who know more of it than the import does.
    pub(super) fn spec_mut(&mut self) -> &mut EngineSpec {
        &mut self.spec
    }

    /// Measures every step of ours from now on, or no longer.
    pub fn set_profiling(&self, on: bool) {
        let _ = on;
    }

    /// What was measured, a step a row.
    #[must_use]
    pub fn profile(&self) -> Vec<StepProfile> {
        Vec::new()
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

impl Model for TractModel {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
        let state = self.plan.spawn().map_err(failed)?;
        Ok(Box::new(TractEngine {
            state,
            spec: self.spec.clone(),
        }))
    }

    fn set_profiling(&self, on: bool) {
        TractModel::set_profiling(self, on);
    }

    fn profile(&self) -> Vec<StepProfile> {
        TractModel::profile(self)
    }
}

#[derive(Debug)]
struct TractEngine {
    state: TypedSimpleState,
    spec: EngineSpec,
}

impl Engine for TractEngine {
    fn run(&mut self, images: &[Image]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut outputs = Vec::with_capacity(images.len());
        for chunk in images.chunks(self.spec.plan_batch) {
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
    /// The chunk as tract's `[plan_batch, 3, side, side]`, padded with zeros.
    fn stack(&self, chunk: &[Image]) -> TractResult<Tensor> {
        let EngineSpec {
            side, plan_batch, ..
        } = self.spec;
        let shape = [plan_batch, 3, side, side];
        if let ([image], 1) = (chunk, plan_batch) {
            return Tensor::from_shape(&shape, image.data());
        }
        let mut data: Vec<f32> = chunk
            .iter()
            .flat_map(|image| image.data())
            .copied()
            .collect();
        data.resize(shape.iter().product(), 0.0);
        Tensor::from_shape(&shape, &data)
    }
}

fn failed(e: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("{e:#}"))
}

fn gave_up() -> LoadError {
    LoadError::BadGraph("the importer gave up on it (the log has the reason)".into())
}

/// The file as tract's graph, before any optimization.
fn parse(source: ModelSource<'_>) -> Result<InferenceModel, LoadError> {
    // value_info repeats shapes that tract infers, for the batch size of the export only.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    let proto = onnx::decode(&source.bytes, source.dir, &onnx)?;
    drop(source.bytes); // decoding has copied the weights
    let dir = source.dir.map(|d| d.to_string_lossy().into_owned());
    let model = onnx
        .parse(&proto, dir.as_deref())
        .map_err(|e| graph_error(&e))?
        .model;
    drop(proto); // its copy of the weights is as large as the file
    Ok(model)
}

fn import(source: ModelSource<'_>, options: &EngineOptions) -> Result<TractModel, LoadError> {
    let _ = options;
    let default_side = source.default_side;
    let model = parse(source)?;
    let (input_name, input) = classifier_input(&model, default_side)?;
    let output_name = output_name(&model)?;

    let side = input.side;
    let (plan, classes, plan_batch) = match input.fixed_batch {
        // Where the file fixes a batch size, it may hold it in other places than the input's shape.
        Some(n) if n > 1 => match plan_for(model.clone(), 1, side) {
            Ok((plan, classes)) => (plan, classes, 1),
            Err(_) => plan_for(model, n, side).map(|(plan, classes)| (plan, classes, n))?,
        },
        _ => plan_for(model, 1, side).map(|(plan, classes)| (plan, classes, 1))?,
    };
    let runtime = concat!("tract ", "0.23.9").to_owned();
    let spec = EngineSpec {
        input_name,
        output_name,
        side: input.side,
        classes,
        plan_batch,
        runtime,
        lowering: Lowering::default(),
        precision: Precision::F32,
        precision_reason: String::new(),
        instructions: "tract".into(),
    };
    Ok(TractModel { spec, plan })
}

struct InputShape {
    side: usize,
    fixed_batch: Option<usize>,
}

fn not_a_classifier<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::NotAClassifier(reason))
}

/// The single `[N, 3, side, side]` float input.
fn classifier_input(
    model: &InferenceModel,
    default_side: usize,
) -> Result<(String, InputShape), LoadError> {
    let inputs = model.input_outlets().map_err(|e| graph_error(&e))?;
    let &[input] = inputs else {
        let names: Vec<_> = inputs
            .iter()
            .map(|i| model.node(i.node).name.as_str())
            .collect();
        return not_a_classifier(format!(
            "it has {} inputs ({}), expected one",
            names.len(),
            names.join(", ")
        ));
    };
    let name = model.node(input.node).name.clone();
    let fact = model.outlet_fact(input).map_err(|e| graph_error(&e))?;
    let dtype = fact.datum_type.concretize();
    if dtype.is_some_and(|d| d != DatumType::F32) {
        return not_a_classifier(format!(
            "input \"{name}\" is {}, expected float32",
            dtype_name(dtype)
        ));
    }
    let dims: Vec<Option<usize>> = fact
        .shape
        .dims()
        .map(|d| d.concretize().and_then(|d| d.to_usize().ok()))
        .collect();
    let shown = |d: &Option<usize>| d.map_or_else(|| "?".into(), |d| d.to_string());
    let shape = dims.iter().map(shown).collect::<Vec<_>>().join(", ");
    let wrong =
        |why: &str| not_a_classifier(format!("input \"{name}\" has shape [{shape}], {why}"));
    match dims[..] {
        [batch, channels, height, width] => {
            if channels.is_some_and(|c| c != 3) {
                return wrong("expected [N, 3, height, width] (RGB, channels first)");
            }
            let side = height.or(width).unwrap_or(default_side);
            if height.unwrap_or(side) != side || width.unwrap_or(side) != side {
                return wrong("expected equal height and width");
            }
            if !(1..=MAX_SIDE).contains(&side) {
                return wrong("allowed are sides of 1 to 2048 pixels");
            }
            Ok((
                name,
                InputShape {
                    side,
                    fixed_batch: batch,
                },
            ))
        }
        [] if fact.shape.is_open() => Ok((
            name,
            InputShape {
                side: default_side,
                fixed_batch: None,
            },
        )),
        _ => wrong("expected [N, 3, height, width]"),
    }
}

fn dtype_name(dtype: Option<DatumType>) -> String {
    dtype.map_or_else(|| "of unknown type".into(), |d| format!("{d:?}"))
}

fn output_name(model: &InferenceModel) -> Result<String, LoadError> {
    match model.output_outlets().map_err(|e| graph_error(&e))?.first() {
        None => not_a_classifier("it has no output".into()),
        Some(&o) => Ok(model
            .outlet_label(o)
            .unwrap_or(&model.node(o.node).name)
            .to_owned()),
    }
}

/// Fixes the input to `[batch, 3, side, side]` and optimizes; only the first output is kept.
fn plan_for(
    mut model: InferenceModel,
    batch: usize,
    side: usize,
) -> Result<(Arc<TypedRunnableModel>, usize), LoadError> {
    let refuse = |e: TractError| graph_error(&e);
    let first = model.output_outlets().map_err(refuse)?[0];
    model.select_output_outlets(&[first]).map_err(refuse)?;
    model
        .set_outlet_fact(first, InferenceFact::default())
        .map_err(refuse)?;
    let fact = InferenceFact::dt_shape(f32::datum_type(), tvec!(batch, 3, side, side));
    model.set_input_fact(0, fact).map_err(refuse)?;
    let model = model.into_optimized().map_err(refuse)?;
    let fact = model.output_fact(0).map_err(refuse)?;
    let shape: Vec<usize> = fact
        .shape
        .as_concrete()
        .map(<[usize]>::to_vec)
        .unwrap_or_default();
    if fact.datum_type != f32::datum_type() {
        return not_a_classifier(format!(
            "its output is {}, expected float32",
            dtype_name(Some(fact.datum_type))
        ));
    }
    let classes = match shape[..] {
        // [N, classes], or the same with a spatial size of one behind it
        [n, classes, ref rest @ ..] if n == batch && rest.iter().all(|d| *d == 1) => classes,
        _ => {
            return not_a_classifier(format!(
                "for input [{batch}, 3, {side}, {side}] its output is [{}], expected [{batch}, classes]",
                fact.shape
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
    };
    if classes < 2 {
        return not_a_classifier(format!(
            "its output has {classes} class, expected at least 2"
        ));
    }
    let plan = model.into_runnable().map_err(refuse)?;
    Ok((plan, classes))
}

/// tract's error chain as one line; the node it names, if any, is picked out.
fn graph_error(error: &TractError) -> LoadError {
    let chain: Vec<String> = error.chain().map(|c| one_line(&c.to_string())).collect();
    let reason = chain.last().cloned().unwrap_or_default();
    match chain.iter().rev().find_map(|text| quoted_node(text)) {
        Some(node) => LoadError::BadNode { node, reason },
        None => LoadError::BadGraph(chain.join(": ")),
    }
}

/// The name in tract's `node #12 "conv1" Conv`.
fn quoted_node(text: &str) -> Option<String> {
    let (_, after) = text.split_once("ode #")?;
    let (_, name) = after.split_once('"')?;
    Some(name.split_once('"')?.0.to_owned())
}

/// The first 300 characters, without line breaks.
fn one_line(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() > 300 {
        text.chars().take(300).chain("…".chars()).collect()
    } else {
        text
    }
}
