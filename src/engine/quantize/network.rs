//! The graph of a file in single precision, with what of it can be computed on bytes.
//!
//! Called by `mod`. Works on the decoded protobuf, so that what is written is the file that was read, and nothing else.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

use super::super::LoadError;
use super::super::onnx::{floats, node_name};
use super::super::quantized::constants;
use super::fold::{drop_casts, fold_batch_norms};
use super::window::Window;
use kernels::nn::Quantization;

/// Operators that only move numbers: what comes out has the scale of what went in.
const CARRIERS: [&str; 7] = [
    "Dropout",
    "Flatten",
    "Identity",
    "MaxPool",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
];

/// Operators that say the same in the operator sets 9 to 13, so that a file may name the newer one: only there has
/// `DequantizeLinear` a scale for each channel.
const SAME_SINCE_9: [&str; 14] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Constant",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Sigmoid",
];

/// A layer with weights that can be bytes.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Its node's place in the graph.
    pub(super) node: usize,
    /// Its name, for people.
    pub(super) name: String,
    /// The name of its weights, which stay where they are; [`Network::weights`] has their numbers.
    weights: String,
    pub(super) outputs: usize,
    /// Inputs of a group.
    pub(super) inputs: usize,
    pub(super) groups: usize,
    /// One an output.
    pub(super) bias: Vec<f32>,
    /// Extents of the weights in the file.
    pub(super) dims: Vec<i64>,
    /// Which of them counts the outputs.
    pub(super) axis: i64,
    /// Where it reads; none if the file leaves that to the runtime.
    pub(super) window: Option<Window>,
}

impl Layer {
    /// Weights of an output.
    pub(super) fn each(&self) -> usize {
        let numbers: i64 = self.dims.iter().product();
        numbers as usize / self.outputs
    }
}

/// A file's graph and its layers.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) proto: ModelProto,
    pub(super) layers: Vec<Layer>,
}

impl Network {
    /// Joins batch normalizations with the convolutions before them, and finds the layers.
    ///
    /// # Errors
    /// [`LoadError::NotQuantizable`], with the reason.
    pub(super) fn of(mut proto: ModelProto) -> Result<Network, LoadError> {
        let graph = proto.graph.as_mut().ok_or(LoadError::Empty)?;
        let quantizes =
            |n: &&NodeProto| n.op_type == "QuantizeLinear" || n.op_type.starts_with("QLinear");
        if let Some(node) = graph.node.iter().find(quantizes) {
            return refuse(format!(
                "node \"{}\" is {}: it has 8 bits already",
                node_name(node),
                node.op_type
            ));
        }
        if !proto.functions.is_empty() {
            return refuse("it has functions of its own: export it without");
        }
        let has_graphs = |n: &&NodeProto| {
            let mut attributes = n.attribute.iter();
            attributes.any(|a| a.g.is_some() || !a.graphs.is_empty())
        };
        if let Some(node) = graph.node.iter().find(has_graphs) {
            return refuse(format!(
                "node \"{}\" has a graph of its own: export it without branches and loops",
                node_name(node)
            ));
        }
        let trains = |n: &&NodeProto| {
            n.op_type == "BatchNormalization"
                && (integer(n, "training_mode", 0) != 0 || n.output.len() > 1)
        };
        if let Some(node) = graph.node.iter().find(trains) {
            return refuse(format!(
                "node \"{}\" computes as in training: export it after eval()",
                node_name(node)
            ));
        }
        raise_operator_set(&mut proto)?;
        let graph = proto.graph.as_mut().ok_or(LoadError::Empty)?;
        drop_casts(graph);
        fold_batch_norms(graph);
        let layers = layers(graph);
        if layers.is_empty() {
            return refuse("it has no convolution and no Gemm with float32 weights");
        }
        Ok(Network { proto, layers })
    }

    pub(super) fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().expect("seen by `of`")
    }

    /// A copy of a layer's weights, `[outputs, inputs of a group, positions of the window]`.
    pub(super) fn weights(&self, layer: &Layer) -> Vec<f32> {
        let constants = constants(self.graph());
        let tensor = constants.get(layer.weights.as_str());
        let numbers = tensor.and_then(|tensor| floats(tensor));
        let numbers = numbers.expect("`layers` has read them");
        match layer.axis {
            0 => numbers,
            _ => transposed(&numbers, layer.inputs, layer.outputs),
        }
    }

    /// The layer of a node.
    pub(super) fn layer_of(&self, node: usize) -> Option<usize> {
        self.layers.iter().position(|layer| layer.node == node)
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::NotQuantizable(reason.into()))
}

