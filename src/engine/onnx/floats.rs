//! Floats of other widths as `f32`: what a file stores and computes in 16 or 64 bits is widened, or narrowed, when it is
//! read.
//!
//! Called by `onnx` on the decoded file. The runtime has fast kernels for `f32` alone; a network trained in `f32` and
//! stored otherwise answers so as it did when it was trained.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, type_proto};
use tract_onnx::prelude::f16;

use super::super::LoadError;
use super::graphs_mut;

const FLOAT: i32 = DataType::Float as i32;

/// Whether numbers of a type become `f32`.
fn is_other_float(data_type: i32) -> bool {
    [DataType::Float16, DataType::Bfloat16, DataType::Double]
        .iter()
        .any(|t| *t as i32 == data_type)
}

/// Widens every constant, every type and every cast of a graph, and of those inside of its nodes.
///
/// # Errors
/// [`LoadError::BadGraph`] where a constant does not hold what its shape says.
pub(in crate::engine) fn widen(graph: &mut GraphProto) -> Result<(), LoadError> {
    for tensor in &mut graph.initializer {
        widen_tensor(tensor)?;
    }
    let values = graph.input.iter_mut().chain(&mut graph.output);
    for value in values.chain(&mut graph.value_info) {
        let of = value.r#type.as_mut().and_then(|t| t.value.as_mut());
        if let Some(type_proto::Value::TensorType(tensor)) = of
            && is_other_float(tensor.elem_type)
        {
            tensor.elem_type = FLOAT;
        }
    }
    for node in &mut graph.node {
        widen_node(node)?;
    }
    Ok(())
}

fn widen_node(node: &mut NodeProto) -> Result<(), LoadError> {
    let names_type = |attribute: &AttributeProto| {
        matches!(
            attribute.name.as_str(),
            "to" | "dtype" | "output_dtype" | "stash_type"
        )
    };
    for attribute in &mut node.attribute {
        if names_type(attribute) && is_other_float(attribute.i as i32) {
            attribute.i = FLOAT.into();
        }
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            widen_tensor(tensor)?;
        }
        for graph in graphs_mut(attribute) {
            widen(graph)?;
        }
    }
    Ok(())
}

/// The numbers of a tensor as raw `f32`; other types stay as they are.
fn widen_tensor(tensor: &mut TensorProto) -> Result<(), LoadError> {
    let Ok(data_type) = DataType::try_from(tensor.data_type) else {
        return Ok(());
    };
    if !is_other_float(tensor.data_type) {
        return Ok(());
    }
    let mut wide = Vec::new();
    let mut push = |number: f32| wide.extend_from_slice(&number.to_le_bytes());
    let raw = std::mem::take(&mut tensor.raw_data);
    // Those of 16 bits are stored as raw bytes, or each in an integer.
    let halves = || -> Vec<u16> {
        let (pairs, _) = raw.as_chunks::<2>();
        match raw.is_empty() {
            true => tensor.int32_data.iter().map(|n| *n as u16).collect(),
            false => pairs.iter().map(|b| u16::from_le_bytes(*b)).collect(),
        }
    };
    match data_type {
        DataType::Float16 => {
            let halves = halves().into_iter();
            halves.for_each(|bits| push(f16::from_bits(bits).to_f32()));
        }
        DataType::Bfloat16 => {
            let halves = halves().into_iter();
            halves.for_each(|bits| push(f32::from_bits(u32::from(bits) << 16)));
        }
        _ => {
            let (eights, _) = raw.as_chunks::<8>();
            let numbers = eights.iter().map(|b| f64::from_le_bytes(*b));
            let numbers = numbers.chain(tensor.double_data.iter().copied());
            numbers.for_each(|number| push(narrowed(number)));
        }
    }
    let refuse = |holds: String| {
        Err(LoadError::BadGraph(format!(
            "tensor \"{}\" holds {holds}, which its shape {:?} does not",
            tensor.name, tensor.dims
        )))
    };
    let width = if data_type == DataType::Double { 8 } else { 2 };
    if !raw.len().is_multiple_of(width) {
        return refuse(format!("{} bytes of {width} for each number", raw.len()));
    }
    let count = |all: usize, size: &i64| all.checked_mul(usize::try_from(*size).ok()?);
    if tensor.dims.iter().try_fold(4, count) != Some(wide.len()) {
        return refuse(format!("{} numbers", wide.len() / 4));
    }
    tensor.int32_data.clear();
    tensor.double_data.clear();
    tensor.data_type = FLOAT;
    tensor.raw_data = wide;
    Ok(())
}

