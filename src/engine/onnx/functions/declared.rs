//! The functions that a file has, with what tract's protobuf leaves out of them: the defaults of their attributes.

use std::collections::HashMap;

use prost::Message;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto};

use super::super::super::LoadError;
use super::super::{domain, graphs, tensors};

/// A function with the values that its attributes have where a call gives none.
pub(super) struct Function {
    pub(super) proto: FunctionProto,
    /// Bytes of the function in the file.
    pub(super) bytes: usize,
    pub(super) defaults: Vec<AttributeProto>,
}

/// Domain and name.
pub(super) type Key = (String, String);

/// Of a model what tract's protobuf does not read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelRest {
    #[prost(message, repeated, tag = "25")]
    pub(super) functions: Vec<FunctionRest>,
}

/// Of a function the same.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionRest {
    #[prost(message, repeated, tag = "11")]
    pub(super) attribute_proto: Vec<AttributeProto>,
}

/// The functions of a file; `bytes` is the file.
///
/// # Errors
/// [`LoadError::BadGraph`] for two that cannot be told apart, or a default that lies in another file.
pub(super) fn functions(
    protos: Vec<FunctionProto>,
    bytes: &[u8],
) -> Result<HashMap<Key, Function>, LoadError> {
    let rest = ModelRest::decode(bytes).map_err(|e| LoadError::NotOnnx(e.to_string()))?;
    let mut defaults = rest.functions.into_iter().map(|f| f.attribute_proto);
    let mut functions = HashMap::new();
    for proto in protos {
        let key = (
            domain(proto.domain.as_deref().unwrap_or_default()).to_owned(),
            proto.name.clone().unwrap_or_default(),
        );
        let text = format!("function \"{}\" (domain {})", key.1, key.0);
        let defaults = defaults.next().unwrap_or_default();
        if let Some(attribute) = defaults.iter().find(|a| is_elsewhere(a)) {
            return Err(LoadError::BadGraph(format!(
                "{text} has the default of its attribute \"{}\" in another file, expected in the model's own: export it \
                with that tensor inside",
                attribute.name
            )));
        }
        let function = Function {
            bytes: proto.encoded_len(),
            proto,
            defaults,
        };
        if functions.insert(key, function).is_some() {
            return Err(LoadError::BadGraph(format!(
                "it has {text} twice, and overloads are not supported: export without functions"
            )));
        }
    }
    Ok(functions)
}

/// Whether a tensor of an attribute, or of a graph in it, lies in another file.
fn is_elsewhere(attribute: &AttributeProto) -> bool {
    let mut own = attribute.t.iter().chain(&attribute.tensors);
    let in_graph = |graph: &GraphProto| {
        let mut of_nodes = graph.node.iter().flat_map(|n| &n.attribute);
        graph.initializer.iter().any(tensors::is_elsewhere) || of_nodes.any(is_elsewhere)
    };
    own.any(tensors::is_elsewhere) || graphs(attribute).any(in_graph)
}
