//! Activations: the functions of single numbers that are more than bounds.
//!
//! Called by the program's steps; tasks are blocks of channels of an image. Everything is plain arithmetic of single
//! precision in one order, so every instruction set gives the same bits.

use super::block::{Block, by_channel, for_each_block};
use crate::nn::layer::Activation;
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::team::Lead;
use crate::vectorize::{Task, Vectorized};

/// An activation of every number of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activate {
    /// The instruction set that loops run with.
    pub(crate) vectorized: Vectorized,
    /// How input and output are stored.
    pub(crate) store: Store,
    /// What becomes of each number.
    pub(crate) activation: Activation,
    /// Channels of the value.
    pub(crate) channels: usize,
}

impl Activate {
    /// Computes `output`, but for its border. Channels beyond the last become zeros.
    ///
    /// # Safety
    /// Both views hold `images` images of the same size; nobody else uses the output or writes the input; they do not
    /// overlap.
    pub(crate) unsafe fn run(&self, lead: &Lead<'_>, input: View, output: View, images: usize) {
        // SAFETY: the caller promises views of the same images, and the output to itself.
        unsafe { with_format!(self.store, activate(self, lead, input, output, images)) }
    }
}

/// # Safety
/// The conditions of [`Activate::run`] hold.
unsafe fn activate<const H: usize, F: Format<H>>(
    step: &Activate,
    lead: &Lead<'_>,
    input: View,
    output: View,
    images: usize,
) {
    let is_channel = |channel| if channel < step.channels { 1.0 } else { 0.0 };
    let block = |image, group, to: &mut [Line]| {
        step.vectorized.run(ActivateTask {
            // SAFETY: inside of the value.
            from: unsafe { Block::<H, F>::new(input, image, group) },
            to,
            plane: output.plane,
            is_channel: by_channel::<H, F>(group, is_channel),
            activation: step.activation,
        });
    };
    // SAFETY: the caller promises an output of `images` images to itself.
    unsafe { for_each_block::<H, F>(lead, output, images, block) }
}

struct ActivateTask<'a, const H: usize, F> {
    from: Block<'a, H, F>,
    to: &'a mut [Line],
    plane: Plane,
    /// One for a channel, zero for what lies beyond the last.
    is_channel: [Lanes; H],
    activation: Activation,
}

impl<const H: usize, F: Format<H>> Task for ActivateTask<'_, H, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.activation {
            Activation::LeakyRelu(slope) => self.each(|x| leaky_relu(x, slope)),
            Activation::Sigmoid => self.each(sigmoid),
            Activation::Silu => self.each(silu),
            Activation::HardSwish => self.each(hard_swish),
        }
    }
}

impl<const H: usize, F: Format<H>> ActivateTask<'_, H, F> {
    #[inline(always)]
    fn each(self, function: impl Fn(f32) -> f32) {
        let plane = self.plane;
        for row in 0..plane.height {
            for column in 0..plane.width {
                let mut values = self.from.pixel(row, column);
                let is_channel = self.is_channel.as_flattened();
                for (value, one) in values.as_flattened_mut().iter_mut().zip(is_channel) {
                    let result = function(*value);
                    *value = if *one == 0.0 { 0.0 } else { result };
                }
                F::store(self.to, plane.lines(), plane.at(row, column), values);
            }
        }
    }
}

impl Activation {
    /// What becomes of a number, to the bit as the steps compute it.
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::LeakyRelu(slope) => leaky_relu(x, slope),
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu => silu(x),
            Activation::HardSwish => hard_swish(x),
        }
    }
}

#[inline(always)]
fn leaky_relu(x: f32, slope: f32) -> f32 {
    if x < 0.0 { x * slope } else { x }
}

/// Computed by `e^-|x|`, which never overflows; no digits are lost, since nothing is subtracted.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp_of_negative(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn hard_swish(x: f32) -> f32 {
    let gate = x.mul_add(1.0 / 6.0, 0.5);
    let gate = if gate < 0.0 { 0.0 } else { gate };
    let gate = if gate > 1.0 { 1.0 } else { gate };
    x * gate
}

