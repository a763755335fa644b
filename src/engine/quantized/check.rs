//! What must hold of scales and zero points, so that a refusal can name the node.
//!
//! Reads the decoded protobuf only. Whatever would change every answer of a layer is refused, rather than computed
//! with.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::LoadError;
use super::super::onnx::{self, node_name};

/// Looks at every `QuantizeLinear` and `DequantizeLinear`, those of graphs inside of nodes too.
///
/// # Errors
/// [`LoadError::BadNode`].
pub(in crate::engine) fn check(graph: &GraphProto) -> Result<(), LoadError> {
    check_within(graph, &HashMap::new())
}

/// Looks at a graph that reads these constants of those around it.
fn check_within(graph: &GraphProto, outer: &HashMap<&str, &TensorProto>) -> Result<(), LoadError> {
    if !has_quantizers(graph) {
        return Ok(());
    }
    let mut constants = constants(graph);
    for (name, tensor) in outer {
        constants.entry(name).or_insert(tensor);
    }
    for node in &graph.node {
        if quantizes(node) {
            check_node(node, &constants).map_err(|reason| LoadError::BadNode {
                node: node_name(node),
                reason,
            })?;
        }
        let mut inner = node.attribute.iter().flat_map(onnx::graphs);
        inner.try_for_each(|graph| check_within(graph, &constants))?;
    }
    Ok(())
}

fn quantizes(node: &NodeProto) -> bool {
    matches!(&*node.op_type, "QuantizeLinear" | "DequantizeLinear")
}

fn has_quantizers(graph: &GraphProto) -> bool {
    let inner = |node: &NodeProto| {
        node.attribute
            .iter()
            .flat_map(onnx::graphs)
            .any(has_quantizers)
    };
    graph.node.iter().any(|node| quantizes(node) || inner(node))
}

/// Tensors by name: initializers, and those in nodes of their own.
pub(in crate::engine) fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    let stored = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    let nodes = graph.node.iter().filter(|n| n.op_type == "Constant");
    let of_nodes = nodes.filter_map(|n| {
        let value = n.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
        Some((n.output.first()?.as_str(), value))
    });
    stored.chain(of_nodes).collect()
}

