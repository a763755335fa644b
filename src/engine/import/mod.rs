//! ONNX bytes to a network whose graph is known: read, typed for any batch if possible, and cut into regions.
//!
//! Called by `tract`. What our operators compute is found by `lower`; the plan that tract executes is made in `plan`.

mod plan;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ToDim;

use super::caught::catch;
use super::external::WeightsDir;
use super::graph_error::graph_error;
use super::input::{InputShape, classifier_input};
use super::lower::{self, Found, Pooling};
use super::onnx::{self, Decoded};
use super::outputs::{self, Chosen, MAX_OUTPUTS, Numbers, Output, OutputWish, Single};
use super::{
    Ending, InputForm, LoadError, NetworkInput, OutputInfo, Pixels, operands, recurrence, sizes,
    strides, weights,
};
use crate::tensor::Size;

/// A model file in memory.
#[derive(Debug)]
pub struct ModelSource<'a> {
    /// The content of the `.onnx` file; given up as soon as it is decoded.
    pub bytes: Bytes,
    /// Where weights outside of the file may lie; nothing else is read. None if all must be in the file.
    pub dir: Option<&'a WeightsDir>,
    /// Size of the input where the file leaves it open.
    pub default_size: Size,
    /// What is known of the output.
    pub output: OutputWish,
}

/// The file as tract's graph, before any optimization.
struct Parsed {
    model: InferenceModel,
    endings: HashMap<String, Ending>,
    inner_outputs: HashSet<String>,
    about: About,
}

/// What a file is, for the registry and for people.
#[derive(Debug, Clone)]
struct About {
    form: InputForm,
    pixels: Pixels,
    notes: Vec<String>,
}

fn parse(bytes: Bytes, dir: Option<&WeightsDir>, wish: &OutputWish) -> Result<Parsed, LoadError> {
    let onnx = onnx::importer();
    let Decoded {
        proto,
        endings,
        inner_outputs,
        form,
        pixels,
        notes,
    } = onnx::decode(&bytes, dir, wish.name.as_deref(), &onnx)?;
    drop(bytes); // decoding has copied the weights
    let model = onnx.parse(&proto, None).map_err(|e| graph_error(&e))?.model;
    drop(proto); // its copy of the weights is as large as the file
    Ok(Parsed {
        model,
        endings,
        inner_outputs,
        about: About {
            form,
            pixels,
            notes,
        },
    })
}

/// What the network takes.
pub(super) fn input(source: ModelSource<'_>) -> Result<NetworkInput, LoadError> {
    let parsed = parse(source.bytes, source.dir, &source.output)?;
    let (name, input) = classifier_input(&parsed.model, source.default_size)?;
    Ok(NetworkInput {
        name,
        size: input.size,
        form: parsed.about.form,
        pixels: parsed.about.pixels,
    })
}

/// A network whose graph is known, before weights are packed for a precision; made a model by
/// [`TractModel::load`](crate::engine::TractModel::load).
#[derive(Debug, Clone)]
pub struct Network {
    input_name: String,
    output: OutputInfo,
    output_reason: String,
    ending: Ending,
    single: Option<Single>,
    about: About,
    size: Size,
    batch: Batch,
    model: TypedModel,
    found: Found,
    /// What the classes are computed from, if that can be had: the second and third output of `model` then.
    pooling: Option<Pooling>,
}

/// The file's graph, with regions around what our operators compute.
fn read(source: ModelSource<'_>) -> Result<Network, LoadError> {
    let default_size = source.default_size;
    let parsed = parse(source.bytes, source.dir, &source.output)?;
    let about = parsed.about.clone();
    weights::check(&parsed.model)?;
    let (input_name, input) = classifier_input(&parsed.model, default_size)?;
    let Chosen {
        name,
        ending,
        typed: (model, batch),
        classes,
        single,
        reason,
    } = chosen_output(parsed, &input, &source.output)?;
    let (mut model, found, batch) = prepared(model, batch).map_err(|e| graph_error(&e))?;
    let pooling = found.pooling(&model).filter(|_| single.is_none());
    model
        .outputs
        .extend(pooling.iter().flat_map(|p| [p.map, p.pooled]));
    Ok(Network {
        input_name,
        output: OutputInfo {
            name,
            shape: vec![classes],
        },
        output_reason: reason,
        ending,
        single,
        about,
        size: input.size,
        batch,
        model,
        found,
        pooling,
    })
}

/// The graph with regions around what our operators compute; for one image if an operator must know how many there are.
fn prepared(model: TypedModel, batch: Batch) -> TractResult<(TypedModel, Found, Batch)> {
    let Batch::Any(symbol) = &batch else {
        let (model, found) = lower::prepare(model)?;
        return Ok((model, found, batch));
    };
    match lower::prepare(model.clone()) {
        Ok((model, found)) => Ok((model, found, batch)),
        Err(_) => {
            let one = HashMap::from([(symbol.clone(), 1.to_dim())]);
            prepared(model.set_symbols(&one)?, Batch::Fixed(1))
        }
    }
}

