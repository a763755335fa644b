//! Which algorithm computes a convolution: depthwise, Winograd (and its tile) or direct.
//!
//! `Winograd::new` knows which convolutions it can compute (3×3 with stride 1, padding 1 and one group) and declines the
//! others, which are direct; so does [`int8::winograd`](crate::nn::int8::winograd) of those on bytes. Strided 1×1 windows
//! are gathered first (`convolutions.rs`, `int8_steps.rs`). How the work is then ordered and cut is
//! [`conv::plan`](crate::nn::conv::plan).

use super::Work;
use super::builder::Builder;
use crate::nn::arithmetic::{Precision, Unit};
use crate::nn::conv::depthwise::Depthwise;
use crate::nn::conv::direct::DirectConv;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::conv::winograd::{TileSize, Winograd};
use crate::nn::int8;
use crate::nn::int8::pack::QuantizedWeights;
use crate::nn::int8::requantize::Finish;
use crate::nn::int8::work::Int8Work;
use crate::nn::layer::Unsupported;

/// Tiles of 4 × 4 outputs that an image has at least for Winograd's F(4×4): the micro-kernel's pixels. With fewer,
/// F(2×2) is as fast and its weights are less than half as large.
const WINOGRAD_F4_TILES: usize = 14;

/// Rows and columns of a plane from which on Winograd is taken. A smaller one is a single tile, for which transformed
/// weights, 16/9 of the others, are read once: ResNet-18 at 64 × 64, whose last planes are 2 × 2, takes 0.86 of the time
/// with direct sums at one image, and 1.2 times as long at eight. On 3 × 3 planes they gain nothing at one image either.
const WINOGRAD_SIDE: usize = 3;

impl Builder {
    /// The fastest algorithm for a convolution, and its name.
    pub(crate) fn convolution(
        &mut self,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<(Work, &'static str)> {
        let tiles = about.output.height.div_ceil(4) * about.output.width.div_ceil(4);
        let size = match tiles {
            WINOGRAD_F4_TILES.. => TileSize::F4,
            _ => TileSize::F2,
        };
        // With vectors, three products of bfloat16 take one and a half times as long as one of single precision. With
        // tiles, the direct sum takes less time than the transforms.
        let winograd_as = match (self.numbers.unit(), self.numbers.precision()) {
            (Unit::Avx2 | Unit::Avx512, _) | (Unit::Avx512Bf16, Precision::Bf16x3) => {
                Some((size, Precision::F32))
            }
            (Unit::Avx512Bf16, precision) => Some((TileSize::F2, precision)),
            (Unit::Amx, _) => None,
        };
        if let Some(depthwise) = Depthwise::new(self.numbers, shape, about, weights, bias) {
            return Some((Work::Depthwise(Box::new(depthwise)), " depthwise"));
        }
        let is_large = about.output.height.min(about.output.width) >= WINOGRAD_SIDE;
        let winograd = winograd_as
            .filter(|_| is_large)
            .and_then(|(size, products)| {
                Winograd::new(self.numbers, products, size, shape, about, weights, bias)
            });
        if let Some(winograd) = winograd {
            let lines = (1..=self.threads).map(|t| winograd.scratch_lines(self.capacity, t));
            self.scratch = self.scratch.max(lines.max().unwrap_or(0));
            return Some((Work::Winograd(Box::new(winograd)), " winograd"));
        }
        let conv = DirectConv::new(self.numbers, shape, about, weights, bias)?;
        Some((Work::Conv(Box::new(conv)), ""))
    }

    /// The fastest algorithm for a convolution on bytes, and its name.
    pub(crate) fn int8_convolution(
        &mut self,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
        finish: Finish,
    ) -> Result<(Int8Work, &'static str), Unsupported> {
        if int8::depthwise::Depthwise::is(shape) {
            let depthwise =
                int8::depthwise::Depthwise::new(self.arithmetic, shape, about, source, finish)?;
            return Ok((Int8Work::Depthwise(Box::new(depthwise)), " depthwise"));
        }
        #[cfg(target_arch = "x86_64")]
        if int8::winograd::Winograd::fits(self.arithmetic, shape, about, source) {
            let winograd =
                int8::winograd::Winograd::new(self.arithmetic, shape, about, source, finish)?;
            let lines = (1..=self.threads).map(|t| winograd.scratch_lines(self.capacity, t));
            self.scratch = self.scratch.max(lines.max().unwrap_or(0));
            return Ok((Int8Work::Winograd(Box::new(winograd)), " winograd"));
        }
        let conv = int8::conv::Conv::new(self.arithmetic, shape, about, source, finish)?;
        Ok((Int8Work::Conv(Box::new(conv)), ""))
    }
}
