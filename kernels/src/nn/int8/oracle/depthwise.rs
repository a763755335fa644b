//! The depthwise kernel for bytes in plain Rust, channel by channel, and random rows for the tests of the others.

use proptest::prelude::*;

use super::sample::Random;
use crate::nn::int8::depthwise::row::{HEAD, QUAD, Row, RowFn, VECTORS, Window, weights_at};
use crate::nn::int8::requantize::{Finish, Own, Quantization, Residual};
use crate::nn::int8::tile::Kind;
use crate::nn::layout::line::Line;

/// Computes a row.
///
/// # Safety
/// The conditions of [`RowFn`] hold.
unsafe fn scalar(row: &Row<'_>) {
    let Window {
        kernel: [height, width],
        pitch,
        stride,
    } = row.window;
    for pixel in 0..row.pixels {
        for channel in 0..64 {
            let (vector, lane) = (channel / 4 % VECTORS, channel / 16 * 4 + channel % 4);
            // SAFETY: the caller promises all that `row` points to.
            unsafe {
                let mut sum = (*row.weights.add(vector)).words()[lane] as i32;
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let at = pixel * stride + y * pitch + x * size_of::<Line>() + channel;
                    let line = HEAD + weights_at(height, x, y / QUAD) + vector;
                    let weights = (*row.weights.add(line)).words()[lane].to_le_bytes();
                    let weight = i32::from(weights[y % QUAD] as i8);
                    sum = sum.wrapping_add(i32::from(*row.from.add(at)) * weight);
                }
                let factor = (*row.weights.add(VECTORS + vector)).f32()[lane];
                let at = pixel * size_of::<Line>() + channel;
                let added = (!row.residual.is_null()).then(|| *row.residual.add(at));
                *row.to.add(at) = row.finish.byte(sum, factor, added);
            }
        }
    }
}

/// A row, with all that it points to.
#[derive(Debug, Clone)]
struct Sample {
    kernel: [usize; 2],
    /// Lines from one pixel's window to the next's.
    stride: usize,
    pixels: usize,
    channels: usize,
    kind: Kind,
    zeros: [u8; 3],
    relu: [bool; 2],
    scales: [u8; 3],
    /// Whether all bytes are the largest: where sums of 16 bits would saturate.
    extreme: bool,
    seed: u64,
}

const UNWRITTEN: Line = Line::from_f32([12345.678; 16]);

impl Sample {
    /// Any row; windows that have kernels of their own, 3×3 and 5×5, are as frequent as all others.
    fn any() -> impl Strategy<Value = Sample> {
        let window = prop_oneof![
            prop::sample::select(vec![[3, 3], [5, 5]]),
            [1..9_usize, 1..9_usize]
        ];
        let shape = (window, 1..4_usize, 1..15_usize, 1..=64_usize, 0..3_usize);
        let rest = (any::<[u8; 3]>(), any::<[bool; 2]>(), [0..9_u8, 0..9, 0..9]);
        (shape, rest, 0..4_u8, any::<u64>()).prop_map(
            |((kernel, stride, pixels, channels, kind), (zeros, relu, scales), extreme, seed)| {
                Sample {
                    kernel,
                    stride,
                    pixels,
                    channels,
                    kind: [Kind::Plain, Kind::Residual, Kind::Sum][kind],
                    zeros,
                    relu,
                    scales,
                    extreme: extreme == 0,
                    seed,
                }
            },
        )
    }

