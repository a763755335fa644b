//! ONNX's `Attention`, in products of matrices and a softmax.
//!
//! The importer knows it only with a crate of operators for language models. What ONNX Runtime's own attentions mean is
//! said by this one, see `fused`. Source: ONNX's operator sets 23 to 25.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::logic::wire_with_rank_broadcast;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Attention", attention);
}

fn attention(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let is_given = |names: &[String], i: usize| names.get(i).is_some_and(|name| !name.is_empty());
    for (input, name) in [(4, "past_key"), (5, "past_value"), (6, "nonpad_kv_seqlen")] {
        ensure!(
            !is_given(&node.input, input),
            "its {name} is given: keys and values that are kept are not served"
        );
    }
    for output in 1..4 {
        ensure!(
            !is_given(&node.output, output),
            "its output {output} is used, served is the first"
        );
    }
    let softcap: f32 = node.get_attr_opt("softcap")?.unwrap_or(0.0);
    ensure!(softcap == 0.0, "its softcap is {softcap}, served is 0");
    for name in ["left_window_size", "right_window_size"] {
        let window: i64 = node.get_attr_opt(name)?.unwrap_or(-1);
        ensure!(
            window < 0,
            "its {name} is {window}, served is -1, for all places"
        );
    }
    let heads = |name: &str| -> TractResult<Option<usize>> {
        match node.get_attr_opt::<i64>(name)? {
            Some(heads) if heads < 1 => bail!("its {name} is {heads}, allowed are 1 and more"),
            heads => Ok(heads.map(|heads| heads as usize)),
        }
    };
    let import = Import {
        heads: [heads("q_num_heads")?, heads("kv_num_heads")?],
        is_causal: node.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0,
        scale: node.get_attr_opt("scale")?,
        has_mask: is_given(&node.input, 3),
    };
    Ok((expand(import), vec![]))
}

/// Queries, keys and values are `[N, heads, places, channels]`, or `[N, places, heads · channels]`.
#[derive(Debug, Clone)]
struct Import {
    /// Of the queries, and of keys and values: what values of three axes are divided by.
    heads: [Option<usize>; 2],
    /// Whether a place sees those before it and itself alone.
    is_causal: bool,
    /// What products are multiplied by; none if by the root of the channels, inverted.
    scale: Option<f32>,
    /// Whether a fourth input says who sees whom, or what is added where.
    has_mask: bool,
}

impl Import {
    /// The heads of values of three axes.
    fn heads(&self) -> TractResult<usize> {
        match self.heads {
            [Some(queries), Some(keys)] if queries == keys => Ok(queries),
            [Some(queries), Some(keys)] => {
                bail!("it has {queries} heads of queries and {keys} of keys, served are as many")
            }
            _ => bail!("its values have three axes, and it does not say how many heads they have"),
        }
    }

    /// A value with an axis of its own for the heads.
    fn in_heads(
        &self,
        name: String,
        target: &mut TypedModel,
        value: OutletId,
    ) -> TractResult<OutletId> {
        let shape = target.outlet_fact(value)?.shape.to_tvec();
        match &*shape {
            [_, _, _, _] => Ok(value),
            [_, _, all] => {
                let heads = self.heads()?;
                let of_head = divided(all, heads)?;
                let split = AxisOp::Reshape(2, tvec![all.clone()], tvec![heads.into(), of_head]);
                let split = target.wire_node(format!("{name}.split"), split, &[value])?;
                Ok(target.wire_node(name, AxisOp::Move(2, 1), &split)?[0])
            }
            _ => bail!("a value has {} axes, allowed are 3 and 4", shape.len()),
        }
    }

    /// The products with what the mask says, and with what is behind a place out of its sight.
    fn masked(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        products: OutletId,
        mask: Option<OutletId>,
    ) -> TractResult<OutletId> {
        let mut products = products;
        if let Some(mask) = mask {
            let fact = target.outlet_fact(mask)?;
            products = match fact.datum_type == bool::datum_type() {
                true => hidden(&format!("{prefix}.mask"), target, mask, products)?,
                false => {
                    let both = [products, mask];
                    let name = format!("{prefix}.mask");
                    wire_with_rank_broadcast(name, target, math::add(), &both)?[0]
                }
            };
        }
        if self.is_causal {
            let shape = target.outlet_fact(products)?.shape.to_tvec();
            let [places, seen] = [shape[2].to_usize()?, shape[3].to_usize()?];
            let sight = tract_ndarray::Array2::from_shape_fn((places, seen), |(at, of)| of <= at);
            let sight = target.add_const(format!("{prefix}.sight"), Tensor::from(sight))?;
            products = hidden(&format!("{prefix}.causal"), target, sight, products)?;
        }
        Ok(products)
    }
}

/// The products where `sight` is true, and next to them nothing.
fn hidden(
    name: &str,
    target: &mut TypedModel,
    sight: OutletId,
    products: OutletId,
) -> TractResult<OutletId> {
    let nothing = target.add_const(format!("{name}.nothing"), tensor0(f32::NEG_INFINITY))?;
    let all = [sight, products, nothing];
    Ok(wire_with_rank_broadcast(name, target, Iff, &all)?[0])
}

fn divided(all: &TDim, heads: usize) -> TractResult<TDim> {
    let of_head = all.clone() / heads;
    ensure!(
        of_head.clone() * heads == *all,
        "{all} channels do not divide into {heads} heads"
    );
    Ok(of_head)
}

