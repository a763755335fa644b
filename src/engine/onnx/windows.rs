//! Windows of convolutions and pools, and other attributes that say how many of something there are: held to sizes that a
//! picture can have; and weights to the size that they say.
//!
//! Called by `onnx` on the decoded file: the importer multiplies these numbers without a look.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::LoadError;
use super::super::quantized::constants;
use super::{graphs, node_name};

/// Most steps of a window along one axis: far more than any picture has.
pub(super) const MAX_STEPS: i64 = 1 << 16;

/// Most elements of a window: the largest picture.
const MAX_ELEMENTS: i64 = 1 << 22;

/// What an attribute may hold, by operators that have it.
fn allowed(op_type: &str, attribute: &str) -> Option<RangeInclusive<i64>> {
    let is_window = matches!(
        op_type,
        "AveragePool"
            | "Conv"
            | "ConvInteger"
            | "ConvTranspose"
            | "LpPool"
            | "MaxPool"
            | "QLinearConv"
    );
    match (op_type, attribute) {
        (_, "kernel_shape" | "strides" | "dilations") if is_window => Some(1..=MAX_STEPS),
        (_, "pads" | "output_padding") if is_window => Some(0..=MAX_STEPS),
        (_, "group") if is_window => Some(1..=MAX_STEPS),
        ("Pad", "pads" | "paddings") => Some(-MAX_STEPS..=MAX_STEPS),
        ("DepthToSpace" | "SpaceToDepth", "blocksize") => Some(1..=MAX_STEPS),
        ("LRN", "size") => Some(1..=MAX_STEPS),
        ("Split", "num_outputs") => Some(1..=MAX_STEPS),
        ("Split", "split") => Some(0..=i64::from(i32::MAX)),
        ("MatMulNBits", "K" | "N") => Some(1..=i64::from(i32::MAX)),
        ("MatMulNBits", "block_size") => Some(1..=MAX_STEPS),
        ("MatMulNBits", "bits") => Some(1..=8),
        (_, "axis" | "axes" | "batch_axis" | "batch_dims" | "time_axis") => {
            Some(-MAX_AXES..=MAX_AXES)
        }
        _ => None,
    }
}

/// Most axes of a value.
pub(super) const MAX_AXES: i64 = 32;

/// Looks at every node, those of graphs inside of nodes too.
///
/// # Errors
/// [`LoadError::BadNode`], naming the attribute, its value and what is allowed.
pub(super) fn check(graph: &GraphProto) -> Result<(), LoadError> {
    graph.initializer.iter().try_for_each(check_tensor)?;
    let constants = constants(graph);
    for node in &graph.node {
        let checked = check_node(node).and_then(|()| check_packed(node, &constants));
        checked.map_err(|reason| LoadError::BadNode {
            node: node_name(node),
            reason,
        })?;
        for graph in node.attribute.iter().flat_map(graphs) {
            check(graph)?;
        }
    }
    Ok(())
}

/// Whether a tensor holds as many numbers as its shape says; of the types that the importer reads.
fn check_tensor(tensor: &TensorProto) -> Result<(), LoadError> {
    let (width, listed) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => (4, tensor.float_data.len()),
        Ok(DataType::Int64) => (8, tensor.int64_data.len()),
        Ok(DataType::Int32) => (4, tensor.int32_data.len()),
        Ok(DataType::Int8 | DataType::Uint8 | DataType::Bool) => (1, tensor.int32_data.len()),
        _ => return Ok(()),
    };
    let stored = match tensor.raw_data.len() {
        0 => listed,
        bytes => bytes.div_ceil(width),
    };
    let product = |all: usize, size: &i64| all.checked_mul(usize::try_from(*size).ok()?);
    match tensor.dims.iter().try_fold(1, product) {
        Some(numbers) if numbers == stored && tensor.raw_data.len().is_multiple_of(width) => Ok(()),
        _ => Err(LoadError::BadGraph(format!(
            "tensor \"{}\" holds {stored} numbers, which its shape {:?} does not",
            tensor.name, tensor.dims
        ))),
    }
}

fn check_node(node: &NodeProto) -> Result<(), String> {
    let perm = node.attribute.iter().find(|a| a.name == "perm");
    if let Some(perm) = perm.filter(|_| node.op_type == "Transpose") {
        let mut axes = perm.ints.clone();
        axes.sort_unstable();
        if !axes.iter().copied().eq(0..axes.len() as i64) {
            return Err(format!(
                "its perm is {:?}, allowed is each axis once",
                &perm.ints[..perm.ints.len().min(8)]
            ));
        }
    }
    let shape = node.attribute.iter().find(|a| a.name == "output_shape");
    if let Some(shape) = shape.filter(|_| node.op_type == "ConvTranspose") {
        // The importer adds what is missing at the end, and below zero it counts round.
        return Err(format!(
            "its output_shape is {:?}, served are pads and output_padding",
            &shape.ints[..shape.ints.len().min(8)]
        ));
    }
    for attribute in &node.attribute {
        let Some(allowed) = allowed(&node.op_type, &attribute.name) else {
            continue;
        };
        let (low, high) = (allowed.start(), allowed.end());
        if let Some(value) = values(attribute).find(|v| !allowed.contains(v)) {
            return Err(format!(
                "its {} holds {value}, allowed are {low} to {high}",
                attribute.name
            ));
        }
        let elements = values(attribute).try_fold(1_i64, i64::checked_mul);
        if attribute.name == "kernel_shape" && elements.is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(format!(
                "its kernel_shape is {:?}, allowed are {MAX_ELEMENTS} elements",
                attribute.ints
            ));
        }
    }
    Ok(())
}

/// Whether the packed weights of a `MatMulNBits` are as many bytes as it says: the importer makes room for what it says.
fn check_packed(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Result<(), String> {
    if node.op_type != "MatMulNBits" {
        return Ok(());
    }
    let number = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    let required = |name: &str| number(name).ok_or_else(|| format!("it has no {name}"));
    let (rows, columns, block) = (required("N")?, required("K")?, required("block_size")?);
    let bits = number("bits").unwrap_or(4);
    let weights = node.input.get(1).and_then(|b| constants.get(b.as_str()));
    let weights = weights.ok_or("its weights are no constant")?;
    let stored = weights
        .dims
        .iter()
        .try_fold(1_i64, |all, size| all.checked_mul(*size));
    let of_block = (block * bits + 7) / 8;
    let blocks = (columns + block - 1) / block;
    let said = rows
        .checked_mul(blocks)
        .and_then(|all| all.checked_mul(of_block));
    match said {
        Some(bytes) if stored == Some(bytes) => Ok(()),
        _ => Err(format!(
            "its N is {rows}, its K {columns}, of {bits} bits in blocks of {block}, which its weights {:?} do not hold",
            weights.dims
        )),
    }
}

fn values(attribute: &AttributeProto) -> impl Iterator<Item = i64> {
    let one = attribute.ints.is_empty().then_some(attribute.i);
    attribute.ints.iter().copied().chain(one)
}
