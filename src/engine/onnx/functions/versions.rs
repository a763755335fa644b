//! The version of ONNX's operators that a function is written for, beside that of the model.

use tract_onnx::pb::{FunctionProto, NodeProto, OperatorSetIdProto};

use super::domain;

/// The version of ONNX's own operators.
pub(super) fn default_version(imports: &[OperatorSetIdProto]) -> Option<i64> {
    let own = imports.iter().find(|o| domain(&o.domain).is_empty());
    own.map(|o| o.version)
}

/// Operators that mean something else, or take an attribute as an input, from this version on.
const CHANGED: [(&str, i64); 18] = [
    ("BatchNormalization", 14),
    ("Clip", 11),
    ("Dropout", 12),
    ("Hardmax", 13),
    ("LogSoftmax", 13),
    ("Pad", 11),
    ("ReduceL1", 18),
    ("ReduceL2", 18),
    ("ReduceMax", 18),
    ("ReduceMean", 18),
    ("ReduceMin", 18),
    ("ReduceSum", 13),
    ("Resize", 11),
    ("Slice", 10),
    ("Softmax", 13),
    ("Squeeze", 13),
    ("TopK", 10),
    ("Unsqueeze", 13),
];

/// A function may be written for another version of ONNX's operators than the model, if those it uses are the same.
pub(super) fn check_version(version: Option<i64>, function: &FunctionProto) -> Result<(), String> {
    let own = default_version(&function.opset_import);
    let (Some(model), Some(own)) = (version, own) else {
        return Ok(());
    };
    let (low, high) = (model.min(own), model.max(own));
    let changed = |node: &&NodeProto| {
        let change = CHANGED.iter().find(|(op, _)| *op == node.op_type);
        domain(&node.domain).is_empty() && change.is_some_and(|(_, at)| low < *at && *at <= high)
    };
    match function.node.iter().find(changed) {
        None => Ok(()),
        Some(node) => Err(format!(
            "which means {} of operator set {own}, the model's is {model}: export it with one set",
            node.op_type
        )),
    }
}
