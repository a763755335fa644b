//! Weights at all positions, `G g Gᵀ`: computed in double precision when a network is loaded, rounded once.
//!
//! Called by `Winograd::new`. Transformed weights are up to four times as large as they were, so this is a part of the
//! time that loading takes; all CPUs share it.

use std::iter::StepBy;
use std::marker::PhantomData;
use std::ops::Range;

use super::scheme::Scheme;
use super::{Winograd, share};
use crate::Task;
use crate::nn::arena::memory::Lines;
use crate::nn::conv::shape::ConvShape;
use crate::nn::layout::format::pack;
use crate::nn::layout::line::Line;

/// Fewer weights than this are packed by one thread: starting another takes as long.
const PARALLEL_WEIGHTS: usize = 100_000;

/// The first of the packed lines, of which each thread writes its own.
#[derive(Clone, Copy)]
struct Start(*mut Line);

// SAFETY: a plain address; each access through it states why it is sound.
unsafe impl Sync for Start {}

impl Winograd {
    /// Transforms `weights`, `[outputs, inputs, 3, 3]`, and packs them as `[position][panel][block][k][vector]`.
    pub(crate) fn pack<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        shape: ConvShape,
        weights: &[f32],
    ) -> Lines {
        let mut lines = Lines::zeros(A * A * self.weights_pitch());
        let start = Start(lines.as_mut_ptr());
        let panels = self.panels.len();
        let threads = match weights.len() < PARALLEL_WEIGHTS {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let fill = |part: usize| {
            for panel in share(panels, part, threads) {
                // SAFETY: no other part has this panel.
                unsafe { self.fill::<S, A, M>(panel, shape, weights, start) };
            }
        };
        std::thread::scope(|scope| {
            for part in 1..threads {
                scope.spawn(move || fill(part));
            }
            fill(0);
        });
        lines
    }

    /// # Safety
    /// `start` has room for all lines, and nobody else writes those of this panel.
    unsafe fn fill<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        panel: usize,
        shape: ConvShape,
        weights: &[f32],
        start: Start,
    ) {
        let panel = self.panels[panel];
        for v in 0..panel.vectors {
            let (first, step) = self.channels(panel.first + v);
            let transformed = |input: usize| match input < shape.inputs {
                true => self.vectorized.run(Pack::<S, A, M> {
                    scheme: PhantomData,
                    weights: &weights[input * 9..],
                    inputs: shape.inputs,
                    outputs: (first..shape.outputs.min(first + 16 * step)).step_by(step),
                }),
                false => [[Line::ZERO; A]; A],
            };
            for k in 0..self.input_blocks * 16 {
                let lines = match self.narrow {
                    true => {
                        let [mut even, odd] = [2 * k, 2 * k + 1].map(transformed);
                        let odd = odd.as_flattened();
                        for (even, odd) in even.as_flattened_mut().iter_mut().zip(odd) {
                            *even = pack([*even.f32(), *odd.f32()]);
                        }
                        even
                    }
                    false => {
                        let (first, step) = self.channels(k / 16);
                        transformed(first + k % 16 * step)
                    }
                };
                let at = panel.weights + k * panel.vectors + v;
                for (position, line) in lines.as_flattened().iter().enumerate() {
                    // SAFETY: a line of this panel, which the caller promises to this thread alone.
                    unsafe {
                        *start.0.add(position * self.weights_pitch() + at) = *line;
                    }
                }
            }
        }
    }
}

/// Transforms the weights of one input and up to 16 outputs.
struct Pack<'a, S, const A: usize, const M: usize> {
    scheme: PhantomData<S>,
    /// From the input's weights for output 0 on.
    weights: &'a [f32],
    inputs: usize,
    outputs: StepBy<Range<usize>>,
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Task for Pack<'_, S, A, M> {
    type Output = [[Line; A]; A];

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one lane of many arrays")]
    fn run(self) -> [[Line; A]; A] {
        let mut g = [[0.0; 16]; 9];
        for (lane, output) in self.outputs.enumerate() {
            let values = &self.weights[output * self.inputs * 9..][..9];
            for (g, value) in g.iter_mut().zip(values) {
                g[lane] = f64::from(*value);
            }
        }
        let mut lines = [[Line::ZERO; A]; A];
        for lane in 0..16 {
            let columns: [[f64; A]; 3] =
                std::array::from_fn(|x| S::weights(std::array::from_fn(|y| g[y * 3 + x][lane])));
            for (y, row) in lines.iter_mut().enumerate() {
                let values = S::weights(std::array::from_fn(|x| columns[x][y]));
                for (line, value) in row.iter_mut().zip(values) {
                    line.f32_mut()[lane] = value as f32;
                }
            }
        }
        lines
    }
}
