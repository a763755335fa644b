//! Constants of tract's graph as weights: numbers, or bytes with the scales that give them a meaning.
//!
//! Called by `recognize`; copies nothing that can be used where it lies.

use std::sync::Arc;

use tract_onnx::prelude::*;

use crate::ops::{Int8Values, Linear, Values, Weights};

/// Weights of 8 bits of tract's graph as their memory.
struct SignedBytes(Arc<Tensor>);

impl Int8Values for SignedBytes {
    fn values(&self) -> &[i8] {
        let plain = self.0.try_as_plain_ram().ok();
        let bytes = plain.and_then(|plain| plain.as_slice::<i8>().ok());
        bytes.expect("the rule has seen that it is i8")
    }
}

/// A constant of tract's graph as the memory of weights.
struct Constant(Arc<Tensor>);

impl Values for Constant {
    fn values(&self) -> &[f32] {
        floats(&self.0).expect("the rule has seen that it is f32")
    }
}

pub(super) fn floats(tensor: &Tensor) -> Option<&[f32]> {
    tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()
}

/// Weights as tract's graph has them.
pub(super) enum Kernel {
    Floats(Arc<Tensor>),
    Bytes(Arc<Tensor>, Linear),
}

impl Kernel {
    pub(super) fn tensor(&self) -> &Arc<Tensor> {
        match self {
            Kernel::Floats(tensor) | Kernel::Bytes(tensor, _) => tensor,
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.tensor().shape()
    }

    pub(super) fn len(&self) -> usize {
        self.tensor().len()
    }

    /// Weights in the order `[outputs, …]`.
    pub(super) fn weights(&self, outputs: usize, axis: usize) -> Option<Weights> {
        self.matrix(outputs, false, axis)
    }

    /// Weights in that order, or of `[inputs, outputs]`; the outputs' axis is `axis`.
    pub(super) fn matrix(&self, outputs: usize, transposed: bool, axis: usize) -> Option<Weights> {
        match self {
            Kernel::Floats(tensor) => {
                let memory = Arc::new(Constant(Arc::clone(tensor)));
                Some(match transposed {
                    true => Weights::transposed(memory, outputs),
                    false => Weights::new(memory),
                })
            }
            Kernel::Bytes(tensor, linear) => {
                let (memory, scales) = signed(tensor, linear, outputs, axis)?;
                Some(match transposed {
                    true => Weights::int8_transposed(memory, scales),
                    false => Weights::int8(memory, scales),
                })
            }
        }
    }
}

/// Bytes with a sign whose zero is 0, and each output's scale; none where the difference to the zero point needs more
/// than 8 bits.
fn signed(
    tensor: &Arc<Tensor>,
    linear: &Linear,
    outputs: usize,
    axis: usize,
) -> Option<(Arc<dyn Int8Values>, Vec<f32>)> {
    let each = linear.scales.len().max(linear.zeros.len());
    if each != 1 && (linear.axis != axis || each != outputs) {
        return None;
    }
    let scales = match linear.scales[..] {
        [all] => vec![all; outputs],
        _ => linear.scales.clone(),
    };
    if linear.zeros.iter().all(|z| *z == 0) && tensor.datum_type() == i8::datum_type() {
        return Some((Arc::new(SignedBytes(Arc::clone(tensor))), scales));
    }
    let plain = tensor.try_as_plain_ram().ok()?;
    let values: Vec<i32> = match tensor.datum_type() {
        DatumType::U8 => plain
            .as_slice::<u8>()
            .ok()?
            .iter()
            .map(|x| i32::from(*x))
            .collect(),
        DatumType::I8 => plain
            .as_slice::<i8>()
            .ok()?
            .iter()
            .map(|x| i32::from(*x))
            .collect(),
        _ => return None,
    };
    let run: usize = tensor.shape()[axis + 1..].iter().product();
    let zero = |i: usize| match linear.zeros[..] {
        [all] => all,
        _ => linear.zeros[i / run % outputs],
    };
    let values = values.iter().enumerate();
    let bytes = values.map(|(i, x)| i8::try_from(x - zero(i)).ok());
    let bytes = bytes.collect::<Option<Vec<i8>>>()?;
    Some((Arc::new(bytes), scales))
}

/// The constant that a `DequantizeLinear` of weights reads.
pub(super) fn constant_input<'a>(
    model: &'a TypedModel,
    node: &TypedNode,
) -> Option<&'a Arc<Tensor>> {
    let &[input] = &node.inputs[..] else {
        return None;
    };
    model.outlet_fact(input).ok()?.konst.as_ref()
}
