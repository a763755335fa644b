//! What stands around a file's layers, computed into their weights before anything is quantized.
//!
//! Called by `network` on the decoded protobuf.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::onnx::{floats, fresh, names, node_name};
use super::super::proto::float_tensor;
use super::super::quantized::constants;
use super::network::{integer, number, producers, readers};

/// Lets what reads a constant by way of a cast to `f32` read the constant, which is of that type.
pub(super) fn drop_casts(graph: &mut GraphProto) {
    let floats = graph
        .initializer
        .iter()
        .filter(|t| t.data_type == DataType::Float as i32);
    let stored: HashSet<String> = floats.map(|t| t.name.clone()).collect();
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let is_cast = |node: &NodeProto| {
        let reads = node
            .input
            .first()
            .is_some_and(|input| stored.contains(input));
        let to = integer(node, "to", 0) == i64::from(DataType::Float as i32);
        let inner = node.output.first().is_some_and(|o| !outputs.contains(o));
        node.op_type == "Cast" && to && reads && inner
    };
    let casts = graph.node.iter().filter(|n| is_cast(n));
    let of: HashMap<String, String> = casts
        .map(|n| (n.output[0].clone(), n.input[0].clone()))
        .collect();
    graph.node.retain(|n| !is_cast(n));
    for input in graph.node.iter_mut().flat_map(|n| &mut n.input) {
        if let Some(constant) = of.get(input) {
            input.clone_from(constant);
        }
    }
}

/// Computes batch normalizations behind convolutions into their weights: `(w · x + b - mean) · scale / sqrt(var + ε) +
/// shift` is a convolution again.
pub(super) fn fold_batch_norms(graph: &mut GraphProto) {
    let mut taken = names(graph);
    while let Some((conv, norm, weights, bias)) = next_batch_norm(graph) {
        let name = node_name(&graph.node[norm]);
        let [w, b] =
            ["weight", "bias"].map(|part| fresh(&mut taken, format!("{name}_folded_{part}")));
        let output = std::mem::take(&mut graph.node[norm].output[0]);
        graph.initializer.push(TensorProto {
            name: w.clone(),
            ..weights
        });
        graph.initializer.push(TensorProto {
            name: b.clone(),
            ..bias
        });
        let node = &mut graph.node[conv];
        node.input = vec![std::mem::take(&mut node.input[0]), w, b];
        node.output[0] = output;
        graph.node.remove(norm);
    }
    // What only the batch normalizations read.
    let read: HashSet<String> = graph.node.iter().flat_map(|n| n.input.clone()).collect();
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    graph
        .initializer
        .retain(|t| read.contains(&t.name) || outputs.contains(&t.name));
    let kept: HashSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    graph
        .input
        .retain(|i| read.contains(&i.name) || kept.contains(&i.name));
}

/// A convolution, the batch normalization that alone reads its results, and weights and bias of both in one. What says
/// its numbers in another way than by constants is passed over.
fn next_batch_norm(graph: &GraphProto) -> Option<(usize, usize, TensorProto, TensorProto)> {
    let (readers, producers) = (readers(graph), producers(graph));
    graph.node.iter().enumerate().find_map(|(i, node)| {
        let input = node.input.first()?.as_str();
        let conv = *producers.get(input)?;
        let fits = node.op_type == "BatchNormalization"
            && integer(node, "training_mode", 0) == 0
            && graph.node[conv].op_type == "Conv"
            && readers[input].len() == 1
            && !graph.output.iter().any(|o| o.name == input);
        let (weights, bias) = fits.then(|| folded(graph, conv, i))??;
        Some((conv, i, weights, bias))
    })
}

/// Weights and bias of both in one.
fn folded(graph: &GraphProto, conv: usize, norm: usize) -> Option<(TensorProto, TensorProto)> {
    let constants = constants(graph);
    let (conv, norm) = (&graph.node[conv], &graph.node[norm]);
    let numbers = |name: &String| floats(constants.get(name.as_str())?);
    let weights = constants.get(conv.input.get(1)?.as_str())?;
    let mut folded = floats(weights)?;
    let outputs = usize::try_from(*weights.dims.first()?).ok()?;
    let of_norm: Option<Vec<Vec<f32>>> = (1..5).map(|i| numbers(norm.input.get(i)?)).collect();
    let [scale, shift, mean, variance] = <[Vec<f32>; 4]>::try_from(of_norm?).ok()?;
    let mut bias = match conv.input.get(2).filter(|name| !name.is_empty()) {
        None => vec![0.0; outputs],
        Some(name) => numbers(name)?,
    };
    let all = [&scale, &shift, &mean, &variance, &bias];
    if outputs == 0 || folded.len() % outputs != 0 || all.iter().any(|n| n.len() != outputs) {
        return None;
    }
    let epsilon = f64::from(number(norm, "epsilon", 1e-5));
    let each = folded.len() / outputs;
    for output in 0..outputs {
        let factor = f64::from(scale[output]) / (f64::from(variance[output]) + epsilon).sqrt();
        for weight in &mut folded[output * each..][..each] {
            *weight = (f64::from(*weight) * factor) as f32;
        }
        let centred = f64::from(bias[output]) - f64::from(mean[output]);
        bias[output] = (centred * factor + f64::from(shift[output])) as f32;
    }
    let dims = weights.dims.clone();
    Some((
        float_tensor("", &dims, &folded),
        float_tensor("", &[outputs as i64], &bias),
    ))
}