/// Lets the file name operator set 13 at least, if its operators allow that.
fn raise_operator_set(proto: &mut ModelProto) -> Result<(), LoadError> {
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let Some(set) = proto.opset_import.iter_mut().find(|s| own(&s.domain)) else {
        return refuse("it names no operator set");
    };
    // From this one on, initializers need not be inputs as well.
    proto.ir_version = proto.ir_version.max(7);
    if set.version >= 13 {
        return Ok(());
    }
    let version = set.version;
    let nodes = proto.graph.iter().flat_map(|g| &g.node);
    let other = |n: &&NodeProto| !SAME_SINCE_9.contains(&&*n.op_type);
    if let Some(node) = nodes.filter(|_| version >= 9).find(other) {
        return refuse(format!(
            "it is of operator set {version}, and {} may mean something else in set 13, which scales for each channel \
             need: export it with 13 or more",
            node.op_type
        ));
    }
    if version < 9 {
        return refuse(format!(
            "it is of operator set {version}, allowed are 9 and more: export it anew"
        ));
    }
    set.version = 13;
    Ok(())
}

pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// An attribute of one integer.
pub(super) fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

/// An attribute of one number.
pub(super) fn number(node: &NodeProto, name: &str, default: f32) -> f32 {
    let float = |a: &&AttributeProto| a.r#type == AttributeType::Float as i32;
    attribute(node, name).filter(float).map_or(default, |a| a.f)
}

/// Which nodes read each value; the file's outputs are read by nobody.
pub(super) fn readers(graph: &GraphProto) -> HashMap<&str, Vec<usize>> {
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for input in &node.input {
            readers.entry(input).or_default().push(i);
        }
    }
    readers
}

/// Which node computes each value.
pub(super) fn producers(graph: &GraphProto) -> HashMap<&str, usize> {
    let nodes = graph.node.iter().enumerate();
    nodes
        .flat_map(|(i, node)| node.output.iter().map(move |output| (output.as_str(), i)))
        .collect()
}

/// The layers: convolutions, and `Gemm` as exporters write a fully connected layer.
fn layers(graph: &GraphProto) -> Vec<Layer> {
    let constants = constants(graph);
    let layer = |(i, node): (usize, &NodeProto)| {
        let weights = constants.get(node.input.get(1)?.as_str())?;
        let (axis, inner) = match &*node.op_type {
            "Conv" if weights.dims.len() == 4 => (0, 1),
            "Gemm" if is_plain_gemm(node) && weights.dims.len() == 2 => {
                match integer(node, "transB", 0) {
                    0 => (1, 0),
                    _ => (0, 1),
                }
            }
            _ => return None,
        };
        let numbers = floats(weights)?;
        let dims = weights.dims.clone();
        let outputs = usize::try_from(dims[axis]).ok()?;
        let inputs = usize::try_from(dims[inner]).ok()?;
        let groups = usize::try_from(integer(node, "group", 1)).ok()?;
        let fits = outputs > 0
            && inputs > 0
            && groups > 0
            && outputs.is_multiple_of(groups)
            && !numbers.is_empty()
            && numbers.len().is_multiple_of(outputs * inputs);
        if !fits || !numbers.iter().all(|w| w.is_finite()) {
            return None;
        }
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            None => vec![0.0; outputs],
            Some(name) => floats(constants.get(name.as_str())?)?,
        };
        let fits = bias.len() == outputs && bias.iter().all(|b| b.is_finite());
        fits.then(|| Layer {
            node: i,
            name: node_name(node),
            weights: node.input[1].clone(),
            outputs,
            inputs,
            groups,
            bias,
            dims,
            axis: axis as i64,
            window: Window::of(node, &weights.dims),
        })
    };
    graph.node.iter().enumerate().filter_map(layer).collect()
}

