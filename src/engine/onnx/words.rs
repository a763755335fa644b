//! Nodes behind one another that stand in the place of one, while they are written down.
//!
//! Filled by `synonyms`, `byte_products`, `fused` and `weight_norms`.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::proto::{self, float_tensor, int64_row};
use super::names::fresh;
use super::node_name;

/// Operators behind one another in the place of one.
pub(super) struct Words<'g> {
    /// The node that is replaced.
    pub(super) node: &'g NodeProto,
    /// The version of the operator set.
    pub(super) version: i64,
    names: &'g mut HashSet<String>,
    /// The value that the next one reads.
    pub(super) last: String,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
}

impl<'g> Words<'g> {
    /// None yet in the place of a node; `version` is that of the operator set.
    pub(super) fn of(
        node: &'g NodeProto,
        version: i64,
        names: &'g mut HashSet<String>,
    ) -> Words<'g> {
        Words {
            node,
            version,
            names,
            last: node.input.first().cloned().unwrap_or_default(),
            nodes: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// The node's input of this number, if it has one.
    pub(super) fn input(&self, number: usize) -> Option<&'g str> {
        let name = self.node.input.get(number).filter(|name| !name.is_empty());
        name.map(String::as_str)
    }

    /// The node with another operator and attributes.
    pub(super) fn copy(&mut self, op_type: &str, attribute: Vec<AttributeProto>) {
        let more: Vec<&str> = self.node.input.iter().skip(1).map(String::as_str).collect();
        self.push(op_type, &more, attribute);
    }

    /// One more, which reads the value before and these.
    pub(super) fn push(&mut self, op_type: &str, more: &[&str], attribute: Vec<AttributeProto>) {
        let of = self.node.output.first().cloned().unwrap_or_default();
        let output = fresh(self.names, format!("{of}/{}", op_type.to_lowercase()));
        let read = std::mem::replace(&mut self.last, output.clone());
        let inputs: Vec<&str> = std::iter::once(&*read)
            .chain(more.iter().copied())
            .collect();
        let alike = self.nodes.iter().filter(|node| node.op_type == op_type);
        let number = match alike.count() {
            0 => String::new(),
            before => (before + 1).to_string(),
        };
        self.nodes.push(NodeProto {
            name: format!(
                "{}/{}{number}",
                node_name(self.node),
                op_type.to_lowercase()
            ),
            attribute,
            ..proto::node(op_type, &inputs, &[&output])
        });
    }

    /// What is said of another value, whose name comes back; the next operator reads what it would have read.
    pub(super) fn aside(&mut self, value: &str, say: impl FnOnce(&mut Self)) -> String {
        let before = std::mem::replace(&mut self.last, value.to_owned());
        say(self);
        std::mem::replace(&mut self.last, before)
    }

    /// One more output of the operator before; its name.
    pub(super) fn another_output(&mut self) -> String {
        let name = fresh(self.names, self.last.clone());
        let node = self.nodes.last_mut().expect("an operator was pushed");
        node.output.push(name.clone());
        name
    }

    /// Calls the value before as an output of the node is called, which others so read.
    pub(super) fn call_last(&mut self, output: &str) {
        let node = self.nodes.last_mut().expect("an operator was pushed");
        node.output = vec![output.to_owned()];
        output.clone_into(&mut self.last);
    }

    /// A constant of numbers; its name.
    pub(super) fn floats(&mut self, dims: &[i64], numbers: &[f32]) -> String {
        self.constant(float_tensor("", dims, numbers))
    }

    /// A constant of whole numbers; its name.
    pub(super) fn integers(&mut self, numbers: &[i64]) -> String {
        self.constant(int64_row("", numbers))
    }

    /// A constant of one whole number, without axes; its name.
    pub(super) fn integer(&mut self, number: i64) -> String {
        self.constant(TensorProto {
            dims: Vec::new(),
            ..int64_row("", &[number])
        })
    }

    /// A constant of zeros of this type of one byte; its name.
    pub(super) fn zeros(&mut self, of: DataType, dims: &[i64]) -> String {
        let count: usize = dims.iter().flat_map(|d| usize::try_from(*d)).product();
        self.constant(TensorProto {
            data_type: of as i32,
            dims: dims.to_vec(),
            raw_data: vec![0; count],
            ..TensorProto::default()
        })
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let of = self.node.output.first().cloned().unwrap_or_default();
        let name = fresh(self.names, format!("{of}/constant"));
        self.constants.push(TensorProto {
            name: name.clone(),
            ..tensor
        });
        name
    }
}

/// Puts what is said in place of the nodes of these numbers, which rise; the last of each has the old one's name, and
/// those of its outputs that none before it has. The constants come to the graph's.
pub(super) fn say_instead(
    graph: &mut GraphProto,
    said: Vec<(usize, Vec<NodeProto>)>,
    constants: Vec<TensorProto>,
) {
    // From behind, so that places before stay.
    for (i, mut nodes) in said.into_iter().rev() {
        if let Some((last, before)) = nodes.split_last_mut() {
            let is_given = |name: &String| before.iter().any(|node| node.output.contains(name));
            let mut outputs = graph.node[i].output.clone();
            outputs.retain(|name| name.is_empty() || !is_given(name));
            while outputs.last().is_some_and(String::is_empty) {
                outputs.pop();
            }
            last.name.clone_from(&graph.node[i].name);
            last.output = outputs;
        }
        graph.node.splice(i..=i, nodes);
    }
    graph.initializer.extend(constants);
}
