//! 3×3 convolution of bytes by Winograd's F(2×2, 3×3) in whole numbers: 4 products in place of 9, and the same sums.
//!
//! Called by the program's steps where nothing but AVX2 multiplies: there 16-bit words are multiplied two at a time in
//! little more than the time of bytes. Instructions that multiply four bytes at a time are as fast without.
//!
//! The points 0, ±1, ∞ need no fractions but for the weights, which are taken four times as large: `G` has 2 where it
//! would have 1, and 1 where it would have a half. So transformed inputs are up to 4 × 255, weights up to 9 × 128, and
//! a sum is four times the direct one, which is divided by shifting. Sums at the positions may overflow: what they add
//! up to does not, and whole numbers of 32 bits wrap.
//!
//! The phases are those of [`conv::winograd`](crate::nn::conv::winograd), whose chunks these are.

mod products;
mod transform;
mod weights;

use std::ops::Range;

use self::products::{MAX_TILES, Products};
use self::transform::{Forward, Inverse};
use super::pack::{QuantizedWeights, heads};
use super::pairs::Half;
use super::requantize::Finish;
use super::tile::{Kind, PANEL, Panel};
use crate::nn::arena::memory::Lines;
use crate::nn::arena::scratch::{Scratch, share};
use crate::nn::arithmetic::Arithmetic;
use crate::nn::conv::plan;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::conv::winograd::chunk::{Cutter, ForEach, parts};
use crate::nn::conv::winograd::transform::Grid;
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::{Line, View};
use crate::nn::team::Lead;

/// Positions of a tile.
const POSITIONS: usize = 16;

/// Least rows and columns of a plane: with fewer, tiles reach so far beyond the plane that little is left of what they
/// gain.
const SIDE: usize = 4;

/// There must be more inputs and more outputs than this: the transforms compute 64 inputs and 32 outputs at a time.
/// With 32 of both it takes as long as direct sums, with 16 or 8 up to twice as long (40×40 planes, AMD Zen 3).
const CHANNELS: usize = 32;

/// Tiles of a chunk at least: each reads all weights. With 12, the last layers of ResNet-50 take a quarter longer; 48
/// are as good.
const CHUNK_TILES: usize = 24;

/// A 3×3 convolution of stride 1 with one pixel of zeros around, ready to run.
#[derive(Debug)]
pub(crate) struct Winograd {
    /// `[panel][position][half][pair]`, a line each: two words of 8 outputs of the one vector, then of the other.
    weights: Lines,
    /// Pairs of inputs.
    pairs: usize,
    /// Two lines a panel: what sums begin with, and what they are multiplied by.
    offsets: Box<[Line]>,
    factors: Box<[Line]>,
    panels: usize,
    /// Blocks of 64 inputs.
    blocks: usize,
    about: ConvUse,
    finish: Finish,
    kind: Kind,
    cutter: Cutter,
}

/// The tiles of a chunk, and where their values are between the phases.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Number of the first tile.
    first: usize,
    tiles: usize,
    /// Tiles that there is room for.
    room: usize,
    /// Transformed inputs, `[position][block][tile]`, two lines of 32 words each.
    v: *mut Line,
    /// Lines from one position to the next in `v`.
    v_pitch: usize,
    /// Sums, `[position][panel][tile][half]`, a line of 8 outputs of either vector.
    m: *mut Line,
    m_pitch: usize,
}

// SAFETY: plain addresses; each access through them states why it is sound.
unsafe impl Sync for Chunk {}

impl Winograd {
    /// Whether this CPU can compute a convolution by this algorithm, and gains by it.
    pub(crate) fn fits(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
    ) -> bool {
        let [input, output] = [about.input, about.output].map(|plane| [plane.height, plane.width]);
        // Four times the largest sum.
        let largest = |weights: &[i8]| {
            let all = weights.iter().map(|w| u64::from(w.unsigned_abs()));
            4 * 255 * all.sum::<u64>()
        };
        arithmetic.features().int8.is_none()
            && source.kind != Kind::Float
            && shape.kernel == [3, 3]
            && shape.stride == [1, 1]
            && shape.pad == [1, 1]
            && shape.groups == 1
            && input == output
            && output.into_iter().all(|side| side >= SIDE)
            && shape.inputs.min(shape.outputs) > CHANNELS
            && (source.weights.chunks_exact(9 * shape.inputs))
                .all(|weights| largest(weights) <= i32::MAX as u64)
    }

