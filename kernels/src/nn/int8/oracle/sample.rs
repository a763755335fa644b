//! Random panels for the tests of the 8-bit micro-kernels.

use proptest::prelude::*;

use super::scalar;
use crate::nn::int8::pairs::{Half, PairedWeights};
use crate::nn::int8::requantize::{Finish, Own, Quantization, Residual};
use crate::nn::int8::tile::{
    BLOCK_LINES, FLOAT, KBlock, Kind, PLAIN, Panel, RESIDUAL, SUM, Target,
};
use crate::nn::layout::line::Line;
use crate::{Isa, Vectorized};

/// A panel and pixels, with all that they point to.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) pixels: usize,
    /// Bytes between pixels of the input.
    pub(crate) stride: usize,
    pub(crate) kind: Kind,
    /// First byte and quads of each block.
    k: Vec<(usize, u32)>,
    zeros: [u8; 3],
    relu: [bool; 2],
    scales: [u8; 3],
    /// Whether all bytes are the largest: where sums of 16 bits would saturate.
    extreme: bool,
    /// Whether the kernel wants weights in pairs.
    pub(crate) paired: bool,
    /// Weights are up to so much: of small ones all neighbours fit into 16 bits together, of large ones none.
    loud: i8,
    seed: u64,
}

/// Bytes of the input beyond the last pixel's first.
const REACH: usize = 256;

const UNWRITTEN: Line = Line::from_f32([12345.678; 16]);

impl Sample {
    /// Any sample of up to `pixels` pixels.
    pub(crate) fn any(pixels: usize) -> impl Strategy<Value = Sample> {
        let shape = (
            1..=pixels,
            prop::sample::select(vec![6_usize, 12, 64, 128]),
            0..4_usize,
        );
        let k = prop::collection::vec((0..192_usize, 1..=16_u32), 0..6);
        let rest = (any::<[u8; 3]>(), any::<[bool; 2]>(), [0..9_u8, 0..9, 0..9]);
        let loud = prop::sample::select(vec![1_i8, 40, 64, 70, 90, i8::MAX]);
        (shape, k, rest, 0..4_u8, loud, any::<u64>()).prop_map(
            |((pixels, stride, kind), k, (zeros, relu, scales), extreme, loud, seed)| Sample {
                pixels,
                stride,
                kind: [Kind::Plain, Kind::Residual, Kind::Sum, Kind::Float][kind],
                k,
                zeros,
                relu,
                scales,
                extreme: extreme == 0,
                paired: false,
                loud,
                seed,
            },
        )
    }

    /// The output's lines after `kernel` has run.
    pub(crate) fn run(&self, kernel: impl FnOnce(&Panel<'_>, Target)) -> Vec<Line> {
        let mut random = Random(self.seed | 1);
        let bytes = self.pixels * self.stride + REACH;
        let a: Vec<u8> = match self.extreme {
            true => vec![255; bytes],
            false => (0..bytes).map(|_| random.next() as u8).collect(),
        };
        let mut b = vec![Line::ZERO; self.k.len() * BLOCK_LINES + 2];
        for (line, at) in b.iter_mut().zip(0..) {
            // Bytes behind a block's quads have no weights.
            let quads = self.k.get(at / BLOCK_LINES).map_or(0, |k| k.1 as usize);
            if at % BLOCK_LINES / 2 < quads {
                let word = |_| match self.extreme {
                    true if self.loud == i8::MAX => [0x7f7f_7f7f, 0x8080_8080][at % 2],
                    true => {
                        let weight = [self.loud, -self.loud][at % 2];
                        u32::from_le_bytes([weight as u8; 4])
                    }
                    false => u32::from_le_bytes(
                        (random.next() as u32)
                            .to_le_bytes()
                            .map(|byte| (i16::from(byte as i8) * i16::from(self.loud) / 127) as u8),
                    ),
                };
                *line = Line::from_words(std::array::from_fn(word));
            }
        }
        let offset: Vec<Line> = (0..2)
            .map(|_| Line::from_words([0; 16].map(|_| (random.next() as i16) as i32 as u32)))
            .collect();
        let factor: Vec<Line> = (0..2)
            .map(|_| Line::from_f32([0; 16].map(|_| (random.next() % 1000) as f32 * 1e-6)))
            .collect();
        let quantization = |i: usize| Quantization {
            scale: 0.01 * 1.7_f32.powi(i32::from(self.scales[i])),
            zero: self.zeros[i],
        };
        let residual = Residual::new(quantization(1), quantization(2));
        let own = Own::new(quantization(0), self.relu[0], quantization(2));
        let zero = self.zeros[2];
        let finish = Finish {
            zero,
            low: if self.relu[1] { zero } else { 0 },
            residual: matches!(self.kind, Kind::Residual | Kind::Sum).then_some(residual),
            own: (self.kind == Kind::Residual).then_some(own),
            bound: self.relu[0].then_some(0.1 * f32::from(self.scales[0])),
        };
        let added: Vec<Line> = (0..self.pixels)
            .map(|_| Line::from_words([0; 16].map(|_| random.next() as u32)))
            .collect();
        let k: Vec<KBlock> = (self.k.iter())
            .map(|&(a, quads)| KBlock { a: a as u32, quads })
            .collect();
        let mut out = vec![UNWRITTEN; 2 * self.pixels + 2];
        let panel = Panel {
            half: 0,
            k: &k,
            halves: [Half::NONE; 2],
            b: b.as_ptr(),
            offset: offset.as_ptr(),
            factor: factor.as_ptr(),
            finish: &finish,
            ahead: 0,
        };
        let vectorized = Vectorized::new(Isa::Scalar).expect("plain Rust");
        let paired = self
            .paired
            .then(|| PairedWeights::new(vectorized, 1, &[(&k, &b)]));
        let panel = match &paired {
            None => panel,
            Some(paired) => {
                let halves = [0, 1].map(|half| paired.half(0, half));
                Panel { halves, ..panel }
            }
        };
        kernel(
            &panel,
            Target {
                a: a.as_ptr(),
                out: out[1..].as_mut_ptr().cast(),
                out_stride: self.pixels * size_of::<Line>(),
                residual: added.as_ptr().cast(),
            },
        );
        out
    }

    /// Whether `got` has the bits that the oracle writes, and no others.
    pub(crate) fn check(&self, got: &[Line]) -> Result<(), TestCaseError> {
        let whole = Sample {
            paired: false,
            ..self.clone()
        };
        let expected = whole.run(|panel, at| {
            let shape = [self.pixels, self.stride];
            // SAFETY: a sample has all that its panel and target point to.
            unsafe {
                match self.kind {
                    Kind::Plain => scalar::tile::<PLAIN>(panel, at, shape),
                    Kind::Residual => scalar::tile::<RESIDUAL>(panel, at, shape),
                    Kind::Sum => scalar::tile::<SUM>(panel, at, shape),
                    Kind::Float => scalar::tile::<FLOAT>(panel, at, shape),
                }
            }
        });
        let bytes = |line: &Line| line.words().map(u32::to_le_bytes);
        for (line, (got, expected)) in got.iter().zip(&expected).enumerate() {
            prop_assert_eq!(bytes(got), bytes(expected), "line {}", line);
        }
        Ok(())
    }
}

/// xorshift64 by George Marsaglia.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::Int8Unit;
    use crate::nn::conv::calls::Calls;
    use crate::nn::int8::amx::{self, Series};
    use crate::nn::int8::tile::TileFn;
    use crate::nn::int8::{avx2, avx512};
    use crate::nn::micro::amx::release;
    use crate::nn::micro::oracle::amx_model::Model;
    use crate::nn::micro::series::GROUP;

