//! The file of 8 bits: the graph that was read, with pairs of `QuantizeLinear` and `DequantizeLinear` around what becomes
//! bytes, as ONNX Runtime's static quantization writes them.
//!
//! Activations are `uint8` with one scale for each value, weights `int8` with one for each output and no zero point,
//! biases `int32` in steps of both scales.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};

use super::super::onnx::{fresh, names};
use super::super::proto::{float_tensor, int8_tensor, int32_tensor, linear, uint8_scalar};
use super::network::{Layer, Network, producers, source, transposed};
use super::observe::{Seen, Statistics};
use super::rounding::{self, Covariance, Group};
use super::samples::Samples;
use kernels::nn::Quantization;

/// The weights of a layer as bytes.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    /// `[outputs, inputs of a group, positions of the window]`.
    weights: Vec<i8>,
    /// One an output.
    scales: Vec<f32>,
    bias: Vec<i32>,
}

/// What each value's bytes mean.
pub(super) fn quantizations(
    network: &Network,
    statistics: &Statistics,
    values: &HashSet<String>,
) -> HashMap<String, Quantization> {
    let graph = network.graph();
    let producers = producers(graph);
    let mut of_source: HashMap<&str, Quantization> = HashMap::new();
    let mut found = HashMap::new();
    for value in values {
        let source = source(graph, &producers, value);
        let Some(seen) = statistics.get(source) else {
            continue;
        };
        let best = of_source
            .entry(source)
            .or_insert_with(|| seen.histogram.best());
        found.insert(value.clone(), *best);
    }
    found
}

/// What bytes cost a layer: the squared error of its input and of its weights, each over what is there.
pub(super) fn noise(layer: &Layer, weights: &[f32], seen: &Seen, of_input: Quantization) -> f64 {
    let each = weights.len() / layer.outputs;
    let (mut error, mut all) = (0.0, 0.0);
    for weights in weights.chunks(each) {
        let scale = weight_scale(weights);
        for weight in weights {
            error += f64::from(weight - f32::from(to_byte(*weight, scale)) * scale).powi(2);
            all += f64::from(*weight).powi(2);
        }
    }
    seen.histogram.noise(of_input) + error / all.max(f64::MIN_POSITIVE)
}

/// Most steps of a bias: as much again is left for the products.
const MOST_BIAS_STEPS: f64 = (1_u32 << 30) as f64;

/// The step in which an output's weights fit into -127 to 127.
fn weight_scale(weights: &[f32]) -> f32 {
    let largest = weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
    match largest > 1e-30 {
        true => largest / 127.0,
        false => 1.0 / 127.0,
    }
}