    /// Transforms the weights of a convolution that [fits](Winograd::fits).
    ///
    /// # Errors
    /// [`Unsupported`]: sums too large to be exact.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
        finish: Finish,
    ) -> Result<Winograd, Unsupported> {
        let panels = shape.outputs.div_ceil(PANEL);
        let [offsets, factors] = heads(source, panels)?;
        let mut winograd = Winograd {
            weights: weights::pack(source, panels),
            pairs: shape.inputs.div_ceil(2),
            offsets,
            factors,
            panels,
            blocks: shape.inputs.div_ceil(64),
            about,
            finish,
            kind: source.kind,
            cutter: Cutter {
                tiles: about.output.height.div_ceil(2) * about.output.width.div_ceil(2),
                tile_bytes: 0,
                max_pixels: MAX_TILES,
                chunk: (plan::winograd_chunk_bytes(arithmetic), CHUNK_TILES),
            },
        };
        winograd.cutter.tile_bytes = winograd.chunk_lines(1) * size_of::<Line>();
        Ok(winograd)
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.weights)
    }

    /// Lines of scratch memory that `run` uses for at most `images` images and `threads` threads.
    pub(crate) fn scratch_lines(&self, images: usize, threads: usize) -> usize {
        let lines = |tiles| self.chunk_lines(tiles);
        self.cutter.scratch_lines(images, threads, lines)
    }

    /// Lines from one position to the next of the inputs and of the sums of `tiles` tiles; odd, so that the positions
    /// of a tile do not all fall on the same few lines of the cache.
    fn pitches(&self, tiles: usize) -> [usize; 2] {
        [self.blocks, self.panels].map(|blocks| (2 * blocks * tiles) | 1)
    }

    fn chunk_lines(&self, tiles: usize) -> usize {
        POSITIONS * self.pitches(tiles).iter().sum::<usize>()
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output or the scratch memory meanwhile, which is large enough; the output is the residual or does not overlap
    /// with it.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        views: (View, Option<View>, View),
        images: usize,
        scratch: &Scratch,
    ) {
        let cut = self.cutter.cut(images, scratch.threads);
        let [v_pitch, m_pitch] = self.pitches(cut.tiles);
        let chunk = |tiles: Range<usize>, slot: usize| {
            // SAFETY: inside of the scratch memory, which has room for as many chunks as there are slots.
            let v = unsafe { scratch.start.add(slot * self.chunk_lines(cut.tiles)) };
            Chunk {
                first: tiles.start,
                tiles: tiles.len(),
                room: cut.tiles,
                v,
                v_pitch,
                // SAFETY: the sums lie behind the transformed inputs in the slot's memory.
                m: unsafe { v.add(POSITIONS * v_pitch) },
                m_pitch,
            }
        };
        cut.for_each(lead, scratch, &|for_each, threads, tiles, slot| {
            // SAFETY: the caller promises the views and the memory; each chunk has its own tiles, each slot its own
            // memory.
            unsafe { self.phases(for_each, threads, chunk(tiles, slot), views) };
        });
    }

    /// The three phases of a chunk, each as tasks that `for_each` gives to threads.
    ///
    /// # Safety
    /// The conditions of `run` hold, for this chunk's tiles and memory.
    unsafe fn phases(
        &self,
        for_each: ForEach<'_>,
        threads: usize,
        chunk: Chunk,
        (input, residual, output): (View, Option<View>, View),
    ) {
        let grid = Grid::<4, 2>::new(self.about.output);
        let pieces = parts(threads, self.blocks, chunk.tiles);
        for_each(self.blocks * pieces, &|task| {
            let forward = Forward {
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                block: task / pieces,
                input,
            };
            // SAFETY: by the caller's promise about input and memory; no other task has this block and these tiles, and
            // the CPU is one that `fits` has asked.
            unsafe { forward.run() };
        });
        let pieces = parts(threads, POSITIONS, self.panels);
        for_each(POSITIONS * pieces, &|task| {
            for panel in share(self.panels, task % pieces, pieces) {
                // SAFETY: the transformed inputs are complete, no other task has this panel at this position, and the
                // CPU is one that `fits` has asked.
                unsafe { self.products(chunk, task / pieces, panel) };
            }
        });
        let pieces = parts(threads, self.panels, chunk.tiles);
        for_each(self.panels * pieces, &|task| {
            let panel = task / pieces;
            let inverse = Inverse {
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                number: panel,
                panel: Panel {
                    half: 0,
                    k: &[],
                    halves: [Half::NONE; 2],
                    b: std::ptr::null(),
                    offset: &raw const self.offsets[2 * panel],
                    factor: &raw const self.factors[2 * panel],
                    finish: &self.finish,
                    ahead: 0,
                },
                residual,
                output,
            };
            // SAFETY: by the caller's promise about residual and output; the sums are complete, no other task has this
            // panel and these tiles, and the CPU is one that `fits` has asked.
            unsafe { inverse.run(self.kind) };
        });
    }

    /// Sums of a panel at a position for all tiles of a chunk.
    ///
    /// # Safety
    /// The CPU has AVX2; the chunk's memory is there, and nobody else uses these sums.
    unsafe fn products(&self, chunk: Chunk, position: usize, panel: usize) {
        let weights = (panel * POSITIONS + position) * 2 * self.pairs;
        let calls = chunk.tiles.div_ceil(MAX_TILES);
        for call in 0..calls {
            let tiles = share(chunk.tiles, call, calls);
            // SAFETY: inside of the chunk's memory and of the weights.
            unsafe {
                let at = position * chunk.m_pitch + 2 * (panel * chunk.room + tiles.start);
                let products = Products {
                    a: chunk.v.add(position * chunk.v_pitch + 2 * tiles.start),
                    pitch: 2 * chunk.room,
                    pairs: self.pairs,
                    b: &raw const self.weights[weights],
                    out: chunk.m.add(at),
                };
                products.run(tiles.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::conv::winograd::scheme::F2;

    fn transposed<T: Copy>(values: [[T; 4]; 4]) -> [[T; 4]; 4] {
        std::array::from_fn(|y| std::array::from_fn(|x| values[x][y]))
    }

    /// Compares what [`F2`] and [`weights`] compute with the direct sum.
    #[test]
    fn products_at_the_positions_add_up_to_four_times_the_sum() {
        let bytes = [
            [7, 0, 255, 3],
            [255, 255, 0, 1],
            [9, 8, 255, 255],
            [0, 254, 5, 6],
        ];
        let window = [[-128, 127, 3], [5, -1, 127], [-128, -128, 77]];
        let both = |values: [[i16; 4]; 4]| {
            let columns = transposed(values).map(F2::forward);
            transposed(columns).map(F2::forward)
        };
        let v = both(bytes.map(|row| row.map(|byte: u8| i16::from(byte))));
        let u = weights::transformed(window);
        let m: [[i32; 4]; 4] = std::array::from_fn(|y| {
            std::array::from_fn(|x| i32::from(v[y][x]) * i32::from(u[y][x]))
        });
        let columns = transposed(m).map(F2::inverse);
        let y = [0, 1].map(|y| F2::inverse(columns.map(|column| column[y])));
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let sum: i32 = (0..9)
                .map(|i| (row + i / 3, column + i % 3, window[i / 3][i % 3]))
                .map(|(y, x, weight)| i32::from(bytes[y][x]) * i32::from(weight))
                .sum();
            assert_eq!(y[row][column], 4 * sum);
        }
    }
}
