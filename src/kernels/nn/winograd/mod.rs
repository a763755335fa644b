//! 3×3 convolution by Winograd's transform: products of transformed tiles in place of sums over windows.
//!
//! Called by the program's steps where it is faster than the direct sum. A tile of `M × M` outputs is computed from
//! `A × A` inputs, `A = M + 2`, in three phases: forward transform, one matrix product over channels for each of the `A²`
//! positions, inverse transform. F(4×4) needs a quarter of the direct algorithm's multiplications, F(2×2) four ninths;
//! transformed weights are four times as large, or 16/9 times.
//!
//! Values between the phases lie in scratch memory, `[position][block][tile]`, so that tiles are the micro-kernel's
//! neighbouring pixels. Tiles of a batch are worked off in chunks that fit into the second-level cache. A tile's bits depend
//! on its own inputs alone, never on chunk, batch or thread.

mod scheme;
#[cfg(test)]
mod tests;
mod transform;
mod weights;

use std::marker::PhantomData;

use self::scheme::{F2, F4, Scheme};
use self::transform::{Forward, Grid, Inverse};
use super::conv::{ConvShape, ConvUse};
use super::line::{Line, View};
pub(super) use super::scratch::Scratch;
use super::scratch::share;
use super::tile::{KBlock, Store, Tile, TileFn, TileKernel};
use super::{Arithmetic, Lead, Precision};
use crate::kernels::Vectorized;

/// Bytes of a chunk's transformed inputs and sums: what stays in a second-level cache of 1 MiB beside the weights of a
/// position. Twice as much is 10% slower with 64 channels and the same with more.
const CHUNK_BYTES: usize = 512 << 10;

/// Tiles of a chunk at least, for each chunk reads all weights from the third-level cache or memory: two runs of the
/// widest micro-kernel. Half as many are 5% slower with 256 channels and more.
const CHUNK_TILES: usize = 28;

/// Most blocks of input channels.
const MAX_BLOCKS: usize = 256;

/// The size of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TileSize {
    /// 2×2 outputs.
    F2,
    /// 4×4 outputs.
    F4,
}

impl TileSize {
    /// Positions, rows and columns of a tile's outputs.
    fn sizes(self) -> (usize, usize) {
        match self {
            TileSize::F2 => (16, 2),
            TileSize::F4 => (36, 4),
        }
    }
}

/// A 3×3 convolution of stride 1 with one pixel of zeros around, in `f32`, ready to run.
#[derive(Debug)]
pub(super) struct Winograd {
    size: TileSize,
    /// `[position][panel][block][k][vector]`.
    weights: Box<[Line]>,
    /// One line a block of outputs.
    bias: Box<[Line]>,
    panels: Vec<Panel>,
    input_blocks: usize,
    output_blocks: usize,
    about: ConvUse,
    /// Kernels by pixels - 1, for one vector and for two.
    kernels: [Vec<TileFn>; 2],
    max_pixels: usize,
    vectorized: Vectorized,
    /// Bytes of a chunk at most, unless it had fewer tiles than that.
    chunk: (usize, usize),
}

/// A few blocks of outputs, and where their weights are at each position.
#[derive(Debug, Clone, Copy)]
struct Panel {
    first: usize,
    vectors: usize,
    weights: usize,
}

/// Some of the batch's tiles, and where their values are.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Number of the first tile.
    first: usize,
    /// Tiles.
    tiles: usize,
    /// Lines from one block to the next.
    pitch: usize,
    /// Transformed inputs.
    v: *mut Line,
    /// Lines from one position to the next there.
    v_pitch: usize,
    /// Sums.
    m: *mut Line,
    /// Lines from one position to the next there.
    m_pitch: usize,
}

// SAFETY: addresses alone; each use has its own reason.
unsafe impl Sync for Chunk {}

/// Calls a task with each number below a count, on one thread or several.
type ForEach<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// How the tiles of a batch are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    chunks: usize,
    /// Most tiles of a chunk.
    tiles: usize,
    /// Whether each thread has its own chunk, or all share the phases of one.
    private: bool,
}