fn to_byte(weight: f32, scale: f32) -> i8 {
    (weight / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// A layer's weights and bias as integers. What rounding the weights moves every result by on average is taken off the
/// bias: without it the logits of ResNet-50 are 0.255 off instead of 0.233. `samples` is what the layer read on the
/// photos, `means` the mean of each channel for layers without.
///
/// Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2.
pub(super) fn bytes(
    layer: &Layer,
    weights: &[f32],
    of_input: Quantization,
    seen: (Option<&Samples>, Option<Vec<f64>>),
    threads: usize,
) -> Bytes {
    let each = layer.each();
    let scale = |(weights, bias): (&[f32], &f32)| {
        // Where weights are next to nothing beside their bias, its integer decides what a step is.
        let least = f64::from(bias.abs()) / (f64::from(of_input.scale) * MOST_BIAS_STEPS);
        weight_scale(weights).max(least as f32)
    };
    let scales: Vec<f32> = weights.chunks(each).zip(&layer.bias).map(scale).collect();
    let samples = seen.0.filter(|samples| samples.places() > 0);
    // One for each input of every group.
    let means = match (samples, seen.1) {
        (Some(samples), _) => rounding::means(samples),
        (None, Some(means)) => repeated(&means, each / layer.inputs),
        (None, None) => vec![0.0; each * layer.groups],
    };
    let outputs = layer.outputs / layer.groups;
    let mut rounded = Vec::with_capacity(weights.len());
    let groups = weights.chunks(outputs * each).zip(scales.chunks(outputs));
    for (number, (weights, scales)) in groups.enumerate() {
        match samples {
            Some(samples) => {
                let read = (number * each, each);
                let covariance = Covariance::of(samples, &means, read, threads);
                rounded.extend(covariance.round(&Group { weights, scales }, threads));
            }
            None => {
                let weights = weights.chunks(each).zip(scales);
                rounded.extend(weights.flat_map(|(w, s)| w.iter().map(|w| to_byte(*w, *s))));
            }
        }
    }
    let of_output = |output: usize| {
        let first = output / outputs * each;
        let scale = scales[output];
        let at = output * each..(output + 1) * each;
        let bytes = rounded[at.clone()].iter().zip(&weights[at]);
        let moved = bytes.zip(&means[first..][..each]);
        let moved = moved.map(|((b, w), mean)| f64::from(f32::from(*b) * scale - w) * mean);
        let step = f64::from(of_input.scale) * f64::from(scale);
        let corrected = (f64::from(layer.bias[output]) - moved.sum::<f64>()) / step;
        corrected.round_ties_even() as i32
    };
    Bytes {
        bias: (0..layer.outputs).map(of_output).collect(),
        weights: rounded,
        scales,
    }
}

/// Each number so many times.
fn repeated(numbers: &[f64], times: usize) -> Vec<f64> {
    let each = |number: &f64| std::iter::repeat_n(*number, times);
    numbers.iter().flat_map(each).collect()
}

/// The file with the layers of `on_bytes` computed on the bytes of `rounded`, and the values of `quantizations` stored as
/// bytes.
pub(super) fn written(
    network: &Network,
    rounded: &[Option<Bytes>],
    on_bytes: &HashSet<usize>,
    quantizations: HashMap<String, Quantization>,
    metadata: &[(String, String)],
) -> ModelProto {
    let graph = network.graph();
    let mut writer = Writer {
        nodes: Vec::new(),
        tensors: Vec::new(),
        quantizations,
        dequantized: HashMap::new(),
        taken: names(graph),
    };
    for input in &graph.input {
        writer.pair(&input.name);
    }
    for (i, node) in graph.node.iter().enumerate() {
        let layer = network.layer_of(i).filter(|layer| on_bytes.contains(layer));
        let bytes = layer.and_then(|layer| Some((layer, rounded[layer].as_ref()?)));
        let read = node.input.first().map_or("", String::as_str);
        let of_input = writer.quantizations.get(read).copied();
        let inputs = node.input.iter().map(|input| writer.read(input)).collect();
        let mut node = NodeProto {
            input: inputs,
            ..node.clone()
        };
        if let (Some((layer, bytes)), Some(of_input)) = (bytes, of_input) {
            writer.weights(&mut node, &network.layers[layer], bytes, of_input);
        }
        let outputs = node.output.clone();
        writer.nodes.push(node);
        for output in &outputs {
            writer.pair(output);
        }
    }
    let Writer { nodes, tensors, .. } = writer;
    let read: HashSet<&String> = nodes.iter().flat_map(|n| &n.input).collect();
    let outputs: HashSet<&String> = graph.output.iter().map(|o| &o.name).collect();
    let is_used = |name: &String| read.contains(name) || outputs.contains(name);
    // Of the file's weights those alone are copied that stay numbers.
    let kept = graph.initializer.iter().filter(|t| is_used(&t.name));
    let initializer = kept.cloned().chain(tensors).collect();
    let fed = graph.input.iter().filter(|i| is_used(&i.name));
    let input = fed.cloned().collect();
    let computes: Vec<bool> = nodes
        .iter()
        .map(|n| n.op_type != "Constant" || n.output.iter().any(is_used))
        .collect();
    let nodes = nodes.into_iter().zip(computes);
    let graph = GraphProto {
        node: nodes.filter_map(|(n, kept)| kept.then_some(n)).collect(),
        name: graph.name.clone(),
        initializer,
        sparse_initializer: graph.sparse_initializer.clone(),
        doc_string: graph.doc_string.clone(),
        input,
        output: graph.output.clone(),
        // Without the shapes of values that are no longer there.
        ..GraphProto::default()
    };
    with_metadata(&network.proto, graph, metadata)
}

/// The file with another graph and some metadata more.
fn with_metadata(
    file: &ModelProto,
    graph: GraphProto,
    metadata: &[(String, String)],
) -> ModelProto {
    let is_other =
        |pair: &&StringStringEntryProto| metadata.iter().all(|(key, _)| pair.key != *key);
    let others = file.metadata_props.iter().filter(is_other).cloned();
    let more = metadata.iter().map(|(key, value)| StringStringEntryProto {
        key: key.clone(),
        value: value.clone(),
    });
    ModelProto {
        ir_version: file.ir_version,
        opset_import: file.opset_import.clone(),
        producer_name: file.producer_name.clone(),
        producer_version: file.producer_version.clone(),
        domain: file.domain.clone(),
        model_version: file.model_version,
        doc_string: file.doc_string.clone(),
        graph: Some(graph),
        metadata_props: others.chain(more).collect(),
        training_info: file.training_info.clone(),
        ..ModelProto::default()
    }
}

/// What was seen of a value, or of the one whose numbers it has.
pub(super) fn statistics_of<'s>(
    network: &Network,
    statistics: &'s Statistics,
    value: &str,
) -> Option<&'s Seen> {
    let graph = network.graph();
    let same = || statistics.get(source(graph, &producers(graph), value));
    statistics.get(value).or_else(same)
}

