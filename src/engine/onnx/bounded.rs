//! Operators whose values are computed at load, held to a size that is checked before anything is computed.
//!
//! Called by `onnx`, which has the importer build every operator so. A few bytes of a file can ask for any number of
//! values: `ConstantOfShape`, `Tile`, `Pad` and others.

use std::cell::Cell;
use std::sync::LazyLock;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::*;

use super::super::caught::catch_panic;
use super::super::sizes::{MAX_NUMBERS, too_large};
use super::windows::MAX_AXES;
use super::{node_name, resize, slice};

/// Most bytes that operators on constants may make, beyond those that they read.
const MAX_MADE_BYTES: usize = 1 << 30;

thread_local! {
    static MADE_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts anew what operators on constants make, in this thread.
pub(in crate::engine) fn count_anew() {
    MADE_BYTES.set(0);
}

static OPERATORS: LazyLock<OnnxOpRegister> = LazyLock::new(|| super::unbounded().op_register);

/// Makes the importer build each of its operators with bounds.
pub(super) fn register(onnx: &mut tract_onnx::Onnx) {
    onnx.op_register.0.values_mut().for_each(|b| *b = build);
}

fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let builder = OPERATORS.0.get(&node.op_type);
    let builder = builder.with_context(|| format!("no operator {}", node.op_type))?;
    let named = || format!("node #0 \"{}\"", node_name(node));
    let (op, closures) = catch(|| builder(context, node)).with_context(named)?;
    let bounded = Bounded {
        op,
        op_type: node.op_type.clone(),
        axes: axes_input(node),
        aligned: resize::aligned(node),
        walk: slice::Walk::of(node),
        is_counted: false,
    };
    Ok((Box::new(bounded), closures))
}

/// A panic as the operator's error, so that the node is known.
fn catch<T>(run: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    catch_panic(run).map_err(TractError::msg)?
}

#[derive(Debug, Clone)]
struct Bounded {
    op: Box<dyn InferenceOp>,
    op_type: String,
    /// The input that names axes.
    axes: Option<usize>,
    /// How a `Resize` aligns corners.
    aligned: Option<resize::Aligned>,
    /// Where a `Slice` goes in steps.
    walk: Option<slice::Walk>,
    is_counted: bool,
}

/// Operators whose inputs say how many numbers there are.
const SIZED: [&str; 18] = [
    "BlackmanWindow",
    "ConstantOfShape",
    "DFT",
    "Expand",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "MelWeightMatrix",
    "OneHot",
    "Pad",
    "Range",
    "Reshape",
    "Resize",
    "STFT",
    "Split",
    "Tile",
    "TopK",
    "Unsqueeze",
];

/// Most numbers of an input that says so: a few for each axis.
const MAX_SIZES: usize = 64;

/// Which of the importer's inputs names axes.
fn axes_input(node: &NodeProto) -> Option<usize> {
    match &*node.op_type {
        "CumSum" | "Squeeze" | "Unsqueeze" => given_input(node, 1),
        "DFT" => given_input(node, 2),
        "Pad" | "Slice" => given_input(node, 3),
        op if op.starts_with("Reduce") => given_input(node, 1),
        _ => None,
    }
}

/// The place of an input among those that are given: the importer has no others.
pub(super) fn given_input(node: &NodeProto, input: usize) -> Option<usize> {
    node.input.get(input).filter(|name| !name.is_empty())?;
    let before = &node.input[..input];
    Some(before.iter().filter(|name| !name.is_empty()).count())
}

impl Bounded {
    /// Checks the axes that an input names.
    fn check_axes(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        let input = self.axes.and_then(|i| inputs.get(i));
        let axes = input.and_then(|i| i.value.concretize());
        let Some(axes) = axes.filter(|a| a.datum_type().is_integer()) else {
            return Ok(());
        };
        let axes = axes.cast_to::<i64>()?;
        let axes = axes.try_as_plain_ram()?;
        let is_beyond = |axis: &&i64| !(-MAX_AXES..=MAX_AXES).contains(*axis);
        if let Some(axis) = axes.as_slice::<i64>()?.iter().find(is_beyond) {
            bail!("its axes holds {axis}, allowed are -{MAX_AXES} to {MAX_AXES}");
        }
        Ok(())
    }

    /// Checks the numbers that say how many there are: beyond 32 bits the importer takes them for others.
    fn check_sizes(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        if !SIZED.contains(&self.op_type.as_str()) {
            return Ok(());
        }
        let values: Vec<_> = inputs.iter().filter_map(|i| i.value.concretize()).collect();
        let is_size = |v: &&Arc<Tensor>| v.datum_type().is_integer() && v.len() <= MAX_SIZES;
        for value in values.iter().filter(is_size) {
            let sizes = value.cast_to::<i64>()?;
            let sizes = sizes.try_as_plain_ram()?;
            let is_beyond = |size: &&i64| i32::try_from(**size).is_err();
            if let Some(size) = sizes.as_slice::<i64>()?.iter().find(is_beyond) {
                bail!("its input holds {size}, allowed are numbers of 32 bits");
            }
        }
        if self.op_type == "Range" && values.len() == 3 {
            let number = |i: usize| values[i].cast_to_scalar::<f64>();
            let (from, to, by) = (number(0)?, number(1)?, number(2)?);
            let count = (to - from) / by;
            ensure!(
                count <= MAX_NUMBERS as f64,
                "its result has {count} numbers, allowed are {MAX_NUMBERS}"
            );
        }
        Ok(())
    }