/// The output that gives the classes, and the graph typed for it.
fn chosen_output(
    parsed: Parsed,
    input: &InputShape,
    wish: &OutputWish,
) -> Result<Chosen<(TypedModel, Batch)>, LoadError> {
    let Parsed {
        model,
        endings,
        inner_outputs,
        ..
    } = parsed;
    let outlets = model
        .output_outlets()
        .map_err(|e| graph_error(&e))?
        .to_vec();
    let name = |outlet: &OutletId| {
        let label = model.outlet_label(*outlet);
        label.unwrap_or(&model.node(outlet.node).name).to_owned()
    };
    let names: Vec<String> = outlets.iter().map(name).collect();
    let wished = |name: &String| wish.name.as_ref().is_none_or(|wish| wish == name);
    if !names.is_empty() && !names.iter().any(wished) {
        return not_a_classifier(format!(
            "it has no output \"{}\", allowed are {}",
            wish.name.as_deref().unwrap_or_default(),
            names.join(", ")
        ));
    }
    if wish.name.is_none() && names.len() > MAX_OUTPUTS {
        return not_a_classifier(format!(
            "it has {} outputs, allowed are {MAX_OUTPUTS} unless one is chosen in model.toml: [output] name = \"{}\"",
            names.len(),
            names[names.len() - 1]
        ));
    }
    let outlets = names.into_iter().zip(outlets);
    let outputs = outlets
        .filter(|(name, _)| wished(name))
        .map(|(name, outlet)| {
            let typed = typed(&model, input, outlet)
                .map(|(typed, batch, numbers)| ((typed, batch), numbers));
            Output {
                ending: endings.get(&name).copied().unwrap_or(Ending::Other),
                name,
                typed,
            }
        });
    outputs::choose(outputs.collect(), &inner_outputs, wish)
}

impl Network {
    /// Reads a file's graph and types it.
    ///
    /// # Errors
    /// [`LoadError`], naming the node where there is one.
    pub fn read(source: ModelSource<'_>) -> Result<Network, LoadError> {
        catch(|| read(source))
    }

    /// What it takes.
    #[must_use]
    pub fn input(&self) -> NetworkInput {
        NetworkInput {
            name: self.input_name.clone(),
            size: self.size,
            form: self.about.form,
            pixels: self.about.pixels.clone(),
        }
    }

    /// Whether the file says how values are stored as bytes.
    pub(super) fn is_quantized(&self) -> bool {
        self.found.is_quantized()
    }
}

/// The batch size that a graph is typed for.
#[derive(Debug, Clone)]
enum Batch {
    /// Whatever arrives: a symbol of the graph.
    Any(Symbol),
    Fixed(usize),
}

impl Batch {
    fn dim(&self) -> TDim {
        match self {
            Batch::Any(symbol) => symbol.into(),
            Batch::Fixed(n) => n.to_dim(),
        }
    }
}

/// The graph with all shapes known, for any batch if possible; and what one of its outputs gives.
fn typed(
    model: &InferenceModel,
    input: &InputShape,
    output: OutletId,
) -> Result<(TypedModel, Batch, Numbers), LoadError> {
    // A constant in the file may hold the batch size; tract then contradicts itself, or panics.
    let attempt = |batch: Batch| {
        let (typed, numbers) = catch(|| typed_for(model.clone(), &batch, input.size, output))?;
        Ok((typed, batch, numbers))
    };
    let any = Batch::Any(model.symbols.new_with_prefix("N"));
    attempt(any).or_else(|_: LoadError| {
        let one = attempt(Batch::Fixed(1));
        match input.fixed_batch {
            Some(n) if n > 1 => one.or_else(|_| attempt(Batch::Fixed(n))),
            _ => one,
        }
    })
}

fn not_a_classifier<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::NotAClassifier(reason))
}

/// Keeps a graph from what tract would make of it that is not what its file says; before anything rewrites it.
///
/// # Errors
/// tract's, for a slice that contradicts its input.
pub(super) fn keep_meaning(model: &mut TypedModel) -> TractResult<()> {
    strides::keep_offsets(model)?;
    strides::keep_strides(model);
    operands::keep_operands(model)?;
    recurrence::begin_anew(model);
    Ok(())
}

/// Fixes the input to `[batch, 3, height, width]` and infers all shapes; only one output is kept.
fn typed_for(
    mut model: InferenceModel,
    batch: &Batch,
    size: Size,
    output: OutletId,
) -> Result<(TypedModel, Numbers), LoadError> {
    let refuse = |e: TractError| graph_error(&e);
    onnx::count_anew();
    model.select_output_outlets(&[output]).map_err(refuse)?;
    model
        .set_outlet_fact(output, InferenceFact::default())
        .map_err(refuse)?;
    let batch = batch.dim();
    let [channels, height, width] = size.shape().map(|n| n.to_dim());
    let shape = tvec!(batch.clone(), channels, height, width);
    let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
    model.set_input_fact(0, fact).map_err(refuse)?;
    let mut model = model.into_typed().map_err(refuse)?;
    sizes::check(&model).map_err(refuse)?;
    keep_meaning(&mut model).map_err(refuse)?;
    let fact = model.output_fact(0).map_err(refuse)?;
    match outputs::numbers(fact, &batch) {
        Ok(numbers) => Ok((model, numbers)),
        Err(reason) => not_a_classifier(format!("its output {reason}")),
    }
}
