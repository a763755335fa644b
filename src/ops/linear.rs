//! ONNX's `QuantizeLinear` and `DequantizeLinear` as operators of tract's graph.
//!
//! Made by `engine::quantized` in place of tract's own, for three reasons: tract folds `DequantizeLinear` of weights
//! into `f32`, and chains of both around an operator into tables, before anybody could recognize them; it multiplies by
//! the rounded inverse of a scale where ONNX divides; and it takes scales apart into several nodes where there is one
//! for each channel. What is recognized becomes part of a region; the rest tract's plan runs as it is here.

use tract_onnx::tract_core::internal::*;

use kernels::nn::Quantization;

/// Scales and zero points, one for all numbers or one for each index of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// The scales, positive and finite.
    pub scales: Vec<f32>,
    /// The zero points: as many as there are scales, or one.
    pub zeros: Vec<i32>,
    /// The axis along which scales or zero points vary, if they do.
    pub axis: usize,
}

impl Eq for Linear {}

impl Linear {
    /// The one scale and zero point, if there is one of each.
    #[must_use]
    pub fn single(&self) -> Option<(f32, i32)> {
        match (&self.scales[..], &self.zeros[..]) {
            (&[scale], &[zero]) => Some((scale, zero)),
            _ => None,
        }
    }

    /// What bytes mean that are stored as `of`; those with a sign are stored 128 higher.
    #[must_use]
    pub fn quantization(&self, of: DatumType) -> Option<Quantization> {
        let (scale, zero) = self.single()?;
        let zero = match of {
            DatumType::U8 => u8::try_from(zero).ok()?,
            DatumType::I8 => u8::try_from(zero + 128).ok()?,
            _ => return None,
        };
        let quantization = Quantization { scale, zero };
        quantization.is_valid().then_some(quantization)
    }

    /// Calls `each` with the scale, the zero point and the range of every run of numbers that share them.
    fn for_each(&self, shape: &[usize], mut each: impl FnMut(f32, i32, std::ops::Range<usize>)) {
        let len: usize = shape.iter().product();
        let (scales, zeros) = (&self.scales, &self.zeros);
        let channels = scales.len().max(zeros.len());
        if channels == 1 {
            each(scales[0], zeros[0], 0..len);
            return;
        }
        let run: usize = shape[self.axis + 1..].iter().product();
        for (i, start) in (0..len).step_by(run.max(1)).enumerate() {
            let channel = i % channels;
            let of = |n: usize| if n == 1 { 0 } else { channel };
            let (scale, zero) = (scales[of(scales.len())], zeros[of(zeros.len())]);
            each(scale, zero, start..start + run);
        }
    }
}

/// `saturate(round(x / scale) + zero)`; a half is rounded to the even number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// The scales and zero points.
    pub linear: Linear,
    /// The type of the bytes: `u8` or `i8`.
    pub to: DatumType,
}

/// `(x − zero) × scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// The scales and zero points.
    pub linear: Linear,
}

impl QuantizeLinear {
    fn run(&self, input: &Tensor) -> TractResult<Tensor> {
        match self.to {
            DatumType::U8 => self.run_as(input, 0, 255, |v| v as u8),
            DatumType::I8 => self.run_as(input, -128, 127, |v| v as i8),
            other => bail!("QuantizeLinear to {other:?}"),
        }
    }

    fn run_as<T: Datum + Copy>(
        &self,
        input: &Tensor,
        low: i32,
        high: i32,
        to: fn(i32) -> T,
    ) -> TractResult<Tensor> {
        let mut output = Tensor::zero_dt(self.to, input.shape())?;
        {
            let plain = input.try_as_plain_ram()?;
            let from = plain.as_slice::<f32>()?;
            let mut plain = output.try_as_plain_ram_mut()?;
            let out = plain.as_slice_mut::<T>()?;
            self.linear.for_each(input.shape(), |scale, zero, range| {
                for (out, x) in out[range.clone()].iter_mut().zip(&from[range]) {
                    let rounded = (x / scale).round_ties_even() as i32; // saturates
                    *out = to(rounded.saturating_add(zero).clamp(low, high));
                }
            });
        }
        Ok(output)
    }
}

impl DequantizeLinear {
    /// The numbers that `input` means.
    ///
    /// # Errors
    /// If it is not of bytes or 32-bit integers.
    pub fn run(&self, input: &Tensor) -> TractResult<Tensor> {
        match input.datum_type() {
            DatumType::U8 => self.run_as::<u8>(input),
            DatumType::I8 => self.run_as::<i8>(input),
            DatumType::I32 => self.run_as::<i32>(input),
            other => bail!("DequantizeLinear of {other:?}"),
        }
    }

