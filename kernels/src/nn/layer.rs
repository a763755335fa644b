//! The descriptions of layers that a builder takes: values, windows, convolutions and pools, and whether they fit.
//!
//! Given to the builder by whoever makes a program; checked here, before anything is packed.

use crate::nn::arithmetic::{Arithmetic, Precision};
use crate::nn::layout::line::Plane;

/// Why no step of ours computes a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// A value of a program under construction: `[channels, height, width]` for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(pub(crate) usize);

/// A window and how it moves; rows first, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next, down and to the right.
    pub stride: [usize; 2],
    /// Zeros above and to the left.
    pub pad_before: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
}

impl SlidingWindow {
    /// The window's size and strides, for reports: "3×3/2", or "3×3/2×1" where the strides differ.
    pub(crate) fn name(&self) -> String {
        let ([rows, columns], [down, right]) = (self.kernel, self.stride);
        match down == right {
            true => format!("{rows}×{columns}/{down}"),
            false => format!("{rows}×{columns}/{down}×{right}"),
        }
    }

    /// Whether every window of a pool has a pixel of an image of this size.
    pub(crate) fn check_pool(&self, image: [usize; 2]) -> Result<(), Unsupported> {
        let is_outside = |axis: usize| {
            let last = (self.output[axis] - 1) * self.stride[axis];
            self.pad_before[axis] >= self.kernel[axis]
                || last >= image[axis] + self.pad_before[axis]
        };
        match is_outside(0) || is_outside(1) {
            true => Err(Unsupported("a window lies outside of the image".into())),
            false => Ok(()),
        }
    }
}

/// A convolution to add to a program.
#[derive(Debug, Clone, Copy)]
pub struct ConvLayer<'a> {
    /// How its window moves.
    pub moving: SlidingWindow,
    /// Groups.
    pub groups: usize,
    /// Output channels.
    pub outputs: usize,
    /// `[outputs, inputs / groups, height, width]`.
    pub weights: &'a [f32],
    /// The bias, one for each output channel.
    pub bias: &'a [f32],
    /// A value of the output's shape, added before the ReLU.
    pub residual: Option<Value>,
    /// Whether negative results become zero.
    pub relu: bool,
    /// Upper bound of the results, infinity for none; of no meaning without `relu`.
    pub most: f32,
    /// Zeros that readers of the output want around it.
    pub border: usize,
    /// Whether the output is kept in single precision: for what leaves the network.
    pub exact: bool,
}

impl ConvLayer<'_> {
    /// Multiplications and additions for one image.
    pub(crate) fn flops(&self) -> u64 {
        let [height, width] = self.moving.output;
        2 * (self.weights.len() * height * width) as u64
    }
}

/// Whether weights and bias are as many as the channels demand.
pub(crate) fn check_weights(
    arithmetic: Arithmetic,
    inputs: usize,
    layer: &ConvLayer<'_>,
) -> Result<(), Unsupported> {
    if arithmetic.precision() == Precision::Int8 {
        return Err(Unsupported("its weights are no bytes".into()));
    }
    let [rows, columns] = layer.moving.kernel;
    let per_group = inputs / layer.groups.max(1);
    let fits = layer.groups > 0
        && inputs.is_multiple_of(layer.groups)
        && layer.outputs.is_multiple_of(layer.groups)
        && layer.weights.len() == layer.outputs * per_group * rows * columns
        && layer.bias.len() == layer.outputs
        && !layer.moving.stride.contains(&0);
    match fits {
        true => Ok(()),
        false => Err(Unsupported("its weights do not fit its channels".into())),
    }
}

/// A function of single numbers that is not just a bound from below and from above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x` if it is positive, else `x` times this slope.
    LeakyRelu(f32),
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x / (1 + e^-x)`, also called Swish.
    Silu,
    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
}

impl Activation {
    /// The activation's name, for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Activation::LeakyRelu(_) => "leaky relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Silu => "silu",
            Activation::HardSwish => "hard swish",
        }
    }
}

/// What a pool computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest value; zeros outside of the image do not count.
    Max,
    /// The mean of the values inside of the image.
    Mean,
    /// The mean of all, zeros outside of the image included.
    MeanWithPad,
}

/// Whether all that a window looks at lies inside of the plane and its border.
pub(crate) fn covers(plane: Plane, moving: &SlidingWindow) -> bool {
    let image = [plane.height, plane.width];
    (0..2).all(|axis| {
        let last = (moving.output[axis] - 1) * moving.stride[axis] + moving.kernel[axis];
        moving.pad_before[axis] <= plane.border
            && last <= image[axis] + moving.pad_before[axis] + plane.border
    })
}
