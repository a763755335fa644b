//! 3×3 convolution by Winograd's transform: products of transformed tiles in place of sums over windows.
//!
//! Called by the program's steps where it is faster than the direct sum. A tile of `M × M` outputs is computed from `A
//! × A` inputs, `A = M + 2`, in three phases: forward transform, one matrix product over channels for each of the `A²`
//! positions, inverse transform. F(4×4) needs a quarter of the direct algorithm's multiplications, F(2×2) four ninths;
//! transformed weights are four times as large, or 16/9 times.
//!
//! Transforms compute in single precision, whatever the values are stored in. So do the products, or they multiply
//! bfloat16. Then F(2×2), whose transforms are sums and differences, loses 2.3 times what the direct sum loses by
//! rounding its weights (root mean square, normal data), before both round their outputs; F(4×4) would lose 7 times
//! that, and take 0.39 ms instead of 0.62 ms at 56×56, 0.48 ms instead of 0.52 ms at 14×14.
//!
//! Values between the phases lie in scratch memory, `[position][block][tile]`, so that tiles are the micro-kernel's
//! neighbouring pixels. Tiles of a batch are worked off in chunks that fit into the second-level cache. A tile's bits
//! depend on its own inputs alone, never on chunk, batch or thread.

pub(crate) mod chunk;
mod products;
pub(crate) mod scheme;
#[cfg(test)]
mod tests;
pub(crate) mod transform;
mod weights;

use std::marker::PhantomData;
use std::ops::Range;

use self::chunk::{CHUNK_TILES, Chunk, ForEach, parts};
use self::scheme::{F2, F4, Scheme};
use self::transform::{Forward, Grid, Inverse};
use super::plan;
use super::shape::{ConvShape, ConvUse};
use crate::Vectorized;
use crate::nn::arena::memory::Lines;
use crate::nn::arena::scratch::Scratch;
use crate::nn::arena::scratch::share;
use crate::nn::arithmetic::{Arithmetic, Precision, Unit};
use crate::nn::layout::line::{Line, View};
use crate::nn::layout::store::Store;
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::TileFn;
use crate::nn::team::Lead;

/// Most blocks of input channels.
const MAX_BLOCKS: usize = 256;

/// The size of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileSize {
    /// 2×2 outputs.
    F2,
    /// 4×4 outputs.
    F4,
}

impl TileSize {
    /// The number of positions of a tile, and the rows (as many as columns) of its outputs.
    fn sizes(self) -> (usize, usize) {
        match self {
            TileSize::F2 => (16, 2),
            TileSize::F4 => (36, 4),
        }
    }
}

/// A 3×3 convolution of stride 1 with one pixel of zeros around, ready to run.
#[derive(Debug)]
pub(crate) struct Winograd {
    size: TileSize,
    /// Transformed weights, `[position][panel][block][k][vector]`.
    weights: Lines,
    /// How inputs, outputs and the residual are stored.
    store: Store,
    /// Whether transformed inputs and weights are rounded to bfloat16.
    narrow: bool,
    /// The bias, one line for each vector of 16 outputs.
    bias: Box<[Line]>,
    panels: Vec<Panel>,
    /// Lines of a tile's transformed inputs at one position: vectors of 16 channels, or 32 channels as bfloat16.
    input_blocks: usize,
    /// Vectors of 16 output channels.
    output_blocks: usize,
    about: ConvUse,
    /// Kernels by pixels - 1, for one vector and for two.
    kernels: [Vec<TileFn>; 2],
    max_pixels: usize,
    vectorized: Vectorized,
    /// Most bytes of a chunk, and the tiles that it may have whatever they take.
    chunk: (usize, usize),
}

/// One or two vectors of outputs, and the lines before their weights at each position.
#[derive(Debug, Clone, Copy)]
struct Panel {
    first: usize,
    vectors: usize,
    weights: usize,
}

