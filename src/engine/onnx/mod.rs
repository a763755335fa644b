//! An ONNX file decoded, said in the operators that the runtime has, and checked before tract translates it, so that a
//! refusal can name the node.
//!
//! Called by `import`. Works on the decoded protobuf only; tract stays the importer. The order of the passes is that of
//! [`decode`]; each has a file of its own.

mod attention;
mod bounded;
mod branches;
mod byte_products;
mod channels;
mod einsum;
mod ending;
mod exponentials;
mod floats;
mod functions;
mod fused;
mod inner_outputs;
mod input;
mod log_softmax;
mod names;
mod numbers;
mod operators;
mod packed;
mod pixels;
mod readers;
mod recurrent;
mod remainder;
mod resize;
mod slice;
mod squeeze;
mod stock;
mod synonyms;
mod tensors;
mod training;
mod unread;
mod walk;
mod weight_norms;
mod windows;
mod words;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tract_onnx::Onnx;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

use super::external::{self, WeightsDir};
use super::widen::widen_weights;
use super::{LoadError, quantized};

pub(super) use self::bounded::count_anew;
pub(super) use self::branches::branches;
pub use self::ending::Ending;
pub(super) use self::floats::widen;
pub use self::input::InputForm;
pub(super) use self::names::{fresh, names};
pub use self::pixels::Pixels;
pub(super) use self::tensors::{floats, is_elsewhere};

/// A file as the importer gets it, and what its operators say of the outputs.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) proto: ModelProto,
    /// How each output ends, by name.
    pub(super) endings: HashMap<String, Ending>,
    /// Names of the outputs that others are computed from.
    pub(super) inner_outputs: HashSet<String>,
    /// In which form the file takes images; [`Decoded::proto`] takes planes of `float32` whatever this says.
    pub(super) form: InputForm,
    /// What numbers it takes for a pixel.
    pub(super) pixels: Pixels,
    /// What it computes otherwise than it says, for people.
    pub(super) notes: Vec<String>,
}

/// The importer with our operators in place of those that it lacks or computes otherwise, and with bounds.
pub(super) fn importer() -> Onnx {
    let mut onnx = unbounded();
    bounded::register(&mut onnx);
    onnx
}

fn unbounded() -> Onnx {
    // value_info repeats shapes that tract infers, for the batch size of the export only.
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    attention::register(&mut onnx);
    branches::register(&mut onnx);
    einsum::register(&mut onnx);
    quantized::register(&mut onnx);
    log_softmax::register(&mut onnx);
    remainder::register(&mut onnx);
    resize::register(&mut onnx);
    squeeze::register(&mut onnx);
    onnx
}

/// Decodes the protobuf, says it in operators that the importer has, and checks what tract would report without a node's
/// name, or panic on. Where an output is named, only what it needs is looked at.
pub(super) fn decode(
    bytes: &Bytes,
    dir: Option<&WeightsDir>,
    output: Option<&str>,
    onnx: &Onnx,
) -> Result<Decoded, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    // Of a slice, prost copies each tensor twice.
    let mut proto = <ModelProto as prost::Message>::decode(bytes.clone())
        .map_err(|e| LoadError::NotOnnx(e.to_string()))?;
    let version = opset(&proto);
    check_opset(&proto)?;
    match &mut proto.graph {
        Some(graph) if !graph.node.is_empty() => {
            output.inspect(|name| unread::keep_output(graph, name));
            unread::drop_unread(graph);
        }
        _ => return Err(LoadError::NotOnnx("it holds no graph".into())),
    }
    external::bring_in(&mut proto, dir)?;
    let is_operator = |domain: &str, name: &str| operators::is_known(domain, name, onnx);
    functions::inline(&mut proto, bytes, &is_operator)?;
    let graph = proto.graph.as_mut().expect("seen above");
    operators::check(graph, onnx).map_err(|e| advised(e, graph))?;
    windows::check(graph)?;
    synonyms::rewrite(graph, version.unwrap_or(1)).map_err(|e| advised(e, graph))?;
    floats::widen(graph)?;
    let training = training::settle(graph, version.unwrap_or(1))?;
    weight_norms::rewrite(graph, version.unwrap_or(1));
    quantized::rewrite(graph, version.unwrap_or(1))?;
    check_edges(graph)?;
    quantized::check(graph)?;
    widen_weights(graph);
    let form = input::settle(graph, version.unwrap_or(1));
    let (own, of_pixels) = match input::of_images(graph) {
        Some(at) => pixels::of(graph, &graph.input[at].name),
        None => (Pixels::Normalized, None),
    };
    let pixels = if form.bytes { Pixels::Bytes } else { own };
    names::tell_apart(graph);
    Ok(Decoded {
        form,
        pixels,
        notes: training.into_iter().chain(of_pixels).collect(),
        endings: ending::endings(graph),
        inner_outputs: inner_outputs::inner_outputs(graph),
        proto,
    })
}

