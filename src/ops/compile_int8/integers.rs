//! A convolution's weights and bias as integers of common steps.
//!
//! Called by `compile_int8`.

use std::borrow::Cow;

use super::super::graph::Conv;
use super::refuse;
use kernels::nn::{Quantization, Unsupported};

/// Most steps of a bias: as many again are left for the products.
const MOST_STEPS: f64 = (1_u32 << 30) as f64;

/// Weights and bias of a convolution of bytes.
pub(super) struct Integers<'w> {
    /// `[outputs, inputs of a group, kernel height, kernel width]`, each times its output's scale.
    pub(super) weights: Cow<'w, [i8]>,
    /// The scale of each output.
    pub(super) scales: Cow<'w, [f32]>,
    /// The bias of each output, in steps of the input's scale times the weights'.
    pub(super) bias: Vec<i32>,
}

impl<'w> Integers<'w> {
    /// The integers of a convolution whose input's bytes mean `input`.
    ///
    /// Channels that a network does not use have weights of next to nothing beside their bias, and so small a scale
    /// that no integer holds the bias in its steps. Their scales become as large as the bias demands. Scales have the
    /// sign of what was multiplied into them.
    ///
    /// # Errors
    /// [`Unsupported`] if the weights are no bytes, or the bias is no number or does not fit the channels.
    pub(super) fn of(conv: &'w Conv, input: Quantization) -> Result<Integers<'w>, Unsupported> {
        let Some((mut weights, scales)) = conv.weights.as_int8() else {
            return refuse("its weights are no bytes");
        };
        if conv.bias.len() != scales.len() || conv.outputs != scales.len() {
            return refuse("its bias does not fit its channels");
        }
        let each = weights.len() / conv.outputs.max(1);
        let mut scales = Cow::Borrowed(scales);
        let mut steps = Vec::with_capacity(scales.len());
        for (output, bias) in conv.bias.iter().enumerate() {
            if !bias.is_finite() {
                return Err(Unsupported(format!("a bias of {bias}")));
            }
            let scale = scales[output];
            let of_input = f64::from(*bias) / f64::from(input.scale);
            let least = (of_input.abs() / MOST_STEPS) as f32;
            if scale.abs() < least {
                let least = least.copysign(scale);
                let ratio = scale / least;
                for weight in &mut weights.to_mut()[output * each..][..each] {
                    *weight = (f32::from(*weight) * ratio).round_ties_even() as i8;
                }
                scales.to_mut()[output] = least;
            }
            steps.push((of_input / f64::from(scales[output])).round() as i32);
        }
        Ok(Integers {
            weights,
            scales,
            bias: steps,
        })
    }
}