fn is_plain_gemm(node: &NodeProto) -> bool {
    number(node, "alpha", 1.0) == 1.0
        && number(node, "beta", 1.0) == 1.0
        && integer(node, "transA", 0) == 0
}

/// `[columns, rows]` of `[rows, columns]`.
pub(super) fn transposed<T: Copy>(numbers: &[T], rows: usize, columns: usize) -> Vec<T> {
    let at = |i: usize| numbers[i % rows * columns + i / rows];
    (0..rows * columns).map(at).collect()
}

/// The value whose numbers another one has, past what only moves them.
pub(super) fn source<'g>(
    graph: &'g GraphProto,
    producers: &HashMap<&str, usize>,
    value: &'g str,
) -> &'g str {
    let mut value = value;
    while let Some(&i) = producers.get(value) {
        let node = &graph.node[i];
        match node.input.first() {
            Some(input) if CARRIERS.contains(&&*node.op_type) => value = input,
            _ => break,
        }
    }
    value
}

/// The values that are bytes if the layers of `on_bytes` are computed on bytes: what these read, and what that is
/// computed from by operators that work on bytes as well.
pub(super) fn values(network: &Network, on_bytes: &HashSet<usize>) -> HashSet<String> {
    let graph = network.graph();
    let (readers, producers) = (readers(graph), producers(graph));
    let constants = constants(graph);
    let mut found = HashSet::new();
    let mut left: Vec<&str> = network
        .layers
        .iter()
        .enumerate()
        .filter(|(number, _)| on_bytes.contains(number))
        .map(|(_, layer)| graph.node[layer.node].input[0].as_str())
        .collect();
    while let Some(value) = left.pop() {
        if constants.contains_key(value) || !found.insert(value.to_owned()) {
            continue;
        }
        let Some(&producer) = producers.get(value) else {
            continue;
        };
        let node = before_bound(graph, &readers, &producers, producer);
        match &*node.op_type {
            "Add" | "GlobalAveragePool" | "Relu" => {
                left.extend(node.input.iter().map(String::as_str))
            }
            op if CARRIERS.contains(&op) => left.push(&node.input[0]),
            _ => {}
        }
    }
    found
}

/// The values that become bytes only so that something is added to them, and that can be added as the numbers they are:
/// the results of a layer on bytes which one sum alone reads. Of two such operands the one whose bytes have the wider
/// steps, because the step that computes a layer and its sum reads the other as bytes.
pub(super) fn added_as_numbers(
    network: &Network,
    on_bytes: &HashSet<usize>,
    quantizations: &HashMap<String, Quantization>,
) -> Vec<String> {
    let graph = network.graph();
    let (readers, producers) = (readers(graph), producers(graph));
    let sums = graph.node.iter().filter(|node| node.op_type == "Add");
    let of_sum = |node: &NodeProto| {
        let is_of_layer = |value: &str| {
            let producer = producers.get(value);
            let layer = producer.and_then(|producer| network.layer_of(*producer));
            let leaves = graph.output.iter().any(|output| output.name == value);
            layer.is_some_and(|layer| on_bytes.contains(&layer))
                && readers[value].len() == 1
                && !leaves
        };
        let scales: Option<Vec<f32>> = (node.input.iter())
            .map(|value| Some(quantizations.get(value)?.scale))
            .collect();
        let operands = node.input.iter().zip(scales?);
        let layers = operands.filter(|(value, _)| is_of_layer(value));
        let (value, _) = layers.max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(value.clone())
    };
    sums.filter_map(of_sum).collect()
}

/// The node whose results a `ReLU` or `Clip` bounds, if nobody else reads them; else the node itself.
fn before_bound<'g>(
    graph: &'g GraphProto,
    readers: &HashMap<&str, Vec<usize>>,
    producers: &HashMap<&str, usize>,
    node: usize,
) -> &'g NodeProto {
    let node = &graph.node[node];
    let input = node.input.first().map_or("", String::as_str);
    let alone = readers.get(input).is_some_and(|r| r.len() == 1);
    match producers.get(input) {
        Some(&before) if matches!(&*node.op_type, "Relu" | "Clip") && alone => {
            let before = &graph.node[before];
            match &*before.op_type {
                "Add" | "Conv" | "Gemm" => before,
                _ => node,
            }
        }
        _ => node,
    }
}
