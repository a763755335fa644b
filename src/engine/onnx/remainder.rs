//! ONNX's `Mod`, whose result has the divisor's sign unless it says `fmod`: that of sizes too, as in `-size % 7`, what is
//! missing to a multiple of 7.
//!
//! The importer's has the dividend's sign for sizes, and for all that it takes for such, as every `int64`.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::logic::{Iff, comp_lt};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::binary;

use super::stock;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Mod", modulo);
}

fn modulo(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    // As in C, with the dividend's sign.
    if node.get_attr_opt::<i64>("fmod")? == Some(1) {
        return stock::build(context, node);
    }
    Ok((expand(Remainder), vec![]))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remainder;

fn common_type(a: DatumType, b: DatumType) -> TractResult<DatumType> {
    a.common_super_type(b)
        .with_context(|| format!("its operands are {a:?} and {b:?}"))
}

impl Expansion for Remainder {
    fn name(&self) -> StaticName {
        "Remainder".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        binary::rules(solver, inputs, outputs, common_type)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let of = |i: usize| Ok::<_, TractError>(target.outlet_fact(inputs[i])?.datum_type);
        let of_result = common_type(of(0)?, of(1)?)?;
        let is_size = of_result == TDim::datum_type();
        if let Some(divisors) = &target.outlet_fact(inputs[1])?.konst {
            check(divisors, is_size)?;
        }
        // In 64 bits, so that the sum of two remainders fits.
        let computed_as = match of_result {
            of if of.is_signed() => i64::datum_type(),
            of => of,
        };
        let name = |part: &str| format!("{prefix}.{part}");
        let both = binary::wire_rank_broadcast(prefix, target, inputs)?;
        let both = binary::wire_cast(prefix, target, &both, computed_as)?;
        let rest = target.wire_node(name("rest"), math::rem(), &both)?;
        if of_result.is_unsigned() {
            return Ok(rest);
        }
        let above = target.wire_node(name("above"), math::add(), &[rest[0], both[1]])?;
        if of_result.is_float() {
            // A sum of floats is rounded: it is taken where the signs differ alone.
            let signs = target.wire_node(name("signs"), math::mul(), &[rest[0], both[1]])?;
            let rank = target.outlet_fact(signs[0])?.rank();
            let zero = tensor0(0_f32).cast_to_dt(of_result)?.into_owned();
            let zero = target.add_const(name("zero"), zero.broadcast_into_rank(rank)?)?;
            let less = TypedBinOp(comp_lt(), None);
            let differs = target.wire_node(name("differs"), less, &[signs[0], zero])?;
            return target.wire_node(prefix, Iff, &[differs[0], above[0], rest[0]]);
        }
        let modulo = target.wire_node(name("modulo"), math::rem(), &[above[0], both[1]])?;
        binary::wire_cast(name("cast"), target, &modulo, of_result)
    }
}

/// Holds the divisors that are known to those that can be computed.
fn check(divisors: &Tensor, is_size: bool) -> TractResult<()> {
    if !divisors.datum_type().is_integer() && !is_size {
        return Ok(());
    }
    let divisors = divisors.cast_to::<i64>()?;
    let divisors = divisors.try_as_plain_ram()?;
    let is_fine = |divisor: &i64| if is_size { *divisor > 0 } else { *divisor != 0 };
    match divisors.as_slice::<i64>()?.iter().find(|d| !is_fine(d)) {
        None => Ok(()),
        Some(divisor) if is_size => {
            bail!("its divisor is {divisor}, allowed are numbers of at least 1")
        }
        Some(divisor) => bail!("its divisor is {divisor}, allowed are all others"),
    }
}
