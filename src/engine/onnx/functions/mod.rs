//! A file's own functions, written out where they are called, so that nobody behind has to know of them.
//!
//! Called by `onnx` on the decoded file. A function is what its domain and name say together; its nodes take the names
//! of the call's values, everything inside gets a name that occurs nowhere else.

mod versions;

use std::collections::{HashMap, HashSet};

use prost::Message;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

use self::versions::{check_version, default_version};
use super::super::LoadError;
use super::{domain, graphs, graphs_mut, node_name};

/// Most nodes that a file may have once its functions are written out. The largest networks known have some ten
/// thousand; functions that call each other twice would make 2^n.
const MAX_NODES: usize = 1_000_000;

/// Most calls within calls.
const MAX_DEPTH: usize = 64;

/// Writes out every call of a function of the file; `bytes` is the file, for what tract's protobuf leaves out.
///
/// An operator that is known by domain and name stays one, as for ONNX Runtime: a function of its name is how others may
/// compute it.
///
/// # Errors
/// [`LoadError::BadNode`] for a call of a function within itself, or one that does not fit it; [`LoadError::BadGraph`]
/// for functions that cannot be told apart, or too many nodes.
pub(super) fn inline(
    proto: &mut ModelProto,
    bytes: &[u8],
    is_operator: &dyn Fn(&str, &str) -> bool,
) -> Result<(), LoadError> {
    if proto.functions.is_empty() {
        return Ok(());
    }
    let version = default_version(&proto.opset_import);
    let mut functions = functions(std::mem::take(&mut proto.functions), bytes)?;
    functions.retain(|(domain, name), _| !is_operator(domain, name));
    let Some(graph) = proto.graph.as_mut() else {
        return Ok(());
    };
    let mut names = HashSet::new();
    collect_names(graph, &mut names);
    let mut inliner = Inliner {
        functions: &functions,
        version,
        names,
        nodes: 0,
    };
    inliner.graph(graph, &mut Vec::new())
}

/// A function with the values that its attributes have where a call gives none.
struct Function {
    proto: FunctionProto,
    defaults: Vec<AttributeProto>,
}

/// Domain and name.
type Key = (String, String);

/// Of a model what tract's protobuf does not read.
#[derive(Clone, PartialEq, Message)]
struct ModelRest {
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionRest>,
}

/// Of a function the same.
#[derive(Clone, PartialEq, Message)]
struct FunctionRest {
    #[prost(message, repeated, tag = "11")]
    attribute_proto: Vec<AttributeProto>,
}

fn functions(
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
        if functions
            .insert(key, Function { proto, defaults })
            .is_some()
        {
            return Err(LoadError::BadGraph(format!(
                "it has {text} twice, and overloads are not supported: export without functions"
            )));
        }
    }
    Ok(functions)
}

fn collect_names(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().map(|v| v.name.clone()));
    names.extend(graph.initializer.iter().map(|t| t.name.clone()));
    for node in &graph.node {
        names.insert(node.name.clone());
        names.extend(node.output.iter().cloned());
        for graph in node.attribute.iter().flat_map(graphs) {
            collect_names(graph, names);
        }
    }
}

struct Inliner<'f> {
    functions: &'f HashMap<Key, Function>,
    version: Option<i64>,
    /// Every name of the file, and those made since.
    names: HashSet<String>,
    nodes: usize,
}

impl<'f> Inliner<'f> {
    fn graph(&mut self, graph: &mut GraphProto, calls: &mut Vec<&'f Key>) -> Result<(), LoadError> {
        let nodes = std::mem::take(&mut graph.node);
        self.nodes(nodes, &mut graph.node, calls)
    }