    fn run_as<T: Datum + Copy + Into<i64>>(&self, input: &Tensor) -> TractResult<Tensor> {
        let mut output = Tensor::zero::<f32>(input.shape())?;
        {
            let plain = input.try_as_plain_ram()?;
            let from = plain.as_slice::<T>()?;
            let mut plain = output.try_as_plain_ram_mut()?;
            let out = plain.as_slice_mut::<f32>()?;
            self.linear.for_each(input.shape(), |scale, zero, range| {
                for (out, x) in out[range.clone()].iter_mut().zip(&from[range]) {
                    *out = ((*x).into() - i64::from(zero)) as f32 * scale;
                }
            });
        }
        Ok(output)
    }
}

/// An operator that is evaluated in a plan only, so that nobody folds it.
macro_rules! operator {
    ($op:ident, $name:literal, $fact:expr) => {
        impl Op for $op {
            fn name(&self) -> StaticName {
                $name.into()
            }

            op_as_typed_op!();
        }

        impl EvalOp for $op {
            not_out_of_plan!();

            fn state(&self, _context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
                Ok(Some(Box::new(State)))
            }
        }

        impl TypedOp for $op {
            fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
                let fact: fn(&$op) -> DatumType = $fact;
                Ok(tvec!(fact(self).fact(inputs[0].shape.clone())))
            }

            as_op!();
        }
    };
}

operator!(QuantizeLinear, "QuantizeLinear", |op| op.to);
operator!(DequantizeLinear, "DequantizeLinear", |_| f32::datum_type());

/// The state of an operator that keeps nothing from one run to the next.
#[derive(Debug, Clone)]
struct State;

impl OpState for State {
    fn eval(
        &mut self,
        _context: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let output = match (
            op.downcast_ref::<QuantizeLinear>(),
            op.downcast_ref::<DequantizeLinear>(),
        ) {
            (Some(op), _) => op.run(&inputs[0])?,
            (_, Some(op)) => op.run(&inputs[0])?,
            _ => bail!("the state of {}", op.name()),
        };
        Ok(tvec!(output.into_tvalue()))
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_to_even_saturate_and_return() {
        let linear = Linear {
            scales: vec![0.5],
            zeros: vec![3],
            axis: 1,
        };
        let quantize = QuantizeLinear {
            linear: linear.clone(),
            to: u8::datum_type(),
        };
        let bytes = quantize
            .run(&tensor1(&[0.25_f32, 0.75, -9.0, 1e30]))
            .unwrap();
        assert_eq!(bytes, tensor1(&[3_u8, 5, 0, 255]));
        let numbers = DequantizeLinear { linear }.run(&bytes).unwrap();
        assert_eq!(numbers, tensor1(&[0.0_f32, 1.0, -1.5, 126.0]));
        let signed = QuantizeLinear {
            to: i8::datum_type(),
            ..quantize
        };
        let bytes = signed.run(&tensor1(&[-1e30_f32, 1e30])).unwrap();
        assert_eq!(bytes, tensor1(&[-128_i8, 127]));
    }

    #[test]
    fn each_index_of_the_axis_has_its_own_scale() {
        let linear = Linear {
            scales: vec![1.0, 10.0],
            zeros: vec![0, 1],
            axis: 1,
        };
        let input = tensor3(&[[[1_i8, 2], [1, 2]], [[3, 4], [3, 4]]]);
        let numbers = DequantizeLinear { linear }.run(&input).unwrap();
        let expected = tensor3(&[[[1.0_f32, 2.0], [0.0, 10.0]], [[3.0, 4.0], [20.0, 30.0]]]);
        assert_eq!(numbers, expected);
    }

    #[test]
    fn meaning_of_bytes_is_that_of_unsigned_ones() {
        let linear = |scale, zero| Linear {
            scales: vec![scale],
            zeros: vec![zero],
            axis: 1,
        };
        let (u8, i8) = (u8::datum_type(), i8::datum_type());
        let zero = |linear: Linear, of| linear.quantization(of).map(|q| q.zero);
        assert_eq!(zero(linear(0.1, 7), u8), Some(7));
        assert_eq!(zero(linear(0.1, -128), i8), Some(0));
        assert_eq!(zero(linear(0.1, 127), i8), Some(255));
        assert_eq!(zero(linear(0.1, -1), u8), None);
        assert_eq!(zero(linear(0.0, 0), u8), None);
    }
}