/// Unnamed nodes go by their first output, as tract names them.
pub(super) fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() {
        node.output.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    }
}

/// A domain as nodes name it: that of ONNX's own operators has two names.
fn domain(name: &str) -> &str {
    match name {
        "ai.onnx" => "",
        name => name,
    }
}

/// The graphs inside of a node.
pub(super) fn graphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}

fn graphs_mut(attribute: &mut AttributeProto) -> impl Iterator<Item = &mut GraphProto> {
    attribute.g.iter_mut().chain(&mut attribute.graphs)
}

/// Every value that is read must be produced by an input, a weight or a node.
fn check_edges(graph: &GraphProto) -> Result<(), LoadError> {
    let inputs = graph.input.iter().map(|i| i.name.as_str());
    let weights = graph.initializer.iter().map(|t| t.name.as_str());
    let outputs = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().map(String::as_str));
    let known: std::collections::HashSet<&str> = inputs.chain(weights).chain(outputs).collect();
    for node in &graph.node {
        if let Some(missing) = node
            .input
            .iter()
            .find(|i| !i.is_empty() && !known.contains(i.as_str()))
        {
            let reason = format!("its input \"{missing}\" is produced by no node");
            return Err(LoadError::BadNode {
                node: node_name(node),
                reason,
            });
        }
    }
    match graph
        .output
        .iter()
        .find(|o| !known.contains(o.name.as_str()))
    {
        None => Ok(()),
        Some(o) => Err(LoadError::BadGraph(format!(
            "its output \"{}\" is produced by no node",
            o.name
        ))),
    }
}

/// Operator sets that the fixtures and ONNX's own cases of operators cover.
const TESTED_OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The version of ONNX's own operators.
fn opset(proto: &ModelProto) -> Option<i64> {
    let mut imports = proto.opset_import.iter();
    let own = imports.find(|o| domain(&o.domain).is_empty());
    own.map(|o| o.version)
}

/// An older set may still work, so that is said and not refused. In a newer one an operator may mean something that its
/// name and its attributes do not tell an importer that does not know it.
fn check_opset(proto: &ModelProto) -> Result<(), LoadError> {
    let (first, last) = (*TESTED_OPSETS.start(), *TESTED_OPSETS.end());
    let of_functions = proto.functions.iter().flat_map(|f| &f.opset_import);
    let imports = proto.opset_import.iter().chain(of_functions);
    let own = imports.filter(|import| domain(&import.domain).is_empty());
    if let Some(opset) = own.map(|import| import.version).find(|v| *v > last) {
        return Err(LoadError::BadGraph(format!(
            "its operator set is {opset}, known are those up to {last}: export it with one of these"
        )));
    }
    if let Some(opset) = opset(proto).filter(|opset| *opset < first) {
        tracing::warn!(
            opset,
            "the model's ONNX operator set is outside the tested ones, {first} to {last}"
        );
    }
    Ok(())
}

/// A node's refusal with the output that does not need the node, where there is one: it may be that of the classes.
fn advised(error: LoadError, graph: &GraphProto) -> LoadError {
    let (LoadError::BadNode { node, .. }
    | LoadError::LayoutOfOneCpu { node, .. }
    | LoadError::Random { node, .. }
    | LoadError::UnsupportedOperator { node, .. }) = &error
    else {
        return error;
    };
    match unread::output_without(graph, |other| node_name(other) == *node) {
        Some(output) => LoadError::OfAnOutput {
            output: output.to_owned(),
            reason: Box::new(error),
        },
        None => error,
    }
}
