//! `QuantizeLinear` and `DequantizeLinear` of a file as [`crate::ops`] has them, in place of tract's.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use crate::ops::{DequantizeLinear, Linear, QuantizeLinear};

/// Makes the importer build our operators.
pub(in crate::engine) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("QuantizeLinear", quantize_linear);
    onnx.op_register
        .insert("DequantizeLinear", dequantize_linear);
}

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

fn quantize_linear(_: &ParsingContext, node: &NodeProto) -> Built {
    build(node, Direction::Quantize)
}

fn dequantize_linear(_: &ParsingContext, node: &NodeProto) -> Built {
    build(node, Direction::Dequantize)
}

fn build(node: &NodeProto, direction: Direction) -> Built {
    let import = Import {
        direction,
        axis: node.get_attr_opt("axis")?.unwrap_or(1),
    };
    Ok((expand(import), vec![]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    Quantize,
    Dequantize,
}

/// A node whose scale and zero point are constants, which tract knows when it wires the graph.
#[derive(Debug, Clone)]
struct Import {
    direction: Direction,
    axis: i64,
}

impl Expansion for Import {
    fn name(&self) -> StaticName {
        match self.direction {
            Direction::Quantize => "QuantizeLinear".into(),
            Direction::Dequantize => "DequantizeLinear".into(),
        }
    }

    /// Or weights of a few megabytes would be numbers before anybody sees that they are bytes.
    fn runs_out_of_plan(&self) -> bool {
        false
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        if inputs.len() < 2 {
            bail!("it has {} inputs, allowed are 2 and 3", inputs.len());
        }
        let (bytes, numbers) = match self.direction {
            Direction::Quantize => (&outputs[0], &inputs[0]),
            Direction::Dequantize => (&inputs[0], &outputs[0]),
        };
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        s.equals(&numbers.datum_type, f32::datum_type())?;
        match (inputs.get(2), self.direction) {
            (Some(zero), _) => s.equals(&bytes.datum_type, &zero.datum_type)?,
            (None, Direction::Quantize) => s.equals(&bytes.datum_type, u8::datum_type())?,
            (None, Direction::Dequantize) => {}
        }
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let constant = |i: usize| -> TractResult<Option<Arc<Tensor>>> {
            let Some(outlet) = inputs.get(i) else {
                return Ok(None);
            };
            let konst = target.outlet_fact(*outlet)?.konst.clone();
            konst
                .map(Some)
                .context("its scale and zero point must be constants")
        };
        let scales = constant(1)?.context("it has no scale")?;
        let zeros = constant(2)?;
        let rank = target.outlet_fact(inputs[0])?.rank() as i64;
        let per_axis = scales.len() > 1;
        let axis = if self.axis < 0 {
            self.axis + rank
        } else {
            self.axis
        };
        if per_axis && !(0..rank).contains(&axis) {
            bail!("axis {} of a value of {rank} axes", self.axis);
        }
        if per_axis {
            let channels = target.outlet_fact(inputs[0])?.shape[axis as usize].clone();
            ensure!(
                channels == scales.len().to_dim(),
                "{} scales along an axis of {channels}",
                scales.len()
            );
        }
        let to = zeros.as_ref().map_or(u8::datum_type(), |z| z.datum_type());
        let linear = Linear {
            scales: scales.try_as_plain_ram()?.as_slice::<f32>()?.to_vec(),
            zeros: match &zeros {
                None => vec![0],
                Some(zeros) => {
                    let zeros = zeros.cast_to::<i32>()?;
                    zeros.try_as_plain_ram()?.as_slice::<i32>()?.to_vec()
                }
            },
            axis: if per_axis { axis as usize } else { 0 },
        };
        let op: Box<dyn TypedOp> = match self.direction {
            Direction::Quantize => Box::new(QuantizeLinear { linear, to }),
            Direction::Dequantize => Box::new(DequantizeLinear { linear }),
        };
        target.wire_node(prefix, op, &inputs[..1])
    }
}
