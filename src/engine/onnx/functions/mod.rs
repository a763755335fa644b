//! A file's own functions, written out where they are called, so that nobody behind has to know of them.
//!
//! Called by `onnx` on the decoded file. A function is what its domain and name say together; its nodes take the names
//! of the call's values, everything inside gets a name that occurs nowhere else.

mod declared;
mod versions;

use std::collections::{HashMap, HashSet};

use prost::Message;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

use self::declared::{Function, Key, functions};
use self::versions::{check_version, default_version};
use super::super::{LoadError, proto};
use super::{domain, graphs, graphs_mut, node_name};

/// Most nodes that a file may have once its functions are written out. The largest networks known have some ten
/// thousand; functions that call each other twice would make 2^n.
const MAX_NODES: usize = 1_000_000;

/// Most bytes that functions written out may have beside twice those of the file. Exporters write functions of small
/// nodes; a constant of weights in one that is called often would fill the memory.
const FREE_BYTES: usize = 64 << 20;

/// Most bytes of a call's name in the names of what it becomes: those of calls within calls would grow with each.
const MAX_PREFIX: usize = 256;

/// Most graphs inside one another's nodes, which calls of functions with such nodes pile up. What follows goes into them
/// by calling itself; a file without functions has at most some 30, by the limit of its decoder.
const MAX_NESTED: usize = 32;

/// Most calls within calls.
const MAX_DEPTH: usize = 64;

/// Writes out every call of a function of the file; `bytes` is the file, for what tract's protobuf leaves out.
///
/// An operator that is known by domain and name stays one, as for ONNX Runtime: a function of its name is how others may
/// compute it.
///
/// # Errors
/// [`LoadError::BadNode`] for a call of a function within itself, or one that does not fit it; [`LoadError::BadGraph`]
/// for functions that cannot be told apart, have a default in another file, or are too many nodes.
pub(super) fn inline(
    proto: &mut ModelProto,
    bytes: &[u8],
    is_operator: &dyn Fn(&str, &str) -> bool,
) -> Result<(), LoadError> {
    if proto.functions.is_empty() {
        return Ok(());
    }
    let version = default_version(&proto.opset_import);
    let most_bytes = FREE_BYTES.saturating_add(2 * proto.encoded_len());
    let mut functions = functions(std::mem::take(&mut proto.functions), bytes)?;
    functions.retain(|(domain, name), _| !is_operator(domain, name));
    let Some(graph) = proto.graph.as_mut() else {
        return Ok(());
    };
    let mut names = HashMap::new();
    collect_names(graph, &mut names);
    let mut inliner = Inliner {
        functions: &functions,
        version,
        names,
        nodes: 0,
        nested: 0,
        most_bytes,
        bytes: 0,
    };
    inliner.graph(graph, &mut Vec::new())
}

fn collect_names(graph: &GraphProto, names: &mut HashMap<String, usize>) {
    let values = graph.input.iter().map(|v| &v.name);
    let weights = graph.initializer.iter().map(|t| &t.name);
    let of_nodes = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().chain([&n.name]));
    for name in values.chain(weights).chain(of_nodes) {
        names.insert(name.clone(), FIRST_NUMBER);
    }
    for node in &graph.node {
        for graph in node.attribute.iter().flat_map(graphs) {
            collect_names(graph, names);
        }
    }
}

/// What tells the second of a name from the first.
const FIRST_NUMBER: usize = 2;

struct Inliner<'f> {
    functions: &'f HashMap<Key, Function>,
    version: Option<i64>,
    /// Every name of the file, and those made since; with the number from which on one may be free behind it.
    names: HashMap<String, usize>,
    nodes: usize,
    /// Graphs around the nodes that are written out.
    nested: usize,
    most_bytes: usize,
    /// Bytes written out.
    bytes: usize,
}

impl<'f> Inliner<'f> {
    fn graph(&mut self, graph: &mut GraphProto, calls: &mut Vec<&'f Key>) -> Result<(), LoadError> {
        if self.nested > MAX_NESTED {
            return Err(LoadError::BadGraph(format!(
                "its functions make more than {MAX_NESTED} graphs inside of one another"
            )));
        }
        self.nested += 1;
        let nodes = std::mem::take(&mut graph.node);
        self.nodes(nodes, &mut graph.node, calls)?;
        self.nested -= 1;
        Ok(())
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
        self.spend(function.bytes)?;
        let mut prefix = node_name(call);
        prefix.truncate(prefix.floor_char_boundary(MAX_PREFIX));
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
                Some(from) => {
                    self.spend(from.len() + to.len())?;
                    copies.push((from.clone(), to.clone()));
                }
            }
        }
        let inputs: HashSet<&String> = proto.input.iter().collect();
        let mut made = HashSet::new();
        for name in proto.node.iter().flat_map(|n| &n.output) {
            if inputs.contains(name) && !name.is_empty() {
                return Err(format!("which computes its own input \"{name}\""));
            }
            if !name.is_empty() && !made.insert(name) {
                return Err(format!("which computes \"{name}\" twice"));
            }
            if !name.is_empty() && !values.contains_key(name) {
                let fresh = self.fresh(&prefix, name)?;
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
                name: self.fresh(&prefix, "copy")?,
                ..proto::node("Identity", &[&from], &[&to])
            });
        }
        Ok(body)
    }

    /// Counts bytes that are written out.
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes <= self.most_bytes {
            true => Ok(()),
            false => Err(format!(
                "and with the calls before makes the file larger than the {} bytes that are allowed: export it without \
                functions",
                self.most_bytes
            )),
        }
    }

    /// A name that occurs nowhere.
    fn fresh(&mut self, prefix: &str, name: &str) -> Result<String, String> {
        let mut fresh = format!("{prefix}/{name}");
        if let Some(&first) = self.names.get(&fresh) {
            let free = (first..).find(|i| !self.names.contains_key(&format!("{fresh}_{i}")));
            let free = free.expect("numbers do not end");
            let numbered = format!("{fresh}_{free}");
            self.names.insert(fresh, free + 1);
            fresh = numbered;
        }
        self.spend(fresh.len())?;
        self.names.insert(fresh.clone(), FIRST_NUMBER);
        Ok(fresh)
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
            node.name = self.fresh(prefix, &node.name)?;
        }
        for name in node.input.iter_mut().chain(&mut node.output) {
            if !name.is_empty() {
                let known = values
                    .get(name)
                    .ok_or_else(|| format!("in which \"{name}\" is produced by no node"))?;
                self.spend(known.len())?;
                name.clone_from(known);
            }
        }
        let own = std::mem::take(&mut node.attribute);
        for mut attribute in own {
            if !attribute.ref_attr_name.is_empty() {
                if let Some(value) = attributes.value(&attribute) {
                    self.spend(value.encoded_len())?;
                    node.attribute.push(AttributeProto {
                        name: attribute.name,
                        ..value.clone()
                    });
                }
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
        self.spend(outside.iter().map(|(from, to)| from.len() + to.len()).sum())?;
        let mut values = outside.clone();
        for name in locals.into_iter().filter(|name| !name.is_empty()) {
            let fresh = self.fresh(prefix, &name)?;
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
    fn value(&self, reference: &AttributeProto) -> Option<&AttributeProto> {
        let name = &reference.ref_attr_name;
        let mut given = self.call.attribute.iter().chain(&self.function.defaults);
        given.find(|a| a.name == *name)
    }
}

#[cfg(test)]
mod tests;