struct Writer {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Of the values that become bytes.
    quantizations: HashMap<String, Quantization>,
    /// The names of the numbers that their bytes mean.
    dequantized: HashMap<String, String>,
    /// Names that something has.
    taken: HashSet<String>,
}

impl Writer {
    /// The name by which a value is read.
    fn read(&self, value: &str) -> String {
        let name = self.dequantized.get(value);
        name.cloned().unwrap_or_else(|| value.to_owned())
    }

    /// A name that nothing else has.
    fn fresh(&mut self, of: &str, part: &str) -> String {
        fresh(&mut self.taken, format!("{of}_{part}"))
    }

    /// Lets a value become bytes and numbers again.
    fn pair(&mut self, value: &str) {
        let Some(of) = self.quantizations.get(value).copied() else {
            return;
        };
        let [scale, zero, bytes, numbers] =
            ["scale", "zero_point", "quantized", "dequantized"].map(|s| self.fresh(value, s));
        self.tensors.push(float_tensor(&scale, &[], &[of.scale]));
        self.tensors.push(uint8_scalar(&zero, of.zero));
        self.nodes.extend([
            linear("QuantizeLinear", &[value, &scale, &zero], &bytes, None),
            linear("DequantizeLinear", &[&bytes, &scale, &zero], &numbers, None),
        ]);
        self.dequantized.insert(value.to_owned(), numbers);
    }

    /// Lets a layer read its weights and its bias as integers.
    fn weights(
        &mut self,
        node: &mut NodeProto,
        layer: &Layer,
        bytes: &Bytes,
        of_input: Quantization,
    ) {
        let Bytes {
            weights,
            scales,
            bias,
        } = bytes;
        let name = &layer.name;
        let outputs = layer.outputs as i64;
        let weights = match layer.axis {
            0 => weights.clone(),
            _ => transposed(weights, layer.outputs, layer.inputs),
        };
        let steps: Vec<f32> = scales.iter().map(|scale| scale * of_input.scale).collect();
        let mut part = |part: &str| self.fresh(name, part);
        let names = ["weight_quantized", "weight_scale", "weight_zero_point"].map(&mut part);
        let of_bias = ["bias_quantized", "bias_scale", "bias_zero_point"].map(&mut part);
        let [weight, bias_numbers] = ["weight_dequantized", "bias_dequantized"].map(&mut part);
        self.tensors
            .push(int8_tensor(&names[0], &layer.dims, &weights));
        self.tensors
            .push(float_tensor(&names[1], &[outputs], scales));
        self.tensors
            .push(int8_tensor(&names[2], &[outputs], &vec![0; layer.outputs]));
        self.tensors
            .push(int32_tensor(&of_bias[0], &[outputs], bias));
        self.tensors
            .push(float_tensor(&of_bias[1], &[outputs], &steps));
        self.tensors.push(int32_tensor(
            &of_bias[2],
            &[outputs],
            &vec![0; layer.outputs],
        ));
        let names = names.each_ref().map(String::as_str);
        let of_bias = of_bias.each_ref().map(String::as_str);
        self.nodes.extend([
            linear("DequantizeLinear", &names, &weight, Some(layer.axis)),
            linear("DequantizeLinear", &of_bias, &bias_numbers, Some(0)),
        ]);
        node.input.truncate(1);
        node.input.extend([weight, bias_numbers]);
    }
}
