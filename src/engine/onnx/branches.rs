//! ONNX's `If` whose condition a shape decides: only the branch that is taken need be possible, as in
//! `If(size == 1, Squeeze, Identity)`, which PyTorch writes for `squeeze(axis)`.
//!
//! The importer types both branches and asks that they give the same shape.

use std::collections::HashMap;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::ops::logic::If;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::bounded::Facts;
use super::stock;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("If", choice);
}

/// The branches of an operator, if it has some.
pub(in crate::engine) fn branches(op: &dyn InferenceOp) -> Option<[&InferenceModel; 2]> {
    let choice = op.as_op().downcast_ref::<Choice>()?;
    Some([&choice.both.then_body, &choice.both.else_body])
}

fn choice(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let (built, outer) = stock::build(context, node)?;
    let both = built.as_op().downcast_ref::<If>().cloned();
    let both = both.context("the importer has another If")?;
    let choice = Choice {
        both,
        outer: outer.clone(),
    };
    Ok((Box::new(choice), outer))
}

/// The importer's operator, of which only the branch that is taken need be possible.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    both: If,
    /// The names of the values outside that the branches read: the node's inputs behind the condition.
    outer: Vec<String>,
}

impl Choice {
    /// The branch that a condition takes.
    fn taken(&self, condition: bool) -> &InferenceModel {
        match condition {
            true => &self.both.then_body,
            false => &self.both.else_body,
        }
    }

    /// Which of the node's inputs each input of a branch is.
    fn reads(&self, branch: &InferenceModel) -> TractResult<Vec<usize>> {
        let name = |outlet: &OutletId| &branch.node(outlet.node).name;
        let at = |name: &String| self.outer.iter().position(|outer| outer == name);
        let inputs = branch.input_outlets()?.iter().map(name);
        inputs
            .map(|name| Ok(1 + at(name).context("a branch reads what the node does not")?))
            .collect()
    }
}

impl Op for Choice {
    fn name(&self) -> StaticName {
        "If".into()
    }

    not_a_typed_op!();
}

impl EvalOp for Choice {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.both.eval(context, inputs)
    }
}

impl InferenceOp for Choice {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        let owned =
            |facts: &TVec<&InferenceFact>| -> Facts { facts.iter().copied().cloned().collect() };
        let (mut reads, mut gives) = (owned(&inputs), owned(&outputs));
        let Some(condition) = reads[0].value.concretize() else {
            // Branches that differ are no fault before it is known which is taken.
            let mut both = self.both.clone();
            let unknown = (reads, gives, owned(&observed));
            return Ok(match both.infer_facts(inputs, outputs, observed) {
                Ok(facts) => {
                    self.both = both;
                    facts
                }
                Err(_) => unknown,
            });
        };
        let condition = condition.cast_to_scalar()?;
        let numbers = self.reads(self.taken(condition))?;
        let branch = match condition {
            true => &mut self.both.then_body,
            false => &mut self.both.else_body,
        };
        for (i, number) in numbers.iter().enumerate() {
            let read = branch.input_fact_mut(i)?;
            read.unify_with_mut(&mut reads[*number])?;
        }
        branch.analyse(false)?;
        for (i, fact) in gives.iter_mut().enumerate() {
            branch.output_fact_mut(i)?.unify_with_mut(fact)?;
        }
        Ok((reads, gives, owned(&observed)))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.both.nboutputs()
    }

    /// The nodes of the branch that is taken in the place of this one.
    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let condition = target.outlet_fact(mapping[&node.inputs[0]])?;
        let Some(condition) = condition.konst.as_ref() else {
            let typed = self.both.to_typed(source, node, target, mapping);
            return typed.map_err(|e| {
                let reason =
                    "the image decides which branch is taken, and they cannot be had as one";
                TractError::msg(format!("{reason}: {}", e.root_cause()))
            });
        };
        let mut branch = self.taken(condition.cast_to_scalar()?).clone();
        let reads = self.reads(&branch)?;
        let outer: Vec<OutletId> = reads.iter().map(|i| mapping[&node.inputs[*i]]).collect();
        for (i, outlet) in outer.iter().enumerate() {
            let fact = target.outlet_fact(*outlet)?;
            let known = InferenceFact::from(fact);
            branch.set_input_fact(i, known)?;
        }
        let body = branch.into_typed()?;
        let sources = body.input_outlets()?.iter().copied();
        let mut inside: HashMap<OutletId, OutletId> = sources.zip(outer).collect();
        for inner in body.eval_order()? {
            let inner = body.node(inner);
            if TypedModel::is_source(&inner.op) {
                continue;
            }
            let inputs: TVec<OutletId> = inner.inputs.iter().map(|o| inside[o]).collect();
            let name = format!("{}/{}", node.name, inner.name);
            let outlets = target.wire_node(name, inner.op.clone(), &inputs)?;
            for (slot, outlet) in outlets.into_iter().enumerate() {
                inside.insert(OutletId::new(inner.id, slot), outlet);
            }
        }
        let outputs = body.output_outlets()?.iter();
        Ok(outputs.map(|outlet| inside[outlet]).collect())
    }

    as_op!();
}
