//! Tensors and nodes of the file that is written.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

fn tensor(name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// Numbers of single precision.
pub(super) fn float_tensor(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    let raw = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    tensor(name, dims, DataType::Float, raw)
}

/// Signed bytes.
pub(super) fn int8_tensor(name: &str, dims: &[i64], numbers: &[i8]) -> TensorProto {
    let raw = numbers.iter().map(|n| n.cast_unsigned()).collect();
    tensor(name, dims, DataType::Int8, raw)
}

/// A byte.
pub(super) fn uint8_scalar(name: &str, number: u8) -> TensorProto {
    tensor(name, &[], DataType::Uint8, vec![number])
}

/// Integers of 32 bits.
pub(super) fn int32_tensor(name: &str, dims: &[i64], numbers: &[i32]) -> TensorProto {
    let raw = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    tensor(name, dims, DataType::Int32, raw)
}

/// `QuantizeLinear` or `DequantizeLinear`, for one scale or for one along an axis.
pub(super) fn linear(op: &str, inputs: [&str; 3], output: &str, axis: Option<i64>) -> NodeProto {
    let axis = axis.map(|axis| AttributeProto {
        name: "axis".into(),
        i: axis,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    });
    NodeProto {
        name: format!("{output}_{op}"),
        op_type: op.to_owned(),
        input: inputs.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        attribute: axis.into_iter().collect(),
        ..NodeProto::default()
    }
}
