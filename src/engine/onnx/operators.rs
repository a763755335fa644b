//! Which operators a file may use: those of ONNX that the runtime has, and those of other domains that are known to mean
//! here what they mean there.
//!
//! Called by `onnx` once the file's own functions are written out. The importer finds an operator by its name alone, so
//! that anybody's `Relu` would be ONNX's.

use tract_onnx::Onnx;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::super::LoadError;
use super::{domain, graphs, node_name, synonyms};

/// ONNX Runtime's own operators that the importer has, or `quantized` says in ONNX's.
const MICROSOFT: [&str; 18] = [
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
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QLinearWhere",
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

/// Operators of ONNX that draw numbers by lot, with a seed too: the next image gets the numbers that follow.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
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

/// Whether ONNX Runtime's optimizer writes it where it has chosen a layout for the CPU that it runs on.
fn has_layout_of_one_cpu(domain: &str, node: &NodeProto) -> bool {
    match domain {
        "com.microsoft.nchwc" | "com.ms.internal.nhwc" => true,
        "com.microsoft" => {
            let last = |a: &AttributeProto| a.name == "channels_last" && a.i != 0;
            node.op_type.starts_with("Nhwc") || node.attribute.iter().any(last)
        }
        _ => false,
    }
}

/// Looks at every node, those of graphs inside of nodes too.
///
/// # Errors
/// [`LoadError::UnsupportedOperator`], [`LoadError::Random`] or [`LoadError::LayoutOfOneCpu`], naming node, operator and
/// domain.
pub(super) fn check(graph: &GraphProto, onnx: &Onnx) -> Result<(), LoadError> {
    for node in &graph.node {
        let of = domain(&node.domain);
        let op = || match of {
            "" => node.op_type.clone(),
            of => format!("{} (domain {of})", node.op_type),
        };
        if has_layout_of_one_cpu(of, node) {
            return Err(LoadError::LayoutOfOneCpu {
                node: node_name(node),
                op: op(),
            });
        }
        if of.is_empty() && RANDOM.contains(&&*node.op_type) {
            return Err(LoadError::Random {
                node: node_name(node),
                op: op(),
            });
        }
        if !is_known(of, &node.op_type, onnx) {
            return Err(LoadError::UnsupportedOperator {
                node: node_name(node),
                op: op(),
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

    fn refusal(domain: &str, op_type: &str) -> Option<String> {
        refusal_with(domain, op_type, Vec::new())
    }

    fn refusal_with(domain: &str, op_type: &str, attribute: Vec<AttributeProto>) -> Option<String> {
        let node = NodeProto {
            name: "a".into(),
            domain: domain.into(),
            attribute,
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
            ("com.microsoft", "GroupQueryAttention"),
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

    #[test]
    fn what_draws_by_lot_is_refused() {
        for op in RANDOM {
            let error = refusal("", op).expect(op);
            assert!(
                error.contains(&format!("{op}, which gives other numbers every time")),
                "{error}"
            );
        }
    }

    #[test]
    fn layout_of_one_cpu_is_refused_with_the_level_to_save_at() {
        let last = |is_last| vec![proto::integer("channels_last", is_last)];
        for (domain, op, attributes) in [
            ("com.microsoft.nchwc", "Conv", Vec::new()),
            ("com.microsoft.nchwc", "ReorderInput", last(1)),
            ("com.ms.internal.nhwc", "Conv", Vec::new()),
            ("com.microsoft", "NhwcMaxPool", Vec::new()),
            ("com.microsoft", "NhwcFusedConv", Vec::new()),
            ("com.microsoft", "QLinearConv", last(1)),
            ("com.microsoft", "QLinearGlobalAveragePool", last(1)),
        ] {
            let error = refusal_with(domain, op, attributes).expect(op);
            let start =
                format!("node \"a\" uses the operator {op} (domain {domain}), whose layout");
            let advice = "save the file at level extended or basic";
            assert!(
                error.starts_with(&start) && error.contains(advice),
                "{error}"
            );
        }
        let first = refusal_with("com.microsoft", "QLinearGlobalAveragePool", last(0));
        assert_eq!(first, None);
    }
}
