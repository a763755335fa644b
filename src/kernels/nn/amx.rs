//! The bfloat16 micro-kernel with tiles: up to 32 pixels times 32 outputs in four accumulators.
//!
//! A pixel's line of 32 channels is a row of one operand, 16 pairs of channels times 16 outputs of weights are the
//! other, and both are read where they lie. The sums leave the tiles through a few lines on the stack, from which the
//! vectors' epilogue takes them.
//!
//! # Speed
//! For Sapphire Rapids: a product of tiles takes a cycle for each of its pixels, but the next one into the same
//! accumulator can only begin after about 52, so a call for fewer than 26 pixels waits; loads (a cycle for two rows)
//! hide behind four products and just about behind two. Loading a configuration takes hundreds of cycles, so a thread
//! keeps its last one, and calls for the same number of pixels should follow each other. Source: Intel's Optimization
//! Reference Manual, chapter on AMX.

use core::arch::x86_64::_mm512_load_ps;
use std::mem::MaybeUninit;

mod hardware;
#[cfg(test)]
mod model;

use self::hardware::Hardware;
pub(super) use self::hardware::release;
use super::avx512_bf16::finish;
use super::line::Line;
use super::tile::{Store, Tile, TileFn};

/// The most pixels of one call: two tiles of 16 rows.
pub(super) const MAX_PIXELS: usize = 32;

/// Eight matrices of 16 rows of a line, and what the algorithm does with them.
///
/// Tiles 0 to 3 hold sums: number `2 * group + vector` those of 16 pixels and a vector of outputs; 4 and 5 the pixels of
/// either group; 6 and 7 the weights of either vector.
trait Tiles {
    /// Gives the tiles of each group of pixels so many rows, 1 to 16.
    ///
    /// # Safety
    /// Of all functions here: the CPU has tiles, the system lets this process use them, and AVX512-BF16.
    unsafe fn shape(&mut self, pixels: [u8; 2]);

    /// Loads the tile's rows, `step` lines apart.
    ///
    /// # Safety
    /// The lines are there, and [`Tiles::shape`] was called.
    unsafe fn load<const TILE: u8>(&mut self, from: *const Line, step: usize);

    /// Adds the products of tiles `A` and `B` to `SUM`.
    ///
    /// # Safety
    /// [`Tiles::shape`] was called.
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>(&mut self);

    /// Stores the tile's rows, `step` lines apart.
    ///
    /// # Safety
    /// The lines are there and nobody else uses them, and [`Tiles::shape`] was called.
    unsafe fn store<const TILE: u8>(&mut self, to: *mut Line, step: usize);
}

/// The kernel for `pixels` (1 to [`MAX_PIXELS`]) that lie `stride` (1 or 2) lines apart, and `vectors` (1 or 2) of 16
/// outputs; bfloat16 can only be stored with 2.
///
/// Whoever calls it has [`Bf16Unit::Amx`](super::Bf16Unit), runs no other code that uses tiles on the same thread until
/// [`release`], and calls that at the end.
pub(super) fn kernel(pixels: usize, stride: usize, vectors: usize, store: Store) -> Option<TileFn> {
    macro_rules! table {
        ($stride:literal, $vectors:literal, $store:ident) => {
            table!($stride, $vectors, $store; 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
                17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
        };
        ($stride:literal, $vectors:literal, $store:ident; $($pixels:literal)*) => {
            [$(tile::<$pixels, $stride, $vectors, { Store::$store as u8 }> as TileFn),*].as_slice()
        };
    }
    let table = match (stride, vectors, store) {
        (1, 1, Store::F32) => table!(1, 1, F32),
        (2, 1, Store::F32) => table!(2, 1, F32),
        (1, 2, Store::F32) => table!(1, 2, F32),
        (2, 2, Store::F32) => table!(2, 2, F32),
        (1, 2, Store::Bf16) => table!(1, 2, Bf16),
        (2, 2, Store::Bf16) => table!(2, 2, Bf16),
        (1, 2, Store::Split) => table!(1, 2, Split),
        (2, 2, Store::Split) => table!(2, 2, Split),
        _ => return None,
    };
    table.get(pixels.checked_sub(1)?).copied()
}

/// # Safety
/// As of [`TileFn`].
unsafe fn tile<const PIXELS: usize, const STRIDE: usize, const VECTORS: usize, const STORE: u8>(
    tile: &Tile<'_>,
) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if PIXELS > 16 {
            run::<Hardware, 2, VECTORS, STORE>(&mut Hardware, tile, PIXELS, STRIDE);
        } else {
            run::<Hardware, 1, VECTORS, STORE>(&mut Hardware, tile, PIXELS, STRIDE);
        }
    }
}

/// One call in `GROUPS` groups of pixels, all but the last of 16.
///
/// # Safety
/// As of [`TileFn`] and [`Tiles`]; `pixels` fit the groups, and `STORE` is `F32` or `VECTORS` 2.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn run<T: Tiles, const GROUPS: usize, const VECTORS: usize, const STORE: u8>(
    tiles: &mut T,
    tile: &Tile<'_>,
    pixels: usize,
    stride: usize,
) {
    let mut sums = MaybeUninit::<[Line; 2 * MAX_PIXELS]>::uninit();
    let sums = sums.as_mut_ptr().cast::<Line>();
    // SAFETY: `sums` has room for the pixels' lines, the rest is the caller's promise.
    unsafe { multiply::<T, GROUPS, VECTORS>(tiles, tile, [pixels, stride], sums) };
    for p in 0..pixels {
        // SAFETY: `multiply` wrote a line for each vector of each pixel.
        let line = |v: usize| unsafe { sums.add(p * VECTORS + v) };
        // SAFETY: as above; lines are aligned.
        let mut sum = [unsafe { _mm512_load_ps(line(0).cast()) }; VECTORS];
        for (v, sum) in sum.iter_mut().enumerate().skip(1) {
            // SAFETY: as above.
            *sum = unsafe { _mm512_load_ps(line(v).cast()) };
        }
        // SAFETY: by the caller's promise.
        unsafe { finish::<VECTORS, STORE>(tile, p, sum) };
    }
}