/// `e^x` of a number that is not positive, within two units in the last place; NaN of NaN. Below -87 it stays what it
/// is at -87, 1.6e-38.
///
/// `x` is a whole multiple of `ln 2`, taken away in two parts, and a rest of at most half of that, whose power is a
/// polynomial. Source of its coefficients and of the two parts: Moshier's Cephes library, `expf.c`.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    /// 1.5 × 2²³: adding and subtracting it leaves the nearest whole number, which is also in the lowest bits of the
    /// sum.
    const WHOLE: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let sum = x.mul_add(std::f32::consts::LOG2_E, WHOLE);
    let n = sum - WHOLE;
    let rest = n.mul_add(-0.693_359_4, x);
    let rest = n.mul_add(2.121_944_4e-4, rest);
    let mut power = 1.987_569_1e-4_f32;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        power = power.mul_add(rest, coefficient);
    }
    let power = power.mul_add(rest * rest, rest) + 1.0;
    let two_to_n = f32::from_bits((sum.to_bits() << 23).wrapping_add(127 << 23));
    power * two_to_n
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;
    use crate::nn::testing::{STORES, Value, lead, random, rounded, vectorized};

    const ALL: [Activation; 4] = [
        Activation::LeakyRelu(0.1),
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSwish,
    ];

    /// The activation in double precision, by its formula.
    fn exact(activation: Activation, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::LeakyRelu(slope) => x.max(0.0) + f64::from(slope) * x.min(0.0),
            Activation::Sigmoid => sigmoid,
            Activation::Silu => x * sigmoid,
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        }
    }

    #[test]
    fn functions_are_theirs_within_a_few_units_in_the_last_place() {
        for activation in ALL {
            for i in -40_000..=40_000 {
                let x = i as f32 / 460.0; // to where the power is no longer followed
                let (got, want) = (activation.of(x), exact(activation, f64::from(x)));
                // Near -3, where the gate of HardSwish opens, its rounding is all that is left.
                let scale = match activation {
                    Activation::HardSwish => want.abs().max(f64::from(x.abs()) * 0.5),
                    _ => want.abs(),
                };
                let error = (f64::from(got) - want).abs() / scale.max(1e-37);
                assert!(error < 4e-7, "{activation:?} of {x}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn ends_of_the_line() {
        for (activation, x, want) in [
            (Activation::Sigmoid, f32::INFINITY, 1.0),
            (Activation::Sigmoid, f32::NEG_INFINITY, 0.0),
            (Activation::Silu, f32::INFINITY, f32::INFINITY),
            (Activation::Silu, -1e30, 0.0),
            (Activation::HardSwish, f32::INFINITY, f32::INFINITY),
            (Activation::HardSwish, -3.0, 0.0),
            (
                Activation::LeakyRelu(0.1),
                f32::NEG_INFINITY,
                f32::NEG_INFINITY,
            ),
        ] {
            let got = activation.of(x);
            assert!(
                (got - want).abs() < 1e-7 || got == want,
                "{activation:?} of {x}: {got}"
            );
        }
        for activation in ALL {
            assert!(activation.of(f32::NAN).is_nan(), "{activation:?}");
            assert_eq!(activation.of(0.0), exact(activation, 0.0) as f32);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn steps_compute_the_functions_bit_for_bit(
            store in prop::sample::select(&STORES[..]), activation in prop::sample::select(&ALL[..]),
            images in 1usize..3, channels in 1usize..70, height in 1usize..6, width in 1usize..6,
            borders in [0usize..3, 0usize..3], seed: u64,
        ) {
            let numbers = random(seed, images * channels * height * width);
            let plane = |border| Plane { height, width, border };
            let mut input = Value::of(store, channels, plane(borders[0]), &numbers);
            let (from, mut all) = (input.view(), Vec::new());
            let supported = [Isa::Scalar, Isa::Avx2, Isa::Avx512].into_iter().filter_map(Vectorized::new);
            for vectorized in supported.chain([vectorized()]) {
                let mut output = Value::new(store, images, channels, plane(borders[1]));
                let step = Activate { vectorized, store, activation, channels };
                let to = output.view();
                // SAFETY: two values that are only used here.
                lead(|lead| unsafe { step.run(lead, from, to, images) });
                let expected: Vec<f32> = numbers.iter()
                    .map(|&x| rounded(store, activation.of(rounded(store, x)))).collect();
                prop_assert_eq!(output.numbers(), expected);
                all.push(output.bits());
            }
            // Channels beyond the last are zeros, on every instruction set.
            prop_assert!(all.iter().all(|bits| *bits == all[0]));
        }
    }
}
