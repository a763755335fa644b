//! Weights that a file stores in 8 bits, as the `f32` numbers that they stand for.
//!
//! Called by `onnx` on the decoded file. Left to tract, the same is a cast, a subtraction and a product for each tensor,
//! and its importer takes several times as long for them as the arithmetic.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::onnx::{self, is_elsewhere};
use super::quantized;

/// Puts an `f32` weight in the place of every `DequantizeLinear` of a constant.
///
/// Numbers are those of the ONNX specification: `(x - zero_point) * scale`, in `f32`. What lies in another file, is of
/// other types than int8, uint8 and int32, or has scales for blocks, stays as it is. So does a file with graphs inside of
/// nodes, which read constants from outside; and, where activations are quantized too, all but the parameters of
/// normalizations, because what computes in integers needs the weights as such.
pub(super) fn widen_weights(graph: &mut GraphProto) {
    let has_graph = |node: &NodeProto| node.attribute.iter().any(|a| a.g.is_some());
    if graph.node.iter().any(has_graph) {
        return;
    }
    let quantizes =
        |node: &NodeProto| node.op_type == "QuantizeLinear" || node.op_type.starts_with("QLinear");
    let only = (graph.node.iter().any(quantizes)).then(|| parameters_of_norms(graph));
    let is_meant = |node: &NodeProto| {
        let mut names = node.output.iter();
        names.all(|name| only.as_ref().is_none_or(|only| only.contains(&**name)))
    };
    let interface: HashSet<&str> = (graph.input.iter().chain(&graph.output))
        .map(|value| value.name.as_str())
        .collect();
    let mut constants = quantized::constants(graph);
    constants.retain(|name, _| !interface.contains(name));
    let kept_name = |node: &NodeProto| node.output.iter().any(|o| interface.contains(o.as_str()));
    let mut widened: Vec<Option<TensorProto>> = (graph.node.iter())
        .map(|node| Some(node).filter(|node| is_meant(node) && !kept_name(node)))
        .map(|node| widened(node?, &constants))
        .collect();
    let (gone, kept): (Vec<_>, Vec<_>) =
        (graph.node.iter().zip(&widened)).partition(|(_, weight)| weight.is_some());
    let names = |nodes: &[(&NodeProto, _)]| -> HashSet<String> {
        let inputs = nodes.iter().flat_map(|(node, _)| &node.input);
        inputs.cloned().collect()
    };
    let orphans = &names(&gone) - &names(&kept);
    let mut weights = widened.iter();
    graph
        .node
        .retain(|_| weights.next().is_some_and(Option::is_none));
    graph.initializer.retain(|t| !orphans.contains(&t.name));
    let weights = widened.iter_mut().filter_map(Option::take);
    graph.initializer.extend(weights);
}

/// The values that nodes read as parameters of a normalization and as nothing else: the importer wants them constant.
fn parameters_of_norms(graph: &GraphProto) -> HashSet<&str> {
    let (mut parameters, mut others) = (HashSet::new(), HashSet::new());
    for node in &graph.node {
        let normalizes = matches!(
            &*node.op_type,
            "BatchNormalization"
                | "GroupNormalization"
                | "InstanceNormalization"
                | "LayerNormalization"
                | "RMSNormalization"
        );
        for (i, name) in node.input.iter().enumerate() {
            match normalizes && i > 0 {
                true => parameters.insert(name.as_str()),
                false => others.insert(name.as_str()),
            };
        }
    }
    &parameters - &others
}

