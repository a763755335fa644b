//! From exact sums to stored bytes: the arithmetic that every kernel follows to the bit.
//!
//! # Numerics
//! A sum is an integer, so nothing depends on its order. It is converted to `f32` (to nearest even), multiplied by the
//! output channel's factor and rounded to an integer (to nearest even; without rounding the product first where a value
//! is added). A value that is added comes in by one fused multiply-add: rounded again behind a sum that is rounded, or
//! both together in one. That is what ONNX's `QuantizeLinear` says of a convolution whose operands are dequantized,
//! with one multiplication in place of three.

/// 1.5 × 2²³: the distance of numbers there is one, so that an addition of it rounds to an integer, to nearest even. A
/// number beyond 2²² in size stays one.
pub(crate) const SHIFT: f32 = 12_582_912.0;

/// What stored bytes mean: `scale × (byte − zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// One step; positive and finite.
    pub scale: f32,
    /// The byte that means zero.
    pub zero: u8,
}

impl Quantization {
    /// The nearest byte for a number, the even one of two; the least for a NaN.
    ///
    /// Rounds by an addition, after which the integer is in the lowest bits of the sum, and compares so that one
    /// instruction does: with conversions that saturate and the usual comparisons, the compiler makes no vector code of
    /// a loop around it, which then takes ten times as long.
    #[inline(always)]
    #[must_use]
    pub fn quantize(self, value: f32) -> u8 {
        let steps = value / self.scale;
        // Bounded to where the byte saturates whatever the zero is.
        let steps = if steps > -256.0 { steps } else { -256.0 };
        let steps = if steps < 256.0 { steps } else { 256.0 };
        let rounded = (steps + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32;
        (rounded + i32::from(self.zero)).clamp(0, 255) as u8
    }

    /// The number that a byte means.
    #[inline(always)]
    #[must_use]
    pub fn dequantize(self, byte: u8) -> f32 {
        (i32::from(byte) - i32::from(self.zero)) as f32 * self.scale
    }

    /// Whether the scale is valid: positive and finite, and neither it nor its inverse a denormal number.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.scale.is_normal() && self.scale > 0.0 && self.scale.recip().is_normal()
    }
}

/// What becomes of a convolution's rounded sums: `clamp(sum + zero, low, 255)`, after the residual; or the bounds of
/// results that are stored as numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Finish {
    /// The output's zero.
    pub(crate) zero: u8,
    /// The least byte: the output's zero where negative results become zero.
    pub(crate) low: u8,
    /// How a value is added, if there is one.
    pub(crate) residual: Option<Residual>,
    /// How the sum is rounded and bounded before the value is added; none rounds sum and value together.
    pub(crate) own: Option<Own>,
    /// Upper bound of results that are stored as numbers, which are then bounded by zero from below; none for no
    /// bounds.
    pub(crate) bound: Option<f32>,
}

/// A value that is added, in steps of the output: `ratio × byte + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Residual {
    pub(crate) ratio: f32,
    pub(crate) shift: f32,
}

impl Residual {
    /// How a value stored as `value` is added to an output stored as `output`.
    pub(crate) fn new(value: Quantization, output: Quantization) -> Residual {
        let ratio = value.scale / output.scale;
        Residual {
            ratio,
            shift: -f32::from(value.zero) * ratio,
        }
    }

    /// A bound on the size of what a byte adds.
    pub(crate) fn most(&self) -> f32 {
        255.0 * self.ratio + self.shift.abs()
    }

    /// What a byte adds.
    #[inline(always)]
    pub(crate) fn of(&self, byte: u8) -> f32 {
        f32::from(byte).mul_add(self.ratio, self.shift)
    }
}

/// A sum that is rounded and bounded as the convolution's own output would be, before a value is added to it, in steps
/// of the output: `ratio × clamp(sum, lowest, highest)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Own {
    pub(crate) lowest: f32,
    pub(crate) highest: f32,
    pub(crate) ratio: f32,
}

impl Own {
    /// For a convolution whose output alone would be stored as `own`, behind a ReLU or not, in an output stored as
    /// `output`.
    pub(crate) fn new(own: Quantization, relu: bool, output: Quantization) -> Own {
        Own {
            lowest: if relu { 0.0 } else { -f32::from(own.zero) },
            highest: 255.0 - f32::from(own.zero),
            ratio: own.scale / output.scale,
        }
    }

    /// A bound on the size of the sum in steps of the output.
    pub(crate) fn most(&self) -> f32 {
        255.0 * self.ratio
    }

