//! Sums of words over the channels at each position, by `vpmaddwd`.

use core::arch::x86_64::*;

use crate::nn::int8::avx2::load;
use crate::nn::layout::line::Line;

/// The most tiles of one call: twelve registers of sums, two of weights, one of the input, one of products.
pub(super) const MAX_TILES: usize = 6;

/// Pairs of words of a block of inputs.
const BLOCK_PAIRS: usize = 32;

/// Some tiles times a panel, at one position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Products {
    /// The first tile's words of the first block, two lines a tile.
    pub(super) a: *const Line,
    /// Lines from one block to the next.
    pub(super) pitch: usize,
    /// Pairs of inputs.
    pub(super) pairs: usize,
    /// Weights, `[half][pair]`.
    pub(super) b: *const Line,
    /// The first tile's sums, `[tile][half]`.
    pub(super) out: *mut Line,
}

impl Products {
    /// Computes the sums of `tiles` tiles.
    ///
    /// # Panics
    /// If `tiles` is more than [`MAX_TILES`], or zero.
    ///
    /// # Safety
    /// The CPU has AVX2; all that this points to is there for `tiles` tiles, and nobody else uses the sums.
    pub(super) unsafe fn run(&self, tiles: usize) {
        // SAFETY: the caller promises AVX2, and all that this points to for `tiles` tiles.
        unsafe {
            match tiles {
                1 => self.of::<1>(),
                2 => self.of::<2>(),
                3 => self.of::<3>(),
                4 => self.of::<4>(),
                5 => self.of::<5>(),
                6 => self.of::<6>(),
                _ => panic!("{tiles} tiles, 1 to {MAX_TILES} are possible"),
            }
        }
    }

    /// # Safety
    /// The conditions of `run` hold.
    #[target_feature(enable = "avx2")]
    unsafe fn of<const TILES: usize>(&self) {
        let mut b = self.b;
        for half in 0..2 {
            let mut sums = [[_mm256_setzero_si256(); 2]; TILES];
            let mut a = self.a;
            let mut left = self.pairs;
            while left > 0 {
                let pairs = left.min(BLOCK_PAIRS);
                for i in 0..pairs {
                    // SAFETY: there is a line of weights for each pair of either half.
                    let weights = unsafe { [load(b, 0), load(b, 1)] };
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: inside of the tile's two lines.
                        let pair = unsafe { *a.add(2 * tile).cast::<i32>().add(i) };
                        let pair = _mm256_set1_epi32(pair);
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, weights));
                        }
                    }
                    b = b.wrapping_add(1);
                }
                a = a.wrapping_add(self.pitch);
                left -= pairs;
            }
            for (tile, sums) in sums.into_iter().enumerate() {
                // SAFETY: the tile's line of this half.
                unsafe {
                    let to = self.out.add(2 * tile + half).cast::<__m256i>();
                    _mm256_store_si256(to, sums[0]);
                    _mm256_store_si256(to.add(1), sums[1]);
                }
            }
        }
    }
}
