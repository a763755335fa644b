//! The numbers of a tensor of the decoded file, however they are stored in it.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// The numbers of an `f32` tensor; none if it has another type or lies in another file.
pub(in crate::engine) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 || is_elsewhere(tensor) {
        return None;
    }
    if !tensor.float_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (numbers, _) = tensor.raw_data.as_chunks::<4>();
    Some(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The numbers of an `i64` tensor; none if it has another type or lies in another file.
pub(super) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 || is_elsewhere(tensor) {
        return None;
    }
    if !tensor.int64_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let (numbers, _) = tensor.raw_data.as_chunks::<8>();
    Some(numbers.iter().map(|b| i64::from_le_bytes(*b)).collect())
}

/// Whether a tensor lies in another file.
pub(in crate::engine) fn is_elsewhere(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}