/// Finite numbers stay finite: the largest `f64` is an exporter's word for no bound.
fn narrowed(number: f64) -> f32 {
    match number.is_finite() {
        true => number.clamp(f32::MIN.into(), f32::MAX.into()) as f32,
        false => number as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType, raw_data: &[u8]) -> TensorProto {
        TensorProto {
            dims: vec![2],
            data_type: data_type as i32,
            raw_data: raw_data.to_vec(),
            ..TensorProto::default()
        }
    }

    fn numbers(mut tensor: TensorProto) -> Vec<f32> {
        widen_tensor(&mut tensor).unwrap();
        assert_eq!(tensor.data_type, FLOAT);
        let (numbers, _) = tensor.raw_data.as_chunks::<4>();
        numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    #[test]
    fn numbers_stay_what_they_are_however_they_are_stored() {
        let halves = [f16::from_f32(1.5), f16::NEG_INFINITY].map(f16::to_bits);
        let raw: Vec<u8> = halves.iter().flat_map(|b| b.to_le_bytes()).collect();
        let expected = [1.5, f32::NEG_INFINITY];
        assert_eq!(numbers(tensor(DataType::Float16, &raw)), expected);
        let mut stored = tensor(DataType::Float16, &[]);
        stored.int32_data = halves.iter().map(|b| i32::from(*b)).collect();
        assert_eq!(numbers(stored), expected);
        let bfloats = [0x3FC0_u16, 0xC000];
        let raw: Vec<u8> = bfloats.iter().flat_map(|b| b.to_le_bytes()).collect();
        assert_eq!(numbers(tensor(DataType::Bfloat16, &raw)), [1.5, -2.0]);
        let raw: Vec<u8> = [0.1, f64::MIN]
            .iter()
            .flat_map(|d: &f64| d.to_le_bytes())
            .collect();
        assert_eq!(numbers(tensor(DataType::Double, &raw)), [0.1, f32::MIN]);
        let mut stored = tensor(DataType::Double, &[]);
        stored.double_data = vec![0.1, f64::INFINITY];
        assert_eq!(numbers(stored), [0.1, f32::INFINITY]);
    }

    #[test]
    fn tensor_of_another_size_than_its_shape_is_refused_and_integers_stay() {
        let error = |mut tensor: TensorProto| widen_tensor(&mut tensor).unwrap_err().to_string();
        let short = error(tensor(DataType::Float16, &[0, 1]));
        assert!(short.contains("holds 1 numbers"), "{short}");
        for (data_type, width, bytes) in [
            (DataType::Float16, 2, 5),
            (DataType::Bfloat16, 2, 5),
            (DataType::Double, 8, 17),
        ] {
            let rest = error(tensor(data_type, &vec![0; bytes]));
            let reason = format!("holds {bytes} bytes of {width} for each number");
            assert!(rest.contains(&reason), "{rest}");
        }
        let mut negative = tensor(DataType::Float16, &[0; 4]);
        negative.dims = vec![-1, -2];
        let negative = error(negative);
        assert!(
            negative.contains("its shape [-1, -2] does not"),
            "{negative}"
        );
        let mut bytes = tensor(DataType::Int8, &[1, 2]);
        widen_tensor(&mut bytes).unwrap();
        assert_eq!(bytes, tensor(DataType::Int8, &[1, 2]));
    }
}