impl Winograd {
    /// Transforms `weights`, `[outputs, inputs, 3, 3]`, for products of precision `products`.
    ///
    /// None if the convolution is another than 3×3 with stride 1, padding 1 and one group, its output is stored in
    /// another way than its input, or nothing multiplies so.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        products: Precision,
        size: TileSize,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Winograd> {
        let store = arithmetic.store();
        let narrow = products == Precision::Bf16;
        let multiplies = match products {
            Precision::F32 => true,
            Precision::Bf16 => store == Store::Bf16 && arithmetic.unit() == Unit::Avx512Bf16,
            Precision::Bf16x3 | Precision::Int8 => false,
        };
        let fits = about.store == store
            && multiplies
            && shape.kernel == [3, 3]
            && shape.stride == [1, 1]
            && shape.pad == [1, 1]
            && shape.groups == 1
            && shape.inputs <= 16 * MAX_BLOCKS
            && [about.input.height, about.input.width] == [about.output.height, about.output.width];
        if !fits {
            return None;
        }
        let arithmetic = arithmetic.with_precision(products);
        let kernel = MicroKernels::new(arithmetic, Store::F32);
        let kernels = [1, 2].map(|vectors| {
            (1..=kernel.max_pixels)
                .map_while(|pixels| kernel.function(pixels, 1, vectors))
                .collect::<Vec<_>>()
        });
        if kernels[kernel.vectors - 1].is_empty() || kernels[0].is_empty() {
            return None;
        }
        let per_block = store.vectors_per_block();
        let vectors = |channels: usize| channels.div_ceil(16 * per_block) * per_block;
        let input_blocks = vectors(shape.inputs) / if narrow { 2 } else { 1 };
        let output_blocks = vectors(shape.outputs);
        let panels = (0..output_blocks).step_by(kernel.vectors);
        let panels = panels.map(|first| Panel {
            first,
            vectors: kernel.vectors.min(output_blocks - first),
            weights: first * input_blocks * 16,
        });
        let mut winograd = Winograd {
            size,
            weights: Lines::zeros(0),
            store,
            narrow,
            bias: Box::default(),
            panels: panels.collect(),
            input_blocks,
            output_blocks,
            about,
            kernels,
            max_pixels: kernel.max_pixels,
            vectorized: arithmetic.vectorized(),
            chunk: (plan::winograd_chunk_bytes(arithmetic), CHUNK_TILES),
        };
        let line = |vector| {
            let (first, step) = winograd.channels(vector);
            let bias = |lane| bias.get(first + lane * step).copied();
            Line::from_f32(std::array::from_fn(|lane| bias(lane).unwrap_or(0.0)))
        };
        winograd.bias = (0..output_blocks).map(line).collect();
        winograd.weights = match size {
            TileSize::F2 => winograd.pack::<F2, 4, 2>(shape, weights),
            TileSize::F4 => winograd.pack::<F4, 6, 4>(shape, weights),
        };
        Some(winograd)
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.weights)
    }

    /// The first channel of a vector of 16, and the distance from each to the next: that of `Format::channel`.
    fn channels(&self, vector: usize) -> (usize, usize) {
        let per_block = self.store.vectors_per_block();
        let first = vector / per_block * 16 * per_block + vector % per_block;
        (first, per_block)
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output or the scratch memory meanwhile, which is large enough. Borders of the input are zeros.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        input: View,
        residual: Option<View>,
        output: View,
        images: usize,
        scratch: &Scratch,
    ) {
        let views = (input, residual, output);
        // SAFETY: the caller promises views of the geometry given to `new`, and output and scratch memory to itself.
        unsafe {
            match self.size {
                TileSize::F2 => self.all::<F2, 4, 2>(lead, views, images, scratch),
                TileSize::F4 => self.all::<F4, 6, 4>(lead, views, images, scratch),
            }
        }
    }

    /// # Safety
    /// The conditions of `run` hold.
    unsafe fn all<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        lead: &Lead<'_>,
        views: (View, Option<View>, View),
        images: usize,
        scratch: &Scratch,
    ) {
        let cut = self.cut(images, scratch.threads);
        let [v_pitch, m_pitch] = self.pitches(cut.tiles);
        let chunk = |tiles: Range<usize>, slot: usize| {
            // SAFETY: inside of the scratch memory, which has room for as many chunks as there are slots.
            let v = unsafe { scratch.start.add(slot * self.chunk_lines(cut.tiles)) };
            Chunk {
                first: tiles.start,
                tiles: tiles.len(),
                pitch: cut.tiles,
                v,
                v_pitch,
                // SAFETY: the sums lie behind the transformed inputs in the slot's memory.
                m: unsafe { v.add(A * A * v_pitch) },
                m_pitch,
            }
        };
        cut.for_each(lead, scratch, &|for_each, threads, tiles, slot| {
            // SAFETY: the caller promises the views and the memory; each chunk has its own tiles, each slot its own
            // memory.
            unsafe { self.phases::<S, A, M>(for_each, threads, chunk(tiles, slot), views) };
        });
    }

    /// The three phases of a chunk, each as tasks that `for_each` gives to threads.
    ///
    /// # Safety
    /// The conditions of `run` hold, for this chunk's tiles and memory.
    unsafe fn phases<S: Scheme<A, M>, const A: usize, const M: usize>(
        &self,
        for_each: ForEach<'_>,
        threads: usize,
        chunk: Chunk,
        (input, residual, output): (View, Option<View>, View),
    ) {
        let grid = Grid::<A, M>::new(self.about.output);
        let per_block = self.store.vectors_per_block();
        let blocks = match self.narrow {
            true => self.input_blocks,
            false => self.input_blocks / per_block,
        };
        let pieces = parts(threads, blocks, chunk.tiles);
        for_each(blocks * pieces, &|task| {
            let forward = Forward::<S, A, M> {
                scheme: PhantomData,
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                block: task / pieces,
                narrow: self.narrow,
                input,
            };
            // SAFETY: by the caller's promise about input and memory; no other task has this block and these tiles.
            unsafe { transform::run(self.vectorized, self.store, forward) };
        });
        let k = [1, 2].map(|vectors| self.k_blocks(chunk, vectors));
        let k = k.each_ref().map(|k| &k[..self.input_blocks]);
        let pieces = parts(threads, A * A, self.panels.len());
        for_each(A * A * pieces, &|task| {
            for panel in share(self.panels.len(), task % pieces, pieces) {
                // SAFETY: the transformed inputs are complete, and no other task has this panel at this position.
                unsafe { self.products(chunk, task / pieces, self.panels[panel], &k) };
            }
        });
        let blocks = self.output_blocks / per_block;
        let pieces = parts(threads, blocks, chunk.tiles);
        for_each(blocks * pieces, &|task| {
            let block = task / pieces;
            let inverse = Inverse::<S, A, M> {
                scheme: PhantomData,
                grid,
                chunk,
                tiles: share(chunk.tiles, task % pieces, pieces),
                block,
                bias: &self.bias[block * per_block..][..per_block],
                residual,
                relu: self.about.relu,
                most: self.about.most,
                output,
            };
            // SAFETY: by the caller's promise about residual and output; the sums are complete, and no other task has
            // this block and these tiles.
            unsafe { transform::run(self.vectorized, self.store, inverse) };
        });
    }
}
