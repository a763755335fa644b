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
#[cfg(test)]
mod sample;
mod tiles;

use self::hardware::Hardware;
use self::tiles::Tiles;
use super::avx512_bf16::finish;
use super::line::Line;
use super::runs::{GROUP, Runs, RunsFn};
use super::tile::{Store, Tile};

/// Forgets this thread's tiles, so that the system no longer saves 8 KiB of them when it switches threads, and other
/// code may use tiles; after the last call of a kernel, on each thread that made one.
pub(super) fn release() {
    hardware::release();
}

/// The kernel for `vectors` (1 or 2) of 16 outputs; bfloat16 can only be stored with 2.
///
/// Whoever calls it has [`Bf16Unit::Amx`](super::Bf16Unit), runs no other code that uses tiles on the same thread until
/// [`release`], and calls that at the end.
pub(super) fn kernel(vectors: usize, store: Store) -> Option<RunsFn> {
    const F32: u8 = Store::F32 as u8;
    const BF16: u8 = Store::Bf16 as u8;
    const SPLIT: u8 = Store::Split as u8;
    Some(match (vectors, store) {
        (1, Store::F32) => runs::<1, F32>,
        (2, Store::F32) => runs::<2, F32>,
        (2, Store::Bf16) => runs::<2, BF16>,
        (2, Store::Split) => runs::<2, SPLIT>,
        _ => return None,
    })
}

/// # Safety
/// As of [`RunsFn`].
unsafe fn runs<const VECTORS: usize, const STORE: u8>(tile: &Tile<'_>, runs: &Runs<'_>) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if runs.has_second() {
            multiply_and_finish::<Hardware, 2, VECTORS, STORE>(&mut Hardware, tile, runs);
        } else {
            multiply_and_finish::<Hardware, 1, VECTORS, STORE>(&mut Hardware, tile, runs);
        }
    }
}

/// One call in `GROUPS` groups of pixels.
///
/// # Safety
/// As of [`RunsFn`] and [`Tiles`]; no run is beyond the groups, and `STORE` is `F32` or `VECTORS` 2.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn multiply_and_finish<
    T: Tiles,
    const GROUPS: usize,
    const VECTORS: usize,
    const STORE: u8,
>(
    tiles: &mut T,
    tile: &Tile<'_>,
    runs: &Runs<'_>,
) {
    let mut sums = MaybeUninit::<[Line; 4 * GROUP]>::uninit();
    let sums = sums.as_mut_ptr().cast::<Line>();
    // SAFETY: `sums` has room for the lines of all rows, the rest is the caller's promise.
    unsafe { multiply::<T, GROUPS, VECTORS>(tiles, tile, runs, sums) };
    for run in runs.runs {
        for p in 0..usize::from(run.pixels) {
            // SAFETY: `multiply` wrote a line for each vector of each row.
            let line = |v: usize| unsafe { sums.add((usize::from(run.row) + p) * VECTORS + v) };
            // SAFETY: as above; lines are aligned.
            let mut sum = [unsafe { _mm512_load_ps(line(0).cast()) }; VECTORS];
            for (v, sum) in sum.iter_mut().enumerate().skip(1) {
                // SAFETY: as above.
                *sum = unsafe { _mm512_load_ps(line(v).cast()) };
            }
            let at = [run.out as usize + p, run.residual as usize + p];
            // SAFETY: by the caller's promise.
            unsafe { finish::<VECTORS, STORE>(tile, at, sum) };
        }
    }
}

