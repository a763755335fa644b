//! Parts of an ONNX file, each in one call: attributes, nodes, tensors and values.
//!
//! Used by what adds to a file or writes one, and by tests, whose networks are made of nothing else.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, ValueInfoProto};

/// An attribute of a number.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        f,
        r#type: AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of a whole number.
pub(super) fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of several whole numbers.
pub(super) fn integers(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of a word.
pub(super) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: s.as_bytes().to_vec(),
        r#type: AttributeType::String as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of a tensor.
pub(super) fn tensor_attribute(name: &str, tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        t: Some(tensor),
        r#type: AttributeType::Tensor as i32,
        ..AttributeProto::default()
    }
}

/// A node of ONNX's own operators, without name and attributes.
pub(super) fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        op_type: op_type.into(),
        input: owned(inputs),
        output: owned(outputs),
        ..NodeProto::default()
    }
}

/// `QuantizeLinear` or `DequantizeLinear` of a value, with its scale or those along an axis, and perhaps zero points.
pub(super) fn linear(op: &str, inputs: &[&str], output: &str, axis: Option<i64>) -> NodeProto {
    NodeProto {
        name: format!("{output}_{op}"),
        attribute: axis.map(|axis| integer("axis", axis)).into_iter().collect(),
        ..node(op, inputs, &[output])
    }
}

fn tensor(name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// A tensor of single precision.
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

/// Integers of 64 bits in one row, as operators take axes and shapes.
pub(super) fn int64_row(name: &str, numbers: &[i64]) -> TensorProto {
    let raw = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    tensor(name, &[numbers.len() as i64], DataType::Int64, raw)
}

/// An input or output of which the name is said alone.
pub(super) fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.into(),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
pub(super) use self::whole::{float_value, model, tensor_value};

/// What only a test writes: a file from the beginning.
#[cfg(test)]
mod whole {
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
    use tract_onnx::pb::{
        GraphProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TypeProto, type_proto,
    };

    use super::*;

    /// An input or output of this type and these sizes; one of -1 is left open.
    pub(in crate::engine) fn tensor_value(
        name: &str,
        kind: DataType,
        dims: &[i64],
    ) -> ValueInfoProto {
        let dim = |size: &i64| Dimension {
            value: (*size >= 0).then_some(dimension::Value::DimValue(*size)),
            ..Dimension::default()
        };
        let tensor = type_proto::Tensor {
            elem_type: kind as i32,
            shape: Some(TensorShapeProto {
                dim: dims.iter().map(dim).collect(),
            }),
        };
        ValueInfoProto {
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(tensor)),
                ..TypeProto::default()
            }),
            ..value(name)
        }
    }

    /// An input or output of single precision and these sizes; one of -1 is left open.
    pub(in crate::engine) fn float_value(name: &str, dims: &[i64]) -> ValueInfoProto {
        tensor_value(name, DataType::Float, dims)
    }

    /// A file of this graph, in a version of ONNX's own operators.
    pub(in crate::engine) fn model(graph: GraphProto, version: i64) -> ModelProto {
        ModelProto {
            ir_version: 8,
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                version,
                ..OperatorSetIdProto::default()
            }],
            ..ModelProto::default()
        }
    }
}