impl Winograd {
    /// Transforms `weights`, `[outputs, inputs, 3, 3]`.
    ///
    /// None if the convolution is another than 3×3 with stride 1, padding 1 and one group, all in `f32`.
    pub(super) fn new(
        arithmetic: Arithmetic,
        size: TileSize,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Winograd> {
        let fits = arithmetic.precision() == Precision::F32
            && about.store == Store::F32
            && shape.kernel == [3, 3]
            && shape.stride == [1, 1]
            && shape.pad == [1, 1]
            && shape.groups == 1
            && shape.inputs <= 16 * MAX_BLOCKS
            && [about.input.height, about.input.width] == [about.output.height, about.output.width];
        if !fits {
            return None;
        }
        let kernel = TileKernel::new(arithmetic, Store::F32);
        let kernels = [1, 2].map(|vectors| {
            (1..=kernel.max_pixels)
                .map_while(|pixels| kernel.function(pixels, 1, vectors))
                .collect::<Vec<_>>()
        });
        if kernels[kernel.vectors - 1].is_empty() || kernels[0].is_empty() {
            return None;
        }
        let [input_blocks, output_blocks] = [shape.inputs, shape.outputs].map(|c| c.div_ceil(16));
        let panels = (0..output_blocks).step_by(kernel.vectors);
        let panels = panels.map(|first| Panel {
            first,
            vectors: kernel.vectors.min(output_blocks - first),
            weights: first * input_blocks * 16,
        });
        let mut lines = vec![Line::ZERO; output_blocks];
        for (bias, line) in bias.chunks(16).zip(&mut lines) {
            line.0[..bias.len()].copy_from_slice(bias);
        }
        let mut winograd = Winograd {
            size,
            weights: Box::default(),
            bias: lines.into_boxed_slice(),
            panels: panels.collect(),
            input_blocks,
            output_blocks,
            about,
            kernels,
            max_pixels: kernel.max_pixels,
            vectorized: Vectorized::new(arithmetic.features.isa)?,
            chunk: (CHUNK_BYTES, CHUNK_TILES),
        };
        winograd.weights = match size {
            TileSize::F2 => winograd.pack::<F2, 4, 2>(shape, weights),
            TileSize::F4 => winograd.pack::<F4, 6, 4>(shape, weights),
        };
        Some(winograd)
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    /// Lines of scratch memory that `run` uses for at most so many images and threads.
    pub(super) fn scratch_lines(&self, images: usize, threads: usize) -> usize {
        let lines = |images| {
            let cut = self.cut(images, threads);
            let slots = if cut.private { threads } else { 1 };
            slots * self.chunk_lines(cut.tiles)
        };
        (1..=images).map(lines).max().unwrap_or(0)
    }

    /// Lines of the values of so many tiles at one position, for inputs and sums. Odd, so that the positions of one tile
    /// do not all fall on the same few lines of the cache.
    fn pitches(&self, tiles: usize) -> [usize; 2] {
        [self.input_blocks, self.output_blocks].map(|blocks| (blocks * tiles) | 1)
    }

    /// Lines of the weights at one position; odd for the same reason.
    fn weights_pitch(&self) -> usize {
        (self.output_blocks * self.input_blocks * 16) | 1
    }

    fn chunk_lines(&self, tiles: usize) -> usize {
        self.size.sizes().0 * self.pitches(tiles).iter().sum::<usize>()
    }

    fn tiles_of_image(&self) -> usize {
        let (_, side) = self.size.sizes();
        self.about.output.height.div_ceil(side) * self.about.output.width.div_ceil(side)
    }

    fn cut(&self, images: usize, threads: usize) -> Cut {
        let total = images * self.tiles_of_image();
        let fitting = self.chunk.0 / (self.chunk_lines(1) * size_of::<Line>());
        let most = (fitting / self.max_pixels * self.max_pixels).max(self.chunk.1);
        let chunks = total.div_ceil(most);
        let private = threads == 1 || chunks >= 2 * threads;
        let chunks = if private {
            chunks.next_multiple_of(threads).min(total)
        } else {
            total.div_ceil(most * threads)
        };
        Cut {
            chunks,
            tiles: total.div_ceil(chunks),
            private,
        }
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output or the scratch memory meanwhile, which is large enough. Borders of the input are zeros.
    pub(super) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        input: View,
        residual: Option<View>,
        output: View,
        images: usize,
        scratch: &Scratch,
    ) {
        let views = (input, residual, output);
        // SAFETY: by the caller's promise.
        unsafe {
            match self.size {
                TileSize::F2 => self.all::<F2, 4, 2>(lead, views, images, scratch),
                TileSize::F4 => self.all::<F4, 6, 4>(lead, views, images, scratch),
            }
        }
    }

    /// # Safety
    /// As of `run`.
    unsafe fn all<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        lead: &Lead<'_>,
        views: (View, Option<View>, View),
        images: usize,
        scratch: &Scratch,
    ) {
        let cut = self.cut(images, scratch.threads);
        let total = images * self.tiles_of_image();
        let [v_pitch, m_pitch] = self.pitches(cut.tiles);
        let chunk = |number: usize, slot: usize| {
            let tiles = share(total, number, cut.chunks);
            // SAFETY: inside of the scratch memory, which has room for as many chunks as there are slots.
            let v = unsafe { scratch.start.add(slot * self.chunk_lines(cut.tiles)) };
            Chunk {
                first: tiles.start,
                tiles: tiles.len(),
                pitch: cut.tiles,
                v,
                v_pitch,
                // SAFETY: as above.
                m: unsafe { v.add(A * A * v_pitch) },
                m_pitch,
            }
        };
        if cut.private {
            scratch.for_each(lead, cut.chunks, &|slot, number| {
                let alone = |tasks: usize, task: &(dyn Fn(usize) + Sync)| {
                    (0..tasks).for_each(task);
                };
                // SAFETY: by the caller's promise; each chunk has its own tiles, each slot its own memory.
                unsafe { self.phases::<S, A, M>(&alone, 1, chunk(number, slot), views) };
            });
        } else {
            for number in 0..cut.chunks {
                let together =
                    |tasks: usize, task: &(dyn Fn(usize) + Sync)| lead.for_each(tasks, task);
                // SAFETY: by the caller's promise.
                unsafe {
                    self.phases::<S, A, M>(&together, scratch.threads, chunk(number, 0), views);
                }
            }
        }
    }

    /// The three phases of a chunk, each as tasks that `for_each` gives to threads.
    ///
    /// # Safety
    /// As of `run`, for this chunk's tiles and memory.
    unsafe fn phases<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        for_each: ForEach<'_>,
        threads: usize,
        chunk: Chunk,
        (input, residual, output): (View, Option<View>, View),
    ) {
        let grid = Grid::<A, M>::new(self.about.output);
        // Enough tasks of a phase for threads to end together.
        let parts = |units: usize, most: usize| match threads {
            1 => 1,
            _ => (4 * threads).div_ceil(units).clamp(1, most),
        };
        let pieces = parts(self.input_blocks, chunk.tiles);
        for_each(self.input_blocks * pieces, &|task| {
            self.vectorized.run(Forward::<S, A, M> {
                scheme: PhantomData,
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                block: task / pieces,
                input,
            });
        });
        let k = [1, 2].map(|vectors| self.k_blocks(chunk, vectors));
        let k = k.each_ref().map(|k| &k[..self.input_blocks]);
        let pieces = parts(A * A, self.panels.len());
        for_each(A * A * pieces, &|task| {
            for panel in share(self.panels.len(), task % pieces, pieces) {
                // SAFETY: the transformed inputs are complete, and no other task has this panel at this position.
                unsafe { self.products(chunk, task / pieces, self.panels[panel], &k) };
            }
        });
        let pieces = parts(self.output_blocks, chunk.tiles);
        for_each(self.output_blocks * pieces, &|task| {
            let block = task / pieces;
            self.vectorized.run(Inverse::<S, A, M> {
                scheme: PhantomData,
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                block,
                bias: self.bias[block].0,
                residual,
                relu: self.about.relu,
                output,
            });
        });
    }