    /// Bounds `own`, which is rounded, and adds `added`; the result is not rounded yet.
    #[inline(always)]
    pub(crate) fn add(&self, own: f32, added: f32) -> f32 {
        own.max(self.lowest)
            .min(self.highest)
            .mul_add(self.ratio, added)
    }
}

/// Whether a value that is added, and what is rounded before it, stay far below what an integer holds.
pub(crate) fn is_bounded(own: Option<Own>, residual: Residual) -> bool {
    own.map_or(0.0, |own| own.most()) + residual.most() < LARGEST_SUM
}

/// Largest value in steps of the output before it is rounded: vectors convert larger ones to a negative number.
pub(crate) const LARGEST_SUM: f32 = (1_u32 << 30) as f32;

impl Finish {
    /// The least and the largest number that is stored.
    pub(crate) fn bounds(&self) -> [f32; 2] {
        match self.bound {
            Some(most) => [0.0, most],
            None => [f32::NEG_INFINITY, f32::INFINITY],
        }
    }

    /// The byte for a sum; the oracle of the vectors' code.
    #[cfg(test)]
    pub(crate) fn byte(&self, sum: i32, factor: f32, residual: Option<u8>) -> u8 {
        let sum = sum as f32;
        self.store(match (&self.residual, residual) {
            (Some(residual), Some(byte)) => match &self.own {
                Some(own) => own.add(sum.mul_add(factor, SHIFT) - SHIFT, residual.of(byte)),
                None => sum.mul_add(factor, residual.of(byte)),
            },
            _ => sum * factor,
        })
    }

    /// The byte for a value in steps of the output.
    #[inline(always)]
    pub(crate) fn store(&self, value: f32) -> u8 {
        let rounded = value.round_ties_even() as i32 + i32::from(self.zero);
        rounded.clamp(i32::from(self.low), 255) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_rounds_to_even_and_saturates() {
        let q = Quantization {
            scale: 0.5,
            zero: 3,
        };
        let cases = [
            (0.0, 3),
            (0.25, 3),
            (0.75, 5),
            (-0.25, 3),
            (-0.75, 1),
            (-100.0, 0),
            (1e30, 255),
            (-1e30, 0),
            (f32::INFINITY, 255),
            (f32::NAN, 0),
        ];
        for (value, byte) in cases {
            assert_eq!(q.quantize(value), byte, "{value}");
        }
        assert_eq!(q.dequantize(0), -1.5);
        assert_eq!(q.dequantize(255), 126.0);
    }

    #[test]
    fn steps_that_are_none_are_invalid() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45, 1e-39, 3e38] {
            assert!(!Quantization { scale, zero: 0 }.is_valid(), "{scale}");
        }
        for scale in [1e-30, 0.02, 1.0, 1e30] {
            assert!(Quantization { scale, zero: 255 }.is_valid(), "{scale}");
        }
    }

    #[test]
    fn bytes_are_those_of_the_formula() {
        let plain = Finish {
            zero: 10,
            low: 0,
            residual: None,
            own: None,
            bound: None,
        };
        assert_eq!(plain.byte(5, 0.5, None), 12);
        assert_eq!(plain.byte(7, 0.5, None), 14);
        assert_eq!(plain.byte(-100, 0.5, None), 0);
        let relu = Finish { low: 10, ..plain };
        assert_eq!(relu.byte(-100, 0.5, None), 10);
        let scale = |scale, zero| Quantization { scale, zero };
        let output = scale(4.0, 0);
        let sum = Finish {
            residual: Some(Residual::new(scale(1.0, 1), output)),
            own: Some(Own::new(scale(2.0, 100), false, output)),
            ..plain
        };
        // 2 × 3 + 1 × (9 − 1) = 14, in steps of 4: 3.5, the even one of two.
        assert_eq!(sum.byte(3, 1.0, Some(9)), 14);
        // The convolution's own output ends at 255: 2 × 155.
        assert_eq!(sum.byte(1000, 1.0, Some(1)), 10 + 78);
        // 3 × 0.6 = 1.8 of its own steps are 2, and 2 / 2 + 10 / 4 = 3.5 becomes 4; as it is, 0.9 + 2.5 = 3.4 becomes
        // 3.
        assert_eq!(sum.byte(3, 0.6, Some(11)), 10 + 4);
        let once = Finish { own: None, ..sum };
        assert_eq!(once.byte(3, 0.3, Some(11)), 10 + 3);
    }
}
