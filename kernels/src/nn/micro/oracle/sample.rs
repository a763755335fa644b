//! Tiles of random numbers for the tests of the bfloat16 micro-kernels.

use proptest::prelude::*;

use super::bf16::{pair, tile_bf16};
use crate::features::Bf16Unit;
use crate::nn::layout::line::Line;
use crate::nn::layout::store::Store;
use crate::nn::micro::tile::{KBlock, Tile};

/// A tile with all that it points to.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) pixels: usize,
    pub(crate) stride: usize,
    pub(crate) vectors: usize,
    pub(crate) store: Store,
    /// Input blocks, and blocks of weights, of each step of the sum.
    pub(crate) k: Vec<(u8, u8)>,
    /// Lines beyond the pixels from one block to the next in the output, the residual and the input.
    pub(crate) gaps: [usize; 3],
    pub(crate) residual: bool,
    pub(crate) relu: bool,
    pub(crate) most: f32,
    pub(crate) seed: u64,
}

/// What outputs hold before a kernel runs, to see what it writes.
const UNWRITTEN: Line = Line::from_f32([12345.678; 16]);

impl Sample {
    /// Any tile of up to `pixels` pixels.
    pub(crate) fn any(pixels: usize) -> impl Strategy<Value = Sample> {
        let shape = (1..=pixels, 1..=4_usize, 1..=2_usize, 0..4_usize);
        let k = prop::collection::vec((0..4_u8, 0..4_u8), 0..6);
        let rest = ([0..3_usize, 0..3, 0..3], any::<[bool; 2]>(), any::<u64>());
        (shape, k, rest).prop_map(
            |((pixels, stride, vectors, store), k, (gaps, [residual, relu], seed))| {
                let store = [Store::F32, Store::F32, Store::Bf16, Store::Split][store];
                let vectors = if store == Store::F32 { vectors } else { 2 };
                Sample {
                    pixels,
                    stride,
                    vectors,
                    store,
                    k,
                    gaps,
                    residual,
                    relu,
                    most: if seed % 3 == 0 { 0.5 } else { f32::INFINITY },
                    seed,
                }
            },
        )
    }

    /// The output's lines after `kernel` has run.
    pub(crate) fn run(&self, kernel: impl FnOnce(&Tile<'_>)) -> Vec<Line> {
        let mut random = Random(self.seed | 1);
        let [out_stride, residual_stride, input_stride] = {
            let [out, residual, input] = self.gaps;
            let span = (self.pixels - 1) * self.stride + 1;
            [self.pixels + out, self.pixels + residual, span + input]
        };
        let a = random.bf16_lines(4 * input_stride);
        let b = random.bf16_lines(4 * 16 * self.vectors);
        let bias = random.f32_lines(self.vectors);
        let residual = match self.store {
            Store::F32 => random.f32_lines(2 * residual_stride),
            Store::Bf16 | Store::Split => random.bf16_lines(2 * residual_stride),
            Store::U8 => unreachable!("no sample stores bytes"),
        };
        let k: Vec<KBlock> = (self.k.iter())
            .map(|&(a, b)| KBlock {
                a: u32::from(a) * input_stride as u32,
                b: u32::from(b) * 16 * self.vectors as u32,
            })
            .collect();
        let mut out = vec![UNWRITTEN; 2 * out_stride + 2];
        kernel(&Tile {
            a: a.as_ptr(),
            step: self.stride,
            k: &k,
            b: b.as_ptr(),
            bias: bias.as_ptr(),
            residual: if self.residual {
                residual.as_ptr()
            } else {
                std::ptr::null()
            },
            residual_stride,
            out: out[1..].as_mut_ptr(),
            out_stride,
            relu: self.relu,
            most: self.most,
        });
        out
    }

    /// Whether `got` has the bits that the oracle of `unit` writes, and no others.
    pub(crate) fn check(&self, got: &[Line], unit: Bf16Unit) -> Result<(), TestCaseError> {
        let shape = [self.pixels, self.stride, self.vectors];
        // SAFETY: this sample's tile is whole.
        let expected = self.run(|tile| unsafe { tile_bf16(tile, shape, self.store, unit) });
        for (line, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let bits = |line: &Line| *line.words();
            prop_assert_eq!(bits(got), bits(expected), "line {}", line);
        }
        Ok(())
    }
}

/// xorshift64 by George Marsaglia.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number between 2^-6 and 2^6 of either sign; one in 16 is zero or denormal.
    fn f32(&mut self) -> f32 {
        let bits = self.next();
        let mantissa = bits as u32 & 0x807f_ffff;
        let exponent = match (bits >> 32) % 16 {
            0 => 0,
            _ => 121 + (bits >> 40) as u32 % 12,
        };
        let zero = exponent == 0 && bits & 1 == 0;
        f32::from_bits(if zero {
            mantissa & 0x8000_0000
        } else {
            mantissa | exponent << 23
        })
    }

    fn bf16(&mut self) -> u16 {
        (self.f32().to_bits() >> 16) as u16
    }

    fn f32_lines(&mut self, lines: usize) -> Vec<Line> {
        let line = |_| Line::from_f32(std::array::from_fn(|_| self.f32()));
        (0..lines).map(line).collect()
    }

    fn bf16_lines(&mut self, lines: usize) -> Vec<Line> {
        let line = |_| Line::from_f32(std::array::from_fn(|_| pair([self.bf16(), self.bf16()])));
        (0..lines).map(line).collect()
    }
}