    /// Appends the nodes with nothing but operators among them; `calls` are those that they are written out for.
    fn nodes(
        &mut self,
        from: Vec<NodeProto>,
        to: &mut Vec<NodeProto>,
        calls: &mut Vec<&'f Key>,
    ) -> Result<(), LoadError> {
        for mut node in from {
            for graph in node.attribute.iter_mut().flat_map(graphs_mut) {
                self.graph(graph, calls)?;
            }
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(LoadError::BadGraph(format!(
                    "its functions call each other more than {MAX_NODES} times"
                )));
            }
            let key = (domain(&node.domain).to_owned(), node.op_type.clone());
            let Some((key, function)) = self.functions.get_key_value(&key) else {
                to.push(node);
                continue;
            };
            let refuse = |reason: String| LoadError::BadNode {
                node: node_name(&node),
                reason: format!(
                    "it calls function \"{}\" (domain {}), {reason}",
                    key.1, key.0
                ),
            };
            if calls.contains(&key) {
                return Err(refuse("which calls itself".into()));
            }
            if calls.len() == MAX_DEPTH {
                return Err(refuse(format!("in a chain of more than {MAX_DEPTH} calls")));
            }
            let body = self.body(&node, function).map_err(refuse)?;
            calls.push(key);
            self.nodes(body, to, calls)?;
            calls.pop();
        }
        Ok(())
    }

    /// The nodes of a function for one call.
    fn body(&mut self, call: &NodeProto, function: &Function) -> Result<Vec<NodeProto>, String> {
        let proto = &function.proto;
        for (what, got, most) in [
            ("inputs", call.input.len(), proto.input.len()),
            ("outputs", call.output.len(), proto.output.len()),
        ] {
            if got > most {
                return Err(format!("with {got} {what}, it has {most}"));
            }
        }
        check_version(self.version, proto)?;
        let prefix = node_name(call);
        let mut values = HashMap::new();
        for (i, name) in proto.input.iter().enumerate() {
            values.insert(name.clone(), call.input.get(i).cloned().unwrap_or_default());
        }
        // What is an input, or an output for the second time, is copied in the end.
        let mut copies = Vec::new();
        for (i, name) in proto.output.iter().enumerate() {
            let Some(to) = call.output.get(i).filter(|name| !name.is_empty()) else {
                continue;
            };
            match values.get(name) {
                None => drop(values.insert(name.clone(), to.clone())),
                Some(from) => copies.push((from.clone(), to.clone())),
            }
        }
        let mut made = HashSet::new();
        for name in proto.node.iter().flat_map(|n| &n.output) {
            if proto.input.contains(name) && !name.is_empty() {
                return Err(format!("which computes its own input \"{name}\""));
            }
            if !name.is_empty() && !made.insert(name) {
                return Err(format!("which computes \"{name}\" twice"));
            }
            if !name.is_empty() && !values.contains_key(name) {
                let fresh = self.fresh(&prefix, name);
                values.insert(name.clone(), fresh);
            }
        }
        let attributes = Attributes { call, function };
        let mut body = Vec::with_capacity(proto.node.len() + copies.len());
        for node in &proto.node {
            let mut node = node.clone();
            self.node(&mut node, &prefix, &values, &attributes)?;
            body.push(node);
        }
        for (from, to) in copies {
            body.push(NodeProto {
                name: self.fresh(&prefix, "copy"),
                op_type: "Identity".into(),
                input: vec![from],
                output: vec![to],
                ..NodeProto::default()
            });
        }
        Ok(body)
    }

    /// A name that occurs nowhere.
    fn fresh(&mut self, prefix: &str, name: &str) -> String {
        let name = format!("{prefix}/{name}");
        let numbered = (2..).map(|i| format!("{name}_{i}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let fresh = names
            .find(|name| !self.names.contains(name))
            .expect("numbers do not end");
        self.names.insert(fresh.clone());
        fresh
    }

    /// Gives a node of a function the names and attributes of a call.
    fn node(
        &mut self,
        node: &mut NodeProto,
        prefix: &str,
        values: &HashMap<String, String>,
        attributes: &Attributes<'_>,
    ) -> Result<(), String> {
        if !node.name.is_empty() {
            node.name = self.fresh(prefix, &node.name);
        }
        for name in node.input.iter_mut().chain(&mut node.output) {
            if !name.is_empty() {
                let known = values.get(name);
                *name = known
                    .cloned()
                    .ok_or_else(|| format!("in which \"{name}\" is produced by no node"))?;
            }
        }
        let own = std::mem::take(&mut node.attribute);
        for mut attribute in own {
            if !attribute.ref_attr_name.is_empty() {
                node.attribute.extend(attributes.value(&attribute));
                continue;
            }
            for graph in graphs_mut(&mut attribute) {
                self.inner_graph(graph, prefix, values, attributes)?;
            }
            node.attribute.push(attribute);
        }
        Ok(())
    }

    /// The same for a graph inside of a node, which reads values from outside.
    fn inner_graph(
        &mut self,
        graph: &mut GraphProto,
        prefix: &str,
        outside: &HashMap<String, String>,
        attributes: &Attributes<'_>,
    ) -> Result<(), String> {
        let inputs = graph.input.iter().map(|v| &v.name);
        let weights = graph.initializer.iter().map(|t| &t.name);
        let made = graph.node.iter().flat_map(|n| &n.output);
        let locals: HashSet<String> = inputs.chain(weights).chain(made).cloned().collect();
        let mut values = outside.clone();
        for name in locals.into_iter().filter(|name| !name.is_empty()) {
            let fresh = self.fresh(prefix, &name);
            values.insert(name, fresh);
        }
        let inputs = graph.input.iter_mut().map(|v| &mut v.name);
        let weights = graph.initializer.iter_mut().map(|t| &mut t.name);
        for name in inputs.chain(weights) {
            name.clone_from(&values[name]);
        }
        graph.value_info.clear();
        for output in &mut graph.output {
            if let Some(name) = values.get(&output.name) {
                output.name.clone_from(name);
            }
        }
        for node in &mut graph.node {
            self.node(node, prefix, &values, attributes)?;
        }
        Ok(())
    }
}

/// Where a function's nodes find the attributes that they refer to.
struct Attributes<'a> {
    call: &'a NodeProto,
    function: &'a Function,
}

impl Attributes<'_> {
    /// What a reference stands for; none if the call leaves it to the operator's own default.
    fn value(&self, reference: &AttributeProto) -> Option<AttributeProto> {
        let name = &reference.ref_attr_name;
        let given = self.call.attribute.iter().chain(&self.function.defaults);
        let value = given.into_iter().find(|a| a.name == *name)?;
        Some(AttributeProto {
            name: reference.name.clone(),
            ..value.clone()
        })
    }
}

#[cfg(test)]
mod tests;