/// What a node makes of its constants, under the name of its output; none if it is no such node.
fn widened(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<TensorProto> {
    if node.op_type != "DequantizeLinear" || !node.domain.is_empty() {
        return None;
    }
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    if attribute("block_size").is_some_and(|a| a.i != 0) {
        return None;
    }
    let constant = |input: usize| constants.get(node.input.get(input)?.as_str()).copied();
    let [output] = &node.output[..] else {
        return None;
    };
    let (x, scales) = (constant(0)?, constant(1)?);
    let zero_points = match node.input.get(2) {
        Some(name) if !name.is_empty() => Some(whole_numbers(constant(2)?)?),
        _ => None,
    };
    let values = whole_numbers(x)?;
    let scales = onnx::floats(scales)?;
    let sizes: Option<Vec<usize>> = x.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let sizes = sizes?;
    // One scale for all numbers, or one for each place along the axis; behind it lies a run of numbers for each place.
    let (places, run) = match scales.len() {
        1 => (1, values.len().max(1)),
        _ => {
            let axis = attribute("axis").map_or(1, |a| a.i);
            let rank = i64::try_from(sizes.len()).ok()?;
            let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
            (*sizes.get(axis)?, product(&sizes[axis + 1..])?.max(1))
        }
    };
    if [values.len(), scales.len()] != [product(&sizes)?, places] {
        return None;
    }
    let zero_points = zero_points.unwrap_or_else(|| vec![0.0; places]);
    if zero_points.len() != places {
        return None;
    }
    let mut raw_data = Vec::with_capacity(4 * values.len());
    for (i, run) in values.chunks(run).enumerate() {
        let (scale, zero_point) = (scales[i % places], zero_points[i % places]);
        for value in run {
            raw_data.extend_from_slice(&((value - zero_point) * scale).to_le_bytes());
        }
    }
    Some(TensorProto {
        name: output.clone(),
        dims: x.dims.clone(),
        data_type: DataType::Float.into(),
        raw_data,
        ..TensorProto::default()
    })
}

fn product(sizes: &[usize]) -> Option<usize> {
    let mut sizes = sizes.iter();
    sizes.try_fold(1, |product: usize, size| product.checked_mul(*size))
}

/// The numbers of an int8, uint8 or int32 tensor, in bytes or one by one as some exporters write them.
fn whole_numbers(tensor: &TensorProto) -> Option<Vec<f32>> {
    if is_elsewhere(tensor) {
        return None;
    }
    let bytes = tensor.raw_data.iter().copied();
    let apart = tensor.int32_data.iter();
    let in_bytes = !tensor.raw_data.is_empty();
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int8 if in_bytes => Some(bytes.map(|b| f32::from(b.cast_signed())).collect()),
        DataType::Uint8 if in_bytes => Some(bytes.map(f32::from).collect()),
        DataType::Int8 => apart
            .map(|n| i8::try_from(*n).ok().map(f32::from))
            .collect(),
        DataType::Uint8 => apart
            .map(|n| u8::try_from(*n).ok().map(f32::from))
            .collect(),
        DataType::Int32 if in_bytes => {
            let (numbers, _) = tensor.raw_data.as_chunks::<4>();
            let numbers = numbers.iter().map(|bytes| i32::from_le_bytes(*bytes));
            Some(numbers.map(|n| n as f32).collect())
        }
        DataType::Int32 => Some(apart.map(|n| *n as f32).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::pb::tensor_proto::DataLocation;

    use super::super::proto::{float_tensor, int8_tensor, linear, node, value};
    use super::*;

    /// `w` [2, 3] int8 and its parameters, dequantized along `axis` and read by a node.
    fn graph(axis: Option<i64>, scales: &[f32], zero_points: &[i8]) -> GraphProto {
        let places = [i64::try_from(scales.len()).unwrap()];
        GraphProto {
            node: vec![
                linear("DequantizeLinear", &["w", "s", "z"], "W", axis),
                node("MatMul", &["x", "W"], &["y"]),
            ],
            initializer: vec![
                int8_tensor("w", &[2, 3], &[1, 2, 3, -1, -128, 127]),
                float_tensor("s", &places, scales),
                int8_tensor("z", &places, zero_points),
            ],
            ..GraphProto::default()
        }
    }

    /// The only weight that is left, and the only node.
    fn weight(mut graph: GraphProto) -> Vec<f32> {
        widen_weights(&mut graph);
        let [weight] = &graph.initializer[..] else {
            panic!("{:?}", graph.initializer);
        };
        assert_eq!((weight.name.as_str(), &weight.dims[..]), ("W", &[2, 3][..]));
        assert_eq!(graph.node.len(), 1);
        onnx::floats(weight).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_specification_along_either_axis() {
        let all = weight(graph(None, &[0.5], &[1]));
        assert_eq!(all, [0.0, 0.5, 1.0, -1.0, -64.5, 63.0]);
        for axis in [0, -2] {
            let rows = weight(graph(Some(axis), &[0.5, 2.0], &[0, -1]));
            assert_eq!(rows, [0.5, 1.0, 1.5, 0.0, -254.0, 256.0]);
        }
        for axis in [None, Some(1), Some(-1)] {
            let columns = weight(graph(axis, &[1.0, 2.0, 4.0], &[0, 0, 1]));
            assert_eq!(columns, [1.0, 4.0, 8.0, -1.0, -256.0, 504.0]);
        }
    }

    #[test]
    fn unsigned_weights_and_no_zero_point_are_fine() {
        let mut graph = graph(None, &[1.0], &[0]);
        graph.initializer[0].data_type = DataType::Uint8.into();
        graph.initializer.pop();
        graph.node[0].input.pop();
        assert_eq!(weight(graph), [1.0, 2.0, 3.0, 255.0, 128.0, 127.0]);
    }

    #[test]
    fn numbers_may_be_stored_apart() {
        let apart = |kind: DataType, numbers: [i32; 6]| {
            let mut graph = graph(None, &[0.5], &[1]);
            graph.initializer[0] = TensorProto {
                data_type: kind.into(),
                int32_data: numbers.to_vec(),
                raw_data: Vec::new(),
                ..graph.initializer[0].clone()
            };
            graph.initializer[1] = TensorProto {
                float_data: vec![0.5],
                raw_data: Vec::new(),
                ..graph.initializer[1].clone()
            };
            graph.initializer[2] = TensorProto {
                int32_data: vec![1],
                raw_data: Vec::new(),
                ..graph.initializer[2].clone()
            };
            graph
        };
        let signed = weight(apart(DataType::Int8, [1, 2, 3, -1, -128, 127]));
        assert_eq!(signed, [0.0, 0.5, 1.0, -1.0, -64.5, 63.0]);
        let unsigned = weight(apart(DataType::Uint8, [1, 2, 3, 0, 128, 255]));
        assert_eq!(unsigned, [0.0, 0.5, 1.0, -0.5, 63.5, 127.0]);
        for (kind, number) in [(DataType::Int8, 128), (DataType::Uint8, -1)] {
            let beyond = apart(kind, [1, 2, 3, 4, 5, number]);
            let mut widened = beyond.clone();
            widen_weights(&mut widened);
            assert_eq!(widened, beyond);
        }
    }

    #[test]
    fn what_does_not_fit_or_is_needed_as_it_is_stays() {
        let unchanged = |graph: GraphProto| {
            let mut widened = graph.clone();
            widen_weights(&mut widened);
            assert_eq!(widened, graph);
        };
        unchanged(graph(Some(0), &[1.0; 3], &[0; 3])); // three scales for two rows
        unchanged(graph(Some(2), &[1.0; 2], &[0; 2])); // no such axis
        unchanged(graph(Some(-3), &[1.0; 2], &[0; 2]));
        unchanged(graph(Some(0), &[1.0; 2], &[0; 1])); // a zero point is missing
        let of = |change: &dyn Fn(&mut GraphProto)| {
            let mut graph = graph(None, &[1.0], &[0]);
            change(&mut graph);
            unchanged(graph);
        };
        of(&|g| g.initializer[0].dims = vec![2, 4]); // two numbers are missing
        of(&|g| g.initializer[0].dims = vec![-2, -3]);
        of(&|g| g.initializer[0].dims = vec![i64::MAX, i64::MAX]);
        of(&|g| g.initializer[0].data_type = DataType::Int32.into());
        of(&|g| g.initializer[1].data_type = DataType::Float16.into());
        of(&|g| g.initializer[0].data_location = Some(DataLocation::External.into()));
        of(&|g| {
            g.node
                .push(linear("QuantizeLinear", &["y", "s", "z"], "q", None))
        });
        for name in ["w", "W"] {
            of(&|g| g.input = vec![value(name)]);
            of(&|g| g.output = vec![value(name)]);
        }
        of(&|g| {
            g.node[1].attribute.push(AttributeProto {
                g: Some(GraphProto::default()),
                ..AttributeProto::default()
            });
        });
    }

    #[test]
    fn constant_that_something_else_reads_too_is_kept() {
        let mut graph = graph(None, &[1.0], &[0]);
        graph.node.push(node("Mul", &["y", "s"], &["out"]));
        widen_weights(&mut graph);
        let names: Vec<_> = graph.initializer.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["s", "W"]);
    }
}
