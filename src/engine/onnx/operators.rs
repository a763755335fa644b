//! Which operators a file may use: those of ONNX that the runtime has, and those of other domains that are known to mean
//! here what they mean there.
//!
//! Called by `onnx` once the file's own functions are written out. The importer finds an operator by its name alone, so
//! that anybody's `Relu` would be ONNX's.

use tract_onnx::Onnx;
use tract_onnx::pb::GraphProto;

use super::super::LoadError;
use super::{domain, graphs, node_name, synonyms};

/// ONNX Runtime's own operators that the importer has, or `quantized` says in ONNX's.
const MICROSOFT: [&str; 15] = [
    "BiasGelu",
    "DequantizeLinear",
    "FastGelu",
    "Gelu",
    "MatMulNBits",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearMul",
    "QLinearSigmoid",
    "QuantizeLinear",
    "QuickGelu",
    "SkipLayerNormalization",
];

/// Operators of other domains that the importer has under their bare name.
const FOREIGN: [&str; 18] = [
    "ArrayFeatureExtractor",
    "BiasGelu",
    "CategoryMapper",
    "ConstantLike",
    "FastGelu",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "LinearClassifier",
    "LinearRegressor",
    "MatMulNBits",
    "MultiHeadAttention",
    "Normalizer",
    "ParametricSoftplus",
    "QuickGelu",
    "ScaledTanh",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "TreeEnsembleClassifier",
];

/// Whether the operator of a domain means what the importer takes it for, or is said otherwise before.
pub(super) fn is_known(domain: &str, op_type: &str, onnx: &Onnx) -> bool {
    if synonyms::is_known(domain, op_type) {
        return true;
    }
    match domain {
        "" => onnx.op_register.0.contains_key(op_type) && !FOREIGN.contains(&op_type),
        "com.microsoft" => MICROSOFT.contains(&op_type),
        _ => false,
    }
}

/// Looks at every node, those of graphs inside of nodes too.
///
/// # Errors
/// [`LoadError::UnsupportedOperator`], naming node, operator and domain.
pub(super) fn check(graph: &GraphProto, onnx: &Onnx) -> Result<(), LoadError> {
    for node in &graph.node {
        let of = domain(&node.domain);
        if !is_known(of, &node.op_type, onnx) {
            return Err(LoadError::UnsupportedOperator {
                node: node_name(node),
                op: match of {
                    "" => node.op_type.clone(),
                    of => format!("{} (domain {of})", node.op_type),
                },
            });
        }
        for graph in node.attribute.iter().flat_map(graphs) {
            check(graph, onnx)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::importer;
    use super::*;
    use crate::engine::proto;
    use tract_onnx::pb::NodeProto;

    fn refusal(domain: &str, op_type: &str) -> Option<String> {
        let node = NodeProto {
            name: "a".into(),
            domain: domain.into(),
            ..proto::node(op_type, &[], &[])
        };
        let graph = GraphProto {
            node: vec![node],
            ..GraphProto::default()
        };
        check(&graph, &importer()).err().map(|e| e.to_string())
    }

    #[test]
    fn name_alone_makes_no_operator() {
        for (domain, op) in [
            ("", "Relu"),
            ("ai.onnx", "Relu"),
            ("com.microsoft", "Gelu"),
            ("com.microsoft", "QLinearAdd"),
        ] {
            assert_eq!(refusal(domain, op), None, "{domain} {op}");
        }
        for (domain, op) in [
            ("acme", "Relu"),
            ("com.microsoft", "Relu"),
            ("com.microsoft", "Attention"), // ONNX has another of that name
            ("com.microsoft", "QLinearConv"),
            ("ai.onnx.ml", "Normalizer"),
            ("", "FastGelu"),
            ("", "Normalizer"),
            ("", "NoSuch"),
        ] {
            let error = refusal(domain, op).expect(op);
            let start = format!("node \"a\" uses the operator {op}");
            assert!(
                error.starts_with(&start) && error.contains(domain),
                "{error}"
            );
        }
    }
}