fn check_node(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Result<(), String> {
    let quantizes = node.op_type == "QuantizeLinear";
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    if attribute("block_size").unwrap_or(0) != 0 {
        let values = node.input.iter().step_by(2).rev(); // the zero point has their type too
        let of = values
            .filter_map(|name| constants.get(name.as_str()))
            .next();
        return Err(format!(
            "it has a scale for each block{}, allowed is one for each index of an axis, of uint8 or int8",
            of.map_or_else(String::new, |of| format!(
                " of {} values",
                type_name(of.data_type)
            ))
        ));
    }
    if let Some(kind) = attribute("output_dtype").filter(|kind| *kind != 0) {
        allowed(kind as i32, "its output")?;
        let is_said = node.input.get(2).is_some_and(|zero| !zero.is_empty());
        if quantizes && kind == i64::from(DataType::Int8 as i32) && !is_said {
            return Err(
                "its output is int8 by its output_dtype alone, and its scale no constant beside it, expected a zero point \
                of int8"
                    .into(),
            );
        }
    }
    let input = |i: usize| {
        node.input
            .get(i)
            .map(String::as_str)
            .filter(|n| !n.is_empty())
    };
    let constant = |i: usize, what: &str| match input(i) {
        None => Ok(None),
        Some(name) => match constants.get(name) {
            Some(tensor) => Ok(Some(*tensor)),
            None => Err(format!(
                "its {what} \"{name}\" is computed, expected a constant"
            )),
        },
    };
    let scale = constant(1, "scale")?.ok_or("it has no scale")?;
    let scales = floats(scale)?;
    for (i, scale) in scales.iter().enumerate() {
        if !(scale.is_normal() && *scale > 0.0 && scale.recip().is_normal()) {
            return Err(format!(
                "scale {i} is {scale}, allowed are positive numbers from 1e-37 to 1e37"
            ));
        }
    }
    let value = input(0).and_then(|name| constants.get(name).copied());
    if let Some(zero) = constant(2, "zero point")? {
        check_zeros(zero, scales.len(), quantizes)?;
        if let Some(value) = value.filter(|v| !quantizes && v.data_type != zero.data_type) {
            return Err(format!(
                "its values are {}, its zero point is {}",
                type_name(value.data_type),
                type_name(zero.data_type)
            ));
        }
    }
    if let Some(value) = value {
        if !quantizes && value.data_type != DataType::Int32 as i32 {
            allowed(value.data_type, "the type of its values")?;
        }
        check_axis(&value.dims, attribute("axis").unwrap_or(1), scales.len())?;
    }
    Ok(())
}

/// Of weights the axis is known: it has as many indices as there are scales.
fn check_axis(dims: &[i64], axis: i64, scales: usize) -> Result<(), String> {
    if scales == 1 {
        return Ok(());
    }
    let rank = dims.len() as i64;
    let position = if axis < 0 { axis + rank } else { axis };
    match usize::try_from(position).ok().and_then(|p| dims.get(p)) {
        None => Err(format!("its axis is {axis}, its values have {rank} axes")),
        Some(size) if *size != scales as i64 => Err(format!(
            "it has {scales} scales along axis {axis}, which has {size} indices"
        )),
        Some(_) => Ok(()),
    }
}

/// The numbers that a shape has room for; a shape of nonsense has room for none.
fn count(tensor: &TensorProto) -> i64 {
    let product = |all: i64, size: &i64| all.checked_mul(*size);
    tensor.dims.iter().try_fold(1, product).unwrap_or(-1)
}

fn check_zeros(zero: &TensorProto, scales: usize, quantizes: bool) -> Result<(), String> {
    let kind = zero.data_type;
    let wide = kind == DataType::Int32 as i32 && !quantizes;
    if !wide {
        allowed(kind, "its zero point")?;
    }
    let zeros = integers(zero);
    let count = count(zero);
    if count as usize != scales || zeros.as_ref().is_some_and(|z| z.len() != scales) {
        return Err(format!("it has {scales} scales and {count} zero points"));
    }
    let range = match kind {
        _ if wide => 0..=0,
        k if k == DataType::Int8 as i32 => -128..=127,
        _ => 0..=255,
    };
    match zeros.iter().flatten().find(|z| !range.contains(*z)) {
        None => Ok(()),
        Some(wrong) => Err(format!(
            "a zero point is {wrong}, allowed are {} to {} for {}",
            range.start(),
            range.end(),
            type_name(kind)
        )),
    }
}

fn allowed(kind: i32, what: &str) -> Result<(), String> {
    let ours = [DataType::Uint8 as i32, DataType::Int8 as i32];
    match ours.contains(&kind) {
        true => Ok(()),
        false => Err(format!(
            "{what} is {}, allowed are uint8 and int8",
            type_name(kind)
        )),
    }
}

fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    if tensor.data_type != DataType::Float as i32 {
        return Err(format!(
            "its scale is {}, expected float32",
            type_name(tensor.data_type)
        ));
    }
    let values = onnx::floats(tensor).unwrap_or_default();
    let count = count(tensor);
    match !values.is_empty() && values.len() as i64 == count {
        true => Ok(values),
        false => Err(format!(
            "its scale has {} numbers, its shape {count}",
            values.len()
        )),
    }
}

/// The numbers of a tensor of integers in the file; none if they lie elsewhere.
fn integers(tensor: &TensorProto) -> Option<Vec<i32>> {
    if !tensor.int32_data.is_empty() {
        return Some(tensor.int32_data.clone());
    }
    if !tensor.external_data.is_empty() {
        return None;
    }
    let raw = &tensor.raw_data;
    Some(match tensor.data_type {
        k if k == DataType::Int32 as i32 => {
            let (numbers, _) = raw.as_chunks::<4>();
            numbers.iter().map(|b| i32::from_le_bytes(*b)).collect()
        }
        k if k == DataType::Int8 as i32 => raw.iter().map(|b| i32::from(*b as i8)).collect(),
        _ => raw.iter().map(|b| i32::from(*b)).collect(),
    })
}

/// ONNX's name in lower case; tract's protobuf ends before the newest.
fn type_name(kind: i32) -> String {
    let name = match kind {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        10 => "float16",
        11 => "double",
        16 => "bfloat16",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        other => return format!("of type {other}"),
    };
    name.to_owned()
}