    /// The sum over channels; only the first `input_blocks` count. On the stack, for its distances depend on the batch.
    fn k_blocks(&self, chunk: Chunk, vectors: usize) -> [KBlock; MAX_BLOCKS] {
        let mut k = [KBlock { a: 0, b: 0 }; MAX_BLOCKS];
        for (i, k) in k[..self.input_blocks].iter_mut().enumerate() {
            *k = KBlock {
                a: (i * chunk.pitch) as u32,
                b: (i * 16 * vectors) as u32,
            };
        }
        k
    }

    /// Sums of a panel at a position for all tiles of a chunk.
    ///
    /// # Safety
    /// The chunk's memory is there, and nobody else uses these sums.
    unsafe fn products(&self, chunk: Chunk, position: usize, panel: Panel, k: &[&[KBlock]; 2]) {
        let weights = position * self.weights_pitch() + panel.weights;
        let runs = chunk.tiles.div_ceil(self.max_pixels);
        for run in 0..runs {
            let tiles = share(chunk.tiles, run, runs);
            // SAFETY: inside of the chunk's memory and of the weights.
            unsafe {
                let tile = Tile {
                    a: chunk.v.add(position * chunk.v_pitch + tiles.start),
                    k: k[panel.vectors - 1],
                    b: self.weights.as_ptr().add(weights),
                    bias: ZEROS.as_ptr(),
                    residual: std::ptr::null(),
                    residual_stride: 0,
                    out: chunk
                        .m
                        .add(position * chunk.m_pitch + panel.first * chunk.pitch + tiles.start),
                    out_stride: chunk.pitch,
                    relu: false,
                };
                (self.kernels[panel.vectors - 1][tiles.len() - 1])(&tile);
            }
        }
    }
}

static ZEROS: [Line; 2] = [Line::ZERO; 2];