impl Expansion for Import {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3 + usize::from(self.has_mask))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.given_2(&inputs[0].shape, &inputs[2].shape, |s, queries, values| {
            let shape = match (&*queries, &*values) {
                ([n, heads, places, _], [_, _, _, channels]) => {
                    tvec![n.clone(), heads.clone(), places.clone(), channels.clone()]
                }
                ([n, places, _], [_, _, channels]) => {
                    self.heads()?;
                    tvec![n.clone(), places.clone(), channels.clone()]
                }
                _ => bail!(
                    "queries have {} axes and values {}, allowed are 3 and 4 of both",
                    queries.len(),
                    values.len()
                ),
            };
            s.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let product = |axes: &str| -> TractResult<EinSum> {
            Ok(EinSum::new(axes.parse()?, f32::datum_type()))
        };
        let is_split = target.outlet_fact(inputs[0])?.rank() == 4;
        let mut of =
            |name: &str, i: usize| self.in_heads(format!("{prefix}.{name}"), target, inputs[i]);
        let (queries, keys, values) = (of("q", 0)?, of("k", 1)?, of("v", 2)?);
        let shape = target.outlet_fact(queries)?.shape.to_tvec();
        let of_keys = target.outlet_fact(keys)?.shape[1].clone();
        ensure!(
            shape[1] == of_keys,
            "it has {} heads of queries and {of_keys} of keys, served are as many",
            shape[1]
        );
        let scale = match self.scale {
            Some(scale) => scale,
            None => (shape[3].to_usize()? as f32).sqrt().recip(),
        };
        let scale = target.add_const(format!("{prefix}.scale"), tensor0(scale))?;
        let name = |part: &str| format!("{prefix}.{part}");
        let products = target.wire_node(
            name("products"),
            product("nhqc,nhkc->nhqk")?,
            &[queries, keys],
        )?;
        let scaled = [products[0], scale];
        let scaled = wire_with_rank_broadcast(name("scaled"), target, math::mul(), &scaled)?[0];
        let masked = self.masked(prefix, target, scaled, inputs.get(3).copied())?;
        let softmax = Softmax {
            axes: tvec![3],
            quant_output_dt: None,
            kind: SoftmaxKind::default(),
        };
        let shares = target.wire_node(name("shares"), softmax, &[masked])?[0];
        let sum = product("nhqk,nhkc->nhqc")?;
        if is_split {
            return target.wire_node(prefix, sum, &[shares, values]);
        }
        let sum = target.wire_node(name("sum"), sum, &[shares, values])?;
        let shape = target.outlet_fact(sum[0])?.shape.to_tvec();
        let moved = target.wire_node(name("moved"), AxisOp::Move(1, 2), &sum)?;
        let [heads, channels] = [shape[1].clone(), shape[3].clone()];
        let all = heads.clone() * channels.clone();
        let joined = AxisOp::Reshape(2, tvec![heads, channels], tvec![all]);
        target.wire_node(prefix, joined, &moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wired(shapes: [&[usize]; 3], heads: [Option<usize>; 2]) -> TractResult<TVec<usize>> {
        let import = Import {
            heads,
            is_causal: true,
            scale: None,
            has_mask: false,
        };
        let mut model = TypedModel::default();
        let mut inputs = TVec::new();
        for (name, shape) in ["q", "k", "v"].into_iter().zip(shapes) {
            inputs.push(model.add_source(name, f32::fact(shape))?);
        }
        let output = import.wire("y", &mut model, &inputs)?[0];
        let shape = model.outlet_fact(output)?.shape.as_concrete();
        Ok(shape.context("a symbol")?.into())
    }

    #[test]
    fn answer_has_the_shape_of_the_queries_and_the_channels_of_the_values() {
        let of = |shapes, heads| wired(shapes, heads).expect("wired").to_vec();
        let (keys, values) = (&[2, 3, 5, 8][..], &[2, 3, 5, 6][..]);
        assert_eq!(of([&[2, 3, 4, 8], keys, values], [None; 2]), [2, 3, 4, 6]);
        // Heads that are said beside an axis of their own, as PyTorch writes them.
        assert_eq!(
            of([&[2, 3, 4, 8], keys, values], [Some(3); 2]),
            [2, 3, 4, 6]
        );
        let (keys, values) = (&[2, 5, 24][..], &[2, 5, 18][..]);
        assert_eq!(of([&[2, 4, 24], keys, values], [Some(3); 2]), [2, 4, 18]);
    }

    #[test]
    fn heads_that_do_not_fit_are_refused() {
        let row: &[usize] = &[1, 4, 24];
        for (shapes, heads, words) in [
            ([row; 3], [None; 2], "does not say how many heads"),
            (
                [row; 3],
                [Some(4), Some(2)],
                "4 heads of queries and 2 of keys",
            ),
            (
                [row; 3],
                [Some(5); 2],
                "24 channels do not divide into 5 heads",
            ),
            (
                [&[1, 4, 5, 6], &[1, 2, 5, 6], &[1, 2, 5, 6]],
                [None; 2],
                "4 heads of queries and 2",
            ),
        ] {
            let error = format!("{:#}", wired(shapes, heads).expect_err(words));
            assert!(error.contains(words), "{error}");
        }
    }
}
