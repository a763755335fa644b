//! Regions made operators, but for the nodes that no kernel of ours computes: these stay tract's, and the regions are
//! drawn anew around them.
//!
//! Called by `replace`.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_core::ops::cnn::{Conv, PoolSpec};

use super::recognize::Step;
use super::replace::{Make, Part};
use super::{Found, RefusedNode};
use crate::ops::graph::{Node, Op, Window};
use crate::ops::{CompileError, Region, fuse};

/// Most times that regions are drawn anew; a network has few kinds of layers, and those of one kind go together.
const MAX_ROUNDS: usize = 32;

/// The regions by colour, as operators.
pub(super) struct Made {
    pub(super) regions: HashMap<usize, (Region, Part)>,
    /// Steps of all regions together.
    pub(super) steps: usize,
    /// Nodes in whose place the regions stand.
    pub(super) replaced: usize,
}

impl Found {
    /// Makes an operator of each region.
    pub(super) fn make(&mut self, model: &TypedModel, make: &mut Make<'_>) -> Made {
        let mut made: HashMap<Vec<usize>, (Region, Part, usize)> = HashMap::new();
        for round in 0.. {
            let Some((members, error)) = self.first_refusal(model, make, &mut made) else {
                break;
            };
            let mut given_up = self.alike(model, &members, &error);
            if given_up.is_empty() || round == MAX_ROUNDS {
                given_up = members;
            }
            for id in &given_up {
                self.refused.push(RefusedNode {
                    node: model.node(*id).name.clone(),
                    reason: error.reason.clone(),
                });
            }
            self.give_up(&given_up);
            self.draw(model);
        }
        let mut result = Made {
            regions: HashMap::new(),
            steps: 0,
            replaced: 0,
        };
        for (colour, nodes) in self.regions() {
            if let Some((region, part, steps)) = made.remove(&self.members(colour)) {
                result.regions.insert(colour, (region, part));
                result.steps += steps;
                result.replaced += nodes;
            }
        }
        result
    }

    /// Makes the regions that are not among those made already, up to the first with a node that no kernel computes.
    fn first_refusal(
        &mut self,
        model: &TypedModel,
        make: &mut Make<'_>,
        made: &mut HashMap<Vec<usize>, (Region, Part, usize)>,
    ) -> Option<(Vec<usize>, CompileError)> {
        for colour in self.regions().into_keys() {
            let members = self.members(colour);
            if made.contains_key(&members) {
                continue;
            }
            if !self.meets_in_numbers(model, &members) {
                let error = CompileError {
                    node: String::new(),
                    reason: "it takes or gives bytes, and so does what is beside it".into(),
                };
                return Some((members, error));
            }
            let mut part = self.part(model, &members);
            part.graph = fuse(std::mem::take(&mut part.graph));
            match make(&part.graph, std::mem::take(&mut part.given)) {
                Ok(region) => {
                    let steps = part.graph.nodes.iter().filter(|n| computes(n)).count();
                    part.graph.nodes.clear();
                    made.insert(members, (region, part, steps));
                }
                Err(error) => return Some((members, culprit(&part.graph.nodes, error))),
            }
        }
        None
    }

    /// The member that is refused, and those of the same kind: they would be next.
    fn alike(&self, model: &TypedModel, members: &[usize], error: &CompileError) -> Vec<usize> {
        let is_named = |id: &&usize| model.node(**id).name == error.node;
        let Some(refused) = members.iter().find(is_named) else {
            return Vec::new();
        };
        let kind = self.kind(*refused);
        let is_alike = |id: &&usize| *id == refused || kind.is_some() && self.kind(**id) == kind;
        members.iter().filter(is_alike).copied().collect()
    }

    /// What of a convolution decides which kernels it has.
    fn kind(&self, id: usize) -> Option<(Window, usize, usize, bool)> {
        match &self.words.get(&id)?.steps[..] {
            [
                Step::Conv {
                    weights,
                    outputs,
                    groups,
                    window,
                    ..
                },
            ] => Some((*window, *outputs, *groups, weights.as_int8().is_some())),
            _ => None,
        }
    }

    /// The nodes that could be ours and are not: those refused, and convolutions that have no words.
    pub(super) fn refused(&self, model: &TypedModel) -> Vec<RefusedNode> {
        let mut refused = self.refused.clone();
        for node in self.left(model).filter(|_| !self.unwanted) {
            let known = refused.iter().any(|r| r.node == node.name);
            if let Some(conv) = node.op_as::<Conv>().filter(|_| !known) {
                refused.push(RefusedNode {
                    node: node.name.clone(),
                    reason: without_words(model, node, conv),
                });
            }
        }
        refused
    }
}

/// Whether a node is a step of its own: not what comes from outside, nor what is part of the steps beside it.
fn computes(node: &Node) -> bool {
    !matches!(
        node.op,
        Op::Input(_) | Op::Quantize { .. } | Op::Dequantize { .. }
    )
}

/// An error that names a `Quantize`, with the name of the node that computes its input in its place.
fn culprit(nodes: &[Node], error: CompileError) -> CompileError {
    let of_name = nodes.iter().find(|n| n.name == error.node);
    let source = match of_name.map(|n| &n.op) {
        Some(Op::Quantize { input, .. }) => nodes.get(input.0).filter(|n| computes(n)),
        _ => None,
    };
    match source {
        Some(node) => CompileError {
            node: node.name.clone(),
            ..error
        },
        None => error,
    }
}

/// Why a convolution is not said in our words.
fn without_words(model: &TypedModel, node: &TypedNode, conv: &Conv) -> String {
    let is_constant = |input: usize| {
        let fact = node.inputs.get(input).map(|i| model.outlet_fact(*i));
        matches!(fact, Some(Ok(fact)) if fact.konst.is_some())
    };
    let dilations = |pool: &PoolSpec| -> Vec<usize> {
        (0..pool.kernel_shape.len())
            .map(|d| pool.dilation(d))
            .collect()
    };
    let pool = &conv.pool_spec;
    let is_fixed = |outlet: &OutletId| match model.outlet_fact(*outlet) {
        Ok(fact) => fact.shape.iter().skip(1).all(|d| d.to_usize().is_ok()),
        Err(_) => false,
    };
    if conv.q_params.is_some() {
        "it is on integers whose meaning is computed with every image".into()
    } else if pool.kernel_shape.len() != 2 {
        format!(
            "its kernel has {} axes, ours have 2",
            pool.kernel_shape.len()
        )
    } else if dilations(pool).iter().any(|d| *d != 1) {
        format!("its dilations are {:?}, ours are 1", dilations(pool))
    } else if !is_constant(1) {
        "its weights are computed".into()
    } else if !node.inputs.iter().take(1).all(is_fixed) {
        "the size of its input is not known".into()
    } else {
        "its padding, types or layout are none that ours have".into()
    }
}