    /// Checks that nothing is decided by the number of images, which stands for any: the importer says of it that it is
    /// no other number.
    fn check_equal(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        if self.op_type != "Equal" {
            return Ok(());
        }
        let sizes = |i: usize| {
            let value = inputs.get(i)?.value.concretize()?;
            let of = value.datum_type();
            let is_whole = of.is_integer() || of == TDim::datum_type();
            let sizes = Some(value).filter(|value| is_whole && value.len() <= MAX_SIZES)?;
            let sizes = sizes.cast_to::<TDim>().ok()?;
            let sizes = sizes.try_as_plain_ram().ok()?;
            Some(sizes.as_slice::<TDim>().ok()?.to_vec())
        };
        let (Some(a), Some(b)) = (sizes(0), sizes(1)) else {
            return Ok(());
        };
        let can_be_equal = |a: &TDim, b: &TDim| match (a.to_i64(), b.to_i64()) {
            (Ok(_), Ok(_)) => false, // known
            (Ok(number), Err(_)) | (Err(_), Ok(number)) => number > 0,
            (Err(_), Err(_)) => a != b,
        };
        let count = a.len().max(b.len());
        let mut pairs = (0..count).map(|i| (&a[i % a.len().max(1)], &b[i % b.len().max(1)]));
        if let Some((a, b)) = pairs.find(|(a, b)| can_be_equal(a, b)) {
            bail!("it asks whether {a} is {b}, which the number of images decides");
        }
        Ok(())
    }

    /// Checks what becomes of constants.
    fn check(&mut self, inputs: &[&InferenceFact], outputs: &[InferenceFact]) -> TractResult<()> {
        let mut made = 0_usize;
        for output in outputs {
            let Some(shape) = output.shape.concretize() else {
                continue;
            };
            if let Some(reason) = too_large(&shape) {
                bail!(reason);
            }
            let numbers: usize = shape
                .iter()
                .flat_map(|d| d.clone().simplify().to_usize())
                .product();
            let size = output.datum_type.concretize().map_or(8, |t| t.size_of());
            made = made.saturating_add(numbers.saturating_mul(size));
        }
        let values = inputs.iter().filter_map(|i| i.value.concretize());
        let read: usize = values.map(|v| v.len() * v.datum_type().size_of()).sum();
        if !std::mem::replace(&mut self.is_counted, true) {
            let all = MADE_BYTES.get() + made.saturating_sub(read).min(MAX_MADE_BYTES);
            MADE_BYTES.set(all);
            ensure!(
                all <= MAX_MADE_BYTES,
                "it and the operators on constants before it make {all} bytes, allowed are {MAX_MADE_BYTES}"
            );
        }
        Ok(())
    }
}

/// Checks that a `BitShift` by a constant leaves at least one bit: the importer shifts by the rest of a division else.
fn check_shift(model: &TypedModel, inputs: &[OutletId]) -> TractResult<()> {
    let bits = 8 * model.outlet_fact(inputs[0])?.datum_type.size_of() as i64;
    let Some(shifts) = &model.outlet_fact(inputs[1])?.konst else {
        return Ok(());
    };
    let shifts = shifts.cast_to::<i64>()?;
    let shifts = shifts.try_as_plain_ram()?;
    let is_beyond = |shift: &&i64| !(0..bits).contains(*shift);
    match shifts.as_slice::<i64>()?.iter().find(is_beyond) {
        Some(shift) => bail!("it shifts by {shift}, allowed are 0 to {}", bits - 1),
        None => Ok(()),
    }
}

/// As of any operator that is no more than its rules.
impl PartialEq for Bounded {
    fn eq(&self, _: &Bounded) -> bool {
        false
    }
}

impl Eq for Bounded {}

impl Op for Bounded {
    fn name(&self) -> StaticName {
        self.op.name()
    }

    fn validation(&self) -> Validation {
        self.op.validation()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        self.op.info()
    }

    fn as_typed(&self) -> Option<&dyn TypedOp> {
        self.op.as_typed()
    }
}

impl EvalOp for Bounded {
    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.op.eval(context, inputs)
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.op.eval_out_of_plan(inputs)
    }

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.op.state(context)
    }
}

/// What is known of a node's inputs, of its outputs, or of what it observes.
pub(super) type Facts = TVec<InferenceFact>;

impl InferenceOp for Bounded {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        self.check_sizes(&inputs)?;
        self.check_axes(&inputs)?;
        self.check_equal(&inputs)?;
        if let Some(aligned) = &self.aligned {
            aligned.check(&inputs)?;
        }
        if !inputs.is_empty() && inputs.iter().all(|i| i.value.is_concrete()) {
            let facts = (inputs.clone(), outputs.clone(), observed.clone());
            let found = catch(|| self.op.infer_facts(facts.0, facts.1, facts.2))?;
            self.check(&inputs, &found.1)?;
        }
        catch(|| self.op.infer(inputs, outputs, observed))
    }

    fn observe_outlets(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Vec<OutletId>> {
        self.op.observe_outlets(model, node)
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        self.op.infer_facts(inputs, outputs, observed)
    }

    fn incorporate(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Option<InferenceModelPatch>> {
        self.op.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.op.nboutputs()
    }

    fn as_op(&self) -> &dyn Op {
        self.op.as_op()
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self.op.as_op_mut()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let named = || format!("node #{} \"{}\"", node.id, node.name);
        let inputs: TVec<OutletId> = node.inputs.iter().map(|o| mapping[o]).collect();
        if let Some(walk) = &self.walk {
            walk.check(target, &inputs).with_context(named)?;
        }
        if self.op_type == "BitShift" {
            check_shift(target, &inputs).with_context(named)?;
        }
        catch(|| self.op.to_typed(source, node, target, mapping)).with_context(named)
    }
}