    fn vectors(sample: &Sample, kernels: &[TileFn], halves: usize) -> Vec<Line> {
        let kernel = kernels[sample.pixels - 1];
        sample.run(|panel, at| {
            for half in 0..halves {
                // SAFETY: the caller has checked that the CPU has the instructions, and a sample has all that its panel
                // points to.
                unsafe { kernel(&Panel { half, ..*panel }, at, sample.stride) };
            }
        })
    }

    fn series(calls: &Calls) -> Series<'_> {
        Series {
            groups: calls.groups,
            calls: &calls.calls,
            segments: &calls.segments,
            first: 0,
            pixels: u32::MAX,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn avx2_gives_the_bytes_of_the_oracle(sample in Sample::any(avx2::PAIRED_PIXELS)) {
            if Isa::Avx2.is_supported() {
                let sample = Sample { paired: true, ..sample };
                sample.check(&vectors(&sample, &avx2::paired_kernels(sample.kind), 2))?;
            }
        }

        #[test]
        fn avx_vnni_gives_the_bytes_of_the_oracle(sample in Sample::any(avx2::VNNI_PIXELS)) {
            if Int8Unit::AvxVnni.is_supported() {
                sample.check(&vectors(&sample, &avx2::vnni_kernels(sample.kind), 2))?;
            }
        }

        #[test]
        fn avx512_vnni_gives_the_bytes_of_the_oracle(sample in Sample::any(avx512::MAX_PIXELS)) {
            if Int8Unit::Avx512Vnni.is_supported() {
                sample.check(&vectors(&sample, &avx512::kernels(sample.kind), 1))?;
            }
        }

        #[test]
        fn modelled_tiles_give_the_bytes_of_the_oracle(sample in Sample::any(5 * GROUP)) {
            if Isa::Avx512.is_supported() {
                let calls = Calls::of_row(sample.pixels, sample.stride);
                let series = series(&calls);
                let model = &mut Model::new();
                // SAFETY: the CPU has the vectors, the model needs no tiles, and a sample is whole.
                let got = sample.run(|panel, at| unsafe {
                    match sample.kind {
                        Kind::Plain => amx::run::<Model, PLAIN>(model, panel, at, &series),
                        Kind::Residual => amx::run::<Model, RESIDUAL>(model, panel, at, &series),
                        Kind::Sum => amx::run::<Model, SUM>(model, panel, at, &series),
                        Kind::Float => amx::run::<Model, FLOAT>(model, panel, at, &series),
                    }
                });
                sample.check(&got)?;
            }
        }

        #[test]
        fn tiles_give_the_bytes_of_the_oracle(sample in Sample::any(5 * GROUP)) {
            if Int8Unit::Amx.is_supported() {
                let calls = Calls::of_row(sample.pixels, sample.stride);
                let series = series(&calls);
                let kernel = amx::kernel(sample.kind);
                // SAFETY: CPU and system permit tiles, and a sample has all that its panel and target point to.
                let got = sample.run(|panel, at| unsafe { kernel(panel, at, &series) });
                release();
                sample.check(&got)?;
            }
        }
    }
}