    /// The output's lines after `kernel` has run.
    fn run(&self, kernel: RowFn) -> Vec<Line> {
        let mut random = Random(self.seed | 1);
        let [height, width] = self.kernel;
        let pitch = (self.pixels - 1) * self.stride + width;
        let line = |random: &mut Random| match self.extreme {
            true => Line::from_words([u32::MAX; 16]),
            false => Line::from_words([0; 16].map(|_| random.next() as u32)),
        };
        let from: Vec<Line> = (0..height * pitch).map(|_| line(&mut random)).collect();
        let mut weights = Vec::new();
        for _ in 0..VECTORS {
            let offset = |_| i32::from(random.next() as i16) as u32;
            weights.push(Line::from_words([0; 16].map(offset)));
        }
        for _ in 0..VECTORS {
            let factor = |_| (random.next() % 1000) as f32 * 1e-6;
            weights.push(Line::from_f32([0; 16].map(factor)));
        }
        for x in 0..width {
            for quad in 0..height.div_ceil(QUAD) {
                // Rows beyond the window's last have no weights.
                let rows = (height - quad * QUAD).min(QUAD) as u32;
                let mask = u32::MAX >> (8 * (QUAD as u32 - rows));
                for v in 0..VECTORS {
                    let word = |_| match self.extreme {
                        true => [0x7f7f_7f7f, 0x8080_8080][(v + x) % 2] & mask,
                        false => random.next() as u32 & mask,
                    };
                    weights.push(Line::from_words([0; 16].map(word)));
                }
            }
        }
        let quantization = |i: usize| Quantization {
            scale: 0.01 * 1.7_f32.powi(i32::from(self.scales[i])),
            zero: self.zeros[i],
        };
        let zero = self.zeros[2];
        let [own, other, output] = [0, 1, 2].map(quantization);
        let residual = Residual::new(other, output);
        let own = Own::new(own, self.relu[0], output);
        let finish = Finish {
            zero,
            low: if self.relu[1] { zero } else { 0 },
            residual: (self.kind != Kind::Plain).then_some(residual),
            own: (self.kind == Kind::Residual).then_some(own),
            bound: None,
        };
        let added: Vec<Line> = (0..self.pixels).map(|_| line(&mut random)).collect();
        let mut out = vec![UNWRITTEN; self.pixels + 2];
        let row = Row {
            window: Window {
                kernel: self.kernel,
                pitch: pitch * size_of::<Line>(),
                stride: self.stride * size_of::<Line>(),
            },
            weights: weights.as_ptr(),
            finish: &finish,
            from: from.as_ptr().cast(),
            residual: match self.kind {
                Kind::Residual | Kind::Sum => added.as_ptr().cast(),
                Kind::Plain | Kind::Float => std::ptr::null(),
            },
            to: out[1..].as_mut_ptr().cast(),
            pixels: self.pixels,
            channels: self.channels,
        };
        // SAFETY: the caller has checked that the CPU has the kernel's instructions, and all that the row points to is
        // there.
        unsafe { kernel(&row) };
        out
    }

    /// Whether `kernel` writes the oracle's bytes, and no others.
    fn check(&self, kernel: RowFn) -> Result<(), TestCaseError> {
        let bytes = |line: &Line| line.words().map(u32::to_le_bytes);
        let (got, expected) = (self.run(kernel), self.run(scalar));
        for (line, (got, expected)) in got.iter().zip(&expected).enumerate() {
            // Around the pixels nothing is written; behind their channels anything may be.
            let channels = match (1..=self.pixels).contains(&line) {
                true => self.channels,
                false => 64,
            };
            let [got, expected] = [got, expected].map(bytes);
            let [got, expected] = [&got, &expected].map(|line| &line.as_flattened()[..channels]);
            prop_assert_eq!(got, expected, "line {}", line);
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::nn::int8::depthwise::{avx2, avx512};
    use crate::{Int8Unit, Isa};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn avx2_gives_the_bytes_of_the_oracle(sample in Sample::any()) {
            if Isa::Avx2.is_supported() {
                sample.check(avx2::kernel(sample.kind, sample.kernel, sample.stride))?;
            }
        }

        #[test]
        fn avx_vnni_gives_the_bytes_of_the_oracle(sample in Sample::any()) {
            if Int8Unit::AvxVnni.is_supported() {
                sample.check(avx2::vnni_kernel(sample.kind, sample.kernel, sample.stride))?;
            }
        }

        #[test]
        fn avx512_vnni_gives_the_bytes_of_the_oracle(sample in Sample::any()) {
            if Int8Unit::Avx512Vnni.is_supported() {
                sample.check(avx512::kernel(sample.kind, sample.kernel, sample.stride))?;
            }
        }
    }
}