/// The sums of a tile, `[pixel][vector]`. Each load stands before the first product that wants it, so that products of
/// earlier ones run meanwhile.
///
/// # Safety
/// As of [`run`]; `sums` has as many lines.
#[inline(always)]
unsafe fn multiply<T: Tiles, const GROUPS: usize, const VECTORS: usize>(
    tiles: &mut T,
    tile: &Tile<'_>,
    [pixels, stride]: [usize; 2],
    sums: *mut Line,
) {
    let first = if GROUPS == 2 { 16 } else { pixels };
    let second = if GROUPS == 2 { pixels - 16 } else { 16 };
    // SAFETY: for all of it: the tiles are shaped first; a step of zero lines loads the same line of bias into each row;
    // a group's rows are pixels of the caller's, the weights' rows 16 lines of a block of 16 × VECTORS.
    unsafe {
        tiles.shape([first as u8, second as u8]);
        tiles.load::<0>(tile.bias, 0);
        if VECTORS == 2 {
            tiles.load::<1>(tile.bias.add(1), 0);
        }
        if GROUPS == 2 {
            tiles.load::<2>(tile.bias, 0);
            if VECTORS == 2 {
                tiles.load::<3>(tile.bias.add(1), 0);
            }
        }
        for k in tile.k {
            let (a, b) = (tile.a.add(k.a as usize), tile.b.add(k.b as usize));
            tiles.load::<4>(a, stride);
            tiles.load::<6>(b, VECTORS);
            tiles.dot::<0, 4, 6>();
            if VECTORS == 2 {
                tiles.load::<7>(b.add(1), VECTORS);
                tiles.dot::<1, 4, 7>();
            }
            if GROUPS == 2 {
                tiles.load::<5>(a.add(16 * stride), stride);
                tiles.dot::<2, 5, 6>();
                if VECTORS == 2 {
                    tiles.dot::<3, 5, 7>();
                }
            }
        }
        tiles.store::<0>(sums, VECTORS);
        if VECTORS == 2 {
            tiles.store::<1>(sums.add(1), VECTORS);
        }
        if GROUPS == 2 {
            let sums = sums.add(16 * VECTORS);
            tiles.store::<2>(sums, VECTORS);
            if VECTORS == 2 {
                tiles.store::<3>(sums.add(1), VECTORS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::features::Bf16Unit;
    use super::super::sample::Sample;
    use super::model::Model;
    use super::*;

    /// The same choice as `tile`, on the model.
    fn on_model(sample: &Sample, model: &mut Model) -> Vec<Line> {
        const F32: u8 = Store::F32 as u8;
        const BF16: u8 = Store::Bf16 as u8;
        const SPLIT: u8 = Store::Split as u8;
        let run = match (sample.pixels > 16, sample.vectors, sample.store) {
            (false, 1, _) => run::<Model, 1, 1, F32>,
            (true, 1, _) => run::<Model, 2, 1, F32>,
            (false, _, Store::F32) => run::<Model, 1, 2, F32>,
            (true, _, Store::F32) => run::<Model, 2, 2, F32>,
            (false, _, Store::Bf16) => run::<Model, 1, 2, BF16>,
            (true, _, Store::Bf16) => run::<Model, 2, 2, BF16>,
            (false, _, Store::Split) => run::<Model, 1, 2, SPLIT>,
            (true, _, Store::Split) => run::<Model, 2, 2, SPLIT>,
        };
        // SAFETY: the caller asked whether the CPU has AVX512-BF16; the model needs no tiles, and a sample is whole.
        sample.run(|tile| unsafe { run(model, tile, sample.pixels, sample.stride) })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn modelled_tiles_give_the_bits_of_the_oracle(sample in Sample::any(MAX_PIXELS)) {
            if Bf16Unit::Avx512.is_supported() {
                let mut model = Model::new();
                let got = on_model(&sample, &mut model);
                sample.check(&got, Bf16Unit::Amx)?;
                prop_assert_eq!(model.pixels(), sample.pixels);
            }
        }

        #[test]
        fn tiles_give_the_bits_of_the_oracle(samples in prop::collection::vec(Sample::any(MAX_PIXELS), 1..4)) {
            if Bf16Unit::Amx.is_supported() {
                for sample in samples {
                    let kernel = kernel(sample.pixels, sample.stride, sample.vectors, sample.store).unwrap();
                    // SAFETY: the CPU and the system let us, and a sample's tile is whole.
                    let got = sample.run(|tile| unsafe { kernel(tile) });
                    sample.check(&got, Bf16Unit::Amx)?;
                }
                // SAFETY: as above.
                unsafe { release() };
            }
        }
    }

    #[test]
    fn kernels_exist_for_what_they_are_written_for() {
        for store in [Store::F32, Store::Bf16, Store::Split] {
            for pixels in 1..=MAX_PIXELS {
                for stride in [1, 2] {
                    assert!(kernel(pixels, stride, 2, store).is_some());
                    assert_eq!(
                        kernel(pixels, stride, 1, store).is_some(),
                        store == Store::F32
                    );
                }
            }
            assert!(kernel(0, 1, 2, store).is_none());
            assert!(kernel(MAX_PIXELS + 1, 1, 2, store).is_none());
            assert!(kernel(1, 3, 2, store).is_none());
        }
    }
}