/// The sums of all rows, `[row][vector]`, the second group's from row 16 on. Each load stands before the first product
/// that wants it, so that products of earlier ones run meanwhile.
///
/// # Safety
/// As of [`multiply_and_finish`]; `sums` has as many lines.
#[inline(always)]
unsafe fn multiply<T: Tiles, const GROUPS: usize, const VECTORS: usize>(
    tiles: &mut T,
    tile: &Tile<'_>,
    runs: &Runs<'_>,
    sums: *mut Line,
) {
    // SAFETY: for all of it: the tiles are shaped first; a step of zero lines loads the same line of bias into each
    // row; a group's rows are lines that the input has, the weights' rows 16 lines of a block of 16 × VECTORS.
    unsafe {
        tiles.shape(runs.rows);
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
            tiles.load::<4>(a, runs.step);
            tiles.load::<6>(b, VECTORS);
            tiles.dot::<0, 4, 6>();
            if VECTORS == 2 {
                tiles.load::<7>(b.add(1), VECTORS);
                tiles.dot::<1, 4, 7>();
            }
            if GROUPS == 2 {
                tiles.load::<5>(a.add(runs.second), runs.step);
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
    use super::super::tile::Release;
    use super::model::Model;
    use super::sample;
    use super::*;

    /// The choice of [`kernel`], on the model.
    fn on_model(sample: &Sample, model: &mut Model, runs: &Runs<'_>) -> Vec<Line> {
        const F32: u8 = Store::F32 as u8;
        const BF16: u8 = Store::Bf16 as u8;
        const SPLIT: u8 = Store::Split as u8;
        let run = match (runs.has_second(), sample.vectors, sample.store) {
            (false, 1, _) => multiply_and_finish::<Model, 1, 1, F32>,
            (true, 1, _) => multiply_and_finish::<Model, 2, 1, F32>,
            (false, _, Store::F32) => multiply_and_finish::<Model, 1, 2, F32>,
            (true, _, Store::F32) => multiply_and_finish::<Model, 2, 2, F32>,
            (false, _, Store::Bf16) => multiply_and_finish::<Model, 1, 2, BF16>,
            (true, _, Store::Bf16) => multiply_and_finish::<Model, 2, 2, BF16>,
            (false, _, Store::Split) => multiply_and_finish::<Model, 1, 2, SPLIT>,
            (true, _, Store::Split) => multiply_and_finish::<Model, 2, 2, SPLIT>,
        };
        // SAFETY: the caller asked whether the CPU has AVX512-BF16; the model needs no tiles, and a sample is whole.
        sample.run(|tile| unsafe { run(model, tile, runs) })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn modelled_tiles_give_the_bits_of_the_oracle(sample in Sample::any(2 * GROUP)) {
            if Bf16Unit::Avx512.is_supported() {
                let runs = [sample::neighbours(sample.pixels)];
                let got = on_model(&sample, &mut Model::new(), &sample::side_by_side(&sample, &runs));
                sample.check(&got, Bf16Unit::Amx)?;
            }
        }

        #[test]
        fn runs_of_pixels_give_the_bits_of_the_oracle(split in sample::split()) {
            if Bf16Unit::Avx512.is_supported() {
                let got = on_model(&split.sample, &mut Model::new(), &split.runs());
                split.check(&got)?;
            }
        }

        #[test]
        fn runs_of_pixels_in_tiles_give_the_bits_of_the_oracle(split in sample::split()) {
            if Bf16Unit::Amx.is_supported() {
                let kernel = kernel(split.sample.vectors, split.sample.store).unwrap();
                // SAFETY: the CPU and the system let us, and a sample's tile is whole.
                let got = split.sample.run(|tile| unsafe { kernel(tile, &split.runs()) });
                release();
                split.check(&got)?;
            }
        }

        #[test]
        fn tiles_give_the_bits_of_the_oracle(samples in prop::collection::vec(Sample::any(2 * GROUP), 1..4)) {
            if Bf16Unit::Amx.is_supported() {
                for sample in samples {
                    let kernel = kernel(sample.vectors, sample.store).unwrap();
                    let runs = [sample::neighbours(sample.pixels)];
                    let runs = sample::side_by_side(&sample, &runs);
                    // SAFETY: the CPU and the system let us, and a sample's tile is whole.
                    let got = sample.run(|tile| unsafe { kernel(tile, &runs) });
                    sample.check(&got, Bf16Unit::Amx)?;
                }
                release();
            }
        }
    }

    #[test]
    fn kernels_exist_for_what_they_are_written_for() {
        for store in [Store::F32, Store::Bf16, Store::Split] {
            assert!(kernel(2, store).is_some());
            assert_eq!(kernel(1, store).is_some(), store == Store::F32);
            assert!(kernel(3, store).is_none());
        }
    }

    #[test]
    fn a_panic_leaves_no_tiles_behind() {
        if Bf16Unit::Amx.is_supported() {
            let configure_and_panic = || {
                let _release = Release;
                // SAFETY: the CPU and the system let us.
                unsafe { Hardware.shape([1, 1]) };
                assert!(!hardware::is_configured(), "as a task would");
            };
            assert!(std::panic::catch_unwind(configure_and_panic).is_err());
            assert!(!hardware::is_configured());
        }
    }
}
