//! Sums over channels at each position: the micro-kernel over the tiles of a chunk.
//!
//! Called by `Winograd::run`, between the transforms.

use super::{Chunk, MAX_BLOCKS, Panel, Winograd, share};
use crate::nn::layout::line::Line;
use crate::nn::micro::tile::{KBlock, Tile};

impl Winograd {
    /// The K-blocks of the sum over channels, of which the first `input_blocks` count. On the stack, since distances
    /// depend on the batch.
    pub(crate) fn k_blocks(&self, chunk: Chunk, vectors: usize) -> [KBlock; MAX_BLOCKS] {
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
    pub(super) unsafe fn products(
        &self,
        chunk: Chunk,
        position: usize,
        panel: Panel,
        k: &[&[KBlock]; 2],
    ) {
        let weights = position * self.weights_pitch() + panel.weights;
        let calls = chunk.tiles.div_ceil(self.max_pixels);
        for call in 0..calls {
            let tiles = share(chunk.tiles, call, calls);
            // SAFETY: inside of the chunk's memory and of the weights.
            unsafe {
                let tile = Tile {
                    a: chunk.v.add(position * chunk.v_pitch + tiles.start),
                    step: 1,
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
                    most: f32::INFINITY,
                };
                (self.kernels[panel.vectors - 1][tiles.len() - 1])(&tile);
            }
        }
    }
}

static ZEROS: [Line; 2] = [Line::ZERO; 2];
