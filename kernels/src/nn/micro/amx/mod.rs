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

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch, _mm512_load_ps};
use std::mem::MaybeUninit;

mod hardware;
mod tiles;

pub(crate) use self::hardware::Hardware;
pub(crate) use self::tiles::Tiles;
use super::avx512_bf16::{Fused, finish};
use super::series::{GROUP, Series, SeriesFn};
use crate::nn::arithmetic::Precision;
use crate::nn::layout::line::Line;
use crate::nn::layout::store::Store;

/// Forgets this thread's tiles, so that the system no longer saves 8 KiB of them when it switches threads, and other
/// code may use tiles; after the last call of a kernel, on each thread that made one.
pub(crate) fn release() {
    hardware::release();
}

const F32: u8 = Store::F32 as u8;
const BF16: u8 = Store::Bf16 as u8;
const SPLIT: u8 = Store::Split as u8;

/// The kernel for `vectors` (1 or 2) of 16 outputs; bfloat16 can only be stored with 2.
///
/// Whoever calls it has [`Bf16Unit::Amx`](crate::Bf16Unit), runs no other code that uses tiles on the same thread until
/// [`release`], and calls that at the end.
pub(crate) fn kernel(vectors: usize, store: Store, precision: Precision) -> Option<SeriesFn> {
    Some(match (vectors, store, precision) {
        (1, Store::F32, Precision::Bf16) => series::<1, F32, false>,
        (2, Store::F32, Precision::Bf16) => series::<2, F32, false>,
        (2, Store::Bf16, Precision::Bf16) => series::<2, BF16, false>,
        (1, Store::F32, Precision::Bf16x3) => series::<1, F32, true>,
        (2, Store::F32, Precision::Bf16x3) => series::<2, F32, true>,
        (2, Store::Split, Precision::Bf16x3) => series::<2, SPLIT, true>,
        _ => return None,
    })
}

/// Multiplies tiles that never leave the registers `rounds` times, into four sums in turn, and tells how many
/// multiplications and additions that were. No operand is zero: products with zeros take less power, and so run at a
/// clock that a network never sees.
///
/// # Safety
/// The CPU and the system let us use tiles, and nobody else does on this thread.
pub(crate) unsafe fn spin(rounds: u64) -> u64 {
    let mut tiles = Hardware;
    // SAFETY: the caller promises tiles that nobody else uses on this thread.
    unsafe {
        // Pairs of bfloat16 near 1 and of either sign: the sums stay small.
        fill(&mut tiles, [0x3f81_bf7f, 0xbf80_3f80]);
        for _ in 0..rounds {
            tiles.dot::<0, 4, 6>();
            tiles.dot::<1, 4, 7>();
            tiles.dot::<2, 5, 6>();
            tiles.dot::<3, 5, 7>();
        }
    }
    release();
    // 16 pixels × 16 outputs × 32 products, a multiplication and an addition each.
    rounds * 4 * 16 * 16 * 32 * 2
}

/// Multiplies tiles of bytes, as [`spin`] does tiles of bfloat16.
///
/// # Safety
/// The conditions of [`spin`] hold, and the CPU multiplies bytes.
pub(crate) unsafe fn spin_bytes(rounds: u64) -> u64 {
    let mut tiles = Hardware;
    // SAFETY: the caller promises tiles that nobody else uses on this thread.
    unsafe {
        // Bytes of either sign where the operand is signed.
        fill(&mut tiles, [0x4d9b_a753, 0x65b2_399c]);
        for _ in 0..rounds {
            tiles.dot_bytes::<0, 4, 6>();
            tiles.dot_bytes::<1, 4, 7>();
            tiles.dot_bytes::<2, 5, 6>();
            tiles.dot_bytes::<3, 5, 7>();
        }
    }
    release();
    // 16 pixels × 16 outputs × 64 products, a multiplication and an addition each.
    rounds * 4 * 16 * 16 * 64 * 2
}

/// Fills the sums with zeros, and all lanes of an operand with the same word.
///
/// # Safety
/// The conditions of [`spin`] hold.
unsafe fn fill(tiles: &mut Hardware, lanes: [u32; 2]) {
    let lines = lanes.map(|bits| Line::from_words([bits; 16]));
    let zero = Line::ZERO;
    // SAFETY: the caller promises tiles; a step of zero bytes loads the same line into each row.
    unsafe {
        tiles.shape([16, 16]);
        tiles.load::<0>(&raw const zero, 0);
        tiles.load::<1>(&raw const zero, 0);
        tiles.load::<2>(&raw const zero, 0);
        tiles.load::<3>(&raw const zero, 0);
        tiles.load::<4>(&raw const lines[0], 0);
        tiles.load::<5>(&raw const lines[1], 0);
        tiles.load::<6>(&raw const lines[1], 0);
        tiles.load::<7>(&raw const lines[0], 0);
    }
}

/// # Safety
/// The conditions of [`SeriesFn`] hold.
unsafe fn series<const VECTORS: usize, const STORE: u8, const SHARED: bool>(series: &Series<'_>) {
    // SAFETY: the caller promises the conditions of `SeriesFn`, which are those of `all` on the CPU's tiles.
    unsafe { all::<Hardware, VECTORS, STORE, SHARED>(&mut Hardware, series) }
}

/// All calls of a series. Where `SHARED`, neighbouring K-blocks may have the same pixels or the same weights.
///
/// # Safety
/// The conditions of [`SeriesFn`] and [`Tiles`] hold; `STORE` is `F32` or `VECTORS` 2.
#[inline(always)]
unsafe fn all<T: Tiles, const VECTORS: usize, const STORE: u8, const SHARED: bool>(
    tiles: &mut T,
    series: &Series<'_>,
) {
    let fused = Fused::of(&series.tile);
    // SAFETY: the caller promises the conditions of `all`; a residual is there where `fused` says so.
    unsafe {
        match (fused.residual, fused.relu, fused.clip) {
            (false, false, _) => calls::<T, VECTORS, STORE, SHARED, false, 0>(tiles, series),
            (false, true, false) => calls::<T, VECTORS, STORE, SHARED, false, 1>(tiles, series),
            (false, true, true) => calls::<T, VECTORS, STORE, SHARED, false, 2>(tiles, series),
            (true, false, _) => calls::<T, VECTORS, STORE, SHARED, true, 0>(tiles, series),
            (true, true, false) => calls::<T, VECTORS, STORE, SHARED, true, 1>(tiles, series),
            (true, true, true) => calls::<T, VECTORS, STORE, SHARED, true, 2>(tiles, series),
        }
    }
}

/// # Safety
/// The conditions of [`all`] hold, and a residual is there if `RESIDUAL`. `BOUNDS` is the number of bounds of the
/// results: none, zero from below, or an upper one too.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn calls<
    T: Tiles,
    const VECTORS: usize,
    const STORE: u8,
    const SHARED: bool,
    const RESIDUAL: bool,
    const BOUNDS: u8,
>(
    tiles: &mut T,
    series: &Series<'_>,
) {
    let fused = Fused {
        residual: RESIDUAL,
        relu: BOUNDS > 0,
        clip: BOUNDS > 1,
    };
    let mut sums = MaybeUninit::<[Line; 4 * GROUP]>::uninit();
    let sums = sums.as_mut_ptr().cast::<Line>();
    let lines = 16 * VECTORS;
    for (number, call) in series.calls.iter().enumerate() {
        let [first, count] = call.segments.map(|n| n as usize);
        let segments = &series.segments[first..first + count];
        let (mut any, mut second) = (false, false);
        for segment in segments {
            let segment = segment.up_to(series.pixels);
            any |= segment.pixels > 0;
            second |= segment.is_in_second();
        }
        if !any {
            continue;
        }
        let prefetch = series.prefetch;
        let part = [0, 1].map(|n| (prefetch.first + number + n) * lines / prefetch.calls);
        let wanted = match prefetch.b.is_null() {
            true => (prefetch.b, 0),
            false => {
                let before = part[0] * (prefetch.lines / lines);
                (prefetch.b.wrapping_add(before), part[1] - part[0])
            }
        };
        // SAFETY: `sums` has room for the lines of all rows, the rest is the caller's promise.
        unsafe {
            if second {
                multiply::<T, 2, VECTORS, SHARED>(tiles, series, call.input, wanted, sums);
            } else {
                multiply::<T, 1, VECTORS, SHARED>(tiles, series, call.input, wanted, sums);
            }
        }
        for segment in segments {
            let segment = segment.up_to(series.pixels);
            for p in 0..usize::from(segment.pixels) {
                // SAFETY: `multiply` wrote a line for each vector of each row.
                let line = unsafe { sums.add((usize::from(segment.row) + p) * VECTORS) };
                // SAFETY: `multiply` wrote this line; lines are aligned.
                let mut sum = [unsafe { _mm512_load_ps(line.cast()) }; VECTORS];
                for (v, sum) in sum.iter_mut().enumerate().skip(1) {
                    // SAFETY: `multiply` wrote this vector's line too.
                    *sum = unsafe { _mm512_load_ps(line.add(v).cast()) };
                }
                let at = [segment.out as usize + p, segment.residual as usize + p];
                // SAFETY: the caller promises the segment's pixels of the output and of the residual.
                unsafe { finish::<VECTORS, STORE>(&series.tile, fused, at, sum) };
            }
        }
    }
}

/// The sums of all rows of a call in `GROUPS` groups, `[row][vector]`, the second group's from row 16 on. Each load
/// stands before the first product that wants it, so that products of earlier ones run meanwhile.
///
/// # Safety
/// The conditions of [`all`] hold; `sums` has a line for each vector of each row.
#[inline(always)]
unsafe fn multiply<T: Tiles, const GROUPS: usize, const VECTORS: usize, const SHARED: bool>(
    tiles: &mut T,
    series: &Series<'_>,
    input: u32,
    (mut prefetch, wanted): (*const Line, usize),
    sums: *mut Line,
) {
    let (tile, groups) = (&series.tile, &series.groups);
    // SAFETY: for all of it: the tiles are shaped first; a step of zero lines loads the same line of bias into each
    // row; a group's rows are lines that the input has, the weights' rows 16 lines of a block of 16 × VECTORS. What is
    // prefetched is only a hint and need not be there.
    unsafe {
        tiles.shape(groups.rows);
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
        let base = tile.a.byte_add(input as usize);
        let (mut last_a, mut last_b) = (u32::MAX, u32::MAX);
        for k in tile.k {
            let (a, b) = (base.add(k.a as usize), tile.b.add(k.b as usize));
            let (new_a, new_b) = (!SHARED || k.a != last_a, !SHARED || k.b != last_b);
            (last_a, last_b) = (k.a, k.b);
            if new_a {
                tiles.load::<4>(a, groups.step);
            }
            if new_b {
                tiles.load::<6>(b, VECTORS * size_of::<Line>());
                for _ in 0..wanted {
                    _mm_prefetch::<_MM_HINT_T1>(prefetch.cast());
                    prefetch = prefetch.wrapping_add(1);
                }
            }
            tiles.dot::<0, 4, 6>();
            if VECTORS == 2 {
                if new_b {
                    tiles.load::<7>(b.add(1), VECTORS * size_of::<Line>());
                }
                tiles.dot::<1, 4, 7>();
            }
            if GROUPS == 2 {
                if new_a {
                    tiles.load::<5>(a.byte_add(groups.second), groups.step);
                }
                tiles.dot::<2, 5, 6>();
                if VECTORS == 2 {
                    tiles.dot::<3, 5, 7>();
                }
            }
        }
        tiles.store::<0>(sums, VECTORS * size_of::<Line>());
        if VECTORS == 2 {
            tiles.store::<1>(sums.add(1), VECTORS * size_of::<Line>());
        }
        if GROUPS == 2 {
            let sums = sums.add(16 * VECTORS);
            tiles.store::<2>(sums, VECTORS * size_of::<Line>());
            if VECTORS == 2 {
                tiles.store::<3>(sums.add(1), VECTORS * size_of::<Line>());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::features::Bf16Unit;
    use crate::nn::micro::oracle::amx_model::Model;
    use crate::nn::micro::oracle::amx_sample::{self, Calls};
    use crate::nn::micro::oracle::sample::Sample;
    use crate::nn::micro::table::Release;

    /// Runs what [`kernel`] chooses on the model of tiles.
    fn on_model(sample: &Sample, shared: bool, model: &mut Model, calls: &Calls) -> Vec<Line> {
        let run = match (sample.vectors, sample.store, shared) {
            (1, _, false) => all::<Model, 1, F32, false>,
            (_, Store::F32, false) => all::<Model, 2, F32, false>,
            (_, Store::Bf16, false) => all::<Model, 2, BF16, false>,
            (_, Store::Split, false) => all::<Model, 2, SPLIT, false>,
            (1, _, true) => all::<Model, 1, F32, true>,
            (_, Store::F32, true) => all::<Model, 2, F32, true>,
            (_, Store::Bf16, true) => all::<Model, 2, BF16, true>,
            (_, Store::Split, true) => all::<Model, 2, SPLIT, true>,
            (_, Store::U8, _) => unreachable!("no sample stores bytes"),
        };
        // SAFETY: the caller asked whether the CPU has AVX512-BF16; the model needs no tiles, and a sample is whole.
        sample.run(|tile| unsafe { run(model, &calls.series(tile)) })
    }

    fn on_tiles(sample: &Sample, calls: &Calls) -> Vec<Line> {
        let precision = match sample.store {
            Store::Split => Precision::Bf16x3,
            _ => Precision::Bf16,
        };
        let kernel = kernel(sample.vectors, sample.store, precision).unwrap();
        // SAFETY: CPU and system permit tiles, and a sample has all that its tile points to.
        sample.run(|tile| unsafe { kernel(&calls.series(tile)) })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn modelled_tiles_give_the_bits_of_the_oracle(sample in Sample::any(2 * GROUP), shared: bool) {
            if Bf16Unit::Avx512.is_supported() {
                let calls = Calls::side_by_side(&sample);
                let got = on_model(&sample, shared, &mut Model::new(), &calls);
                sample.check(&got, Bf16Unit::Amx)?;
            }
        }

        #[test]
        fn segments_of_pixels_give_the_bits_of_the_oracle(split in amx_sample::split(), shared: bool) {
            if Bf16Unit::Avx512.is_supported() {
                let got = on_model(&split.sample, shared, &mut Model::new(), &split.calls);
                split.check(&got)?;
            }
        }

        #[test]
        fn segments_of_pixels_in_tiles_give_the_bits_of_the_oracle(split in amx_sample::split()) {
            if Bf16Unit::Amx.is_supported() {
                let got = on_tiles(&split.sample, &split.calls);
                release();
                split.check(&got)?;
            }
        }

        #[test]
        fn tiles_give_the_bits_of_the_oracle(samples in prop::collection::vec(Sample::any(2 * GROUP), 1..4)) {
            if Bf16Unit::Amx.is_supported() {
                for sample in samples {
                    let got = on_tiles(&sample, &Calls::side_by_side(&sample));
                    sample.check(&got, Bf16Unit::Amx)?;
                }
                release();
            }
        }
    }

    #[test]
    fn kernels_exist_for_what_they_are_written_for() {
        let kernels = |vectors, store, precision| kernel(vectors, store, precision).is_some();
        for precision in [Precision::Bf16, Precision::Bf16x3] {
            assert!(kernels(1, Store::F32, precision) && kernels(2, Store::F32, precision));
            assert!(!kernels(3, Store::F32, precision));
            for store in [Store::Bf16, Store::Split] {
                assert!(!kernels(1, store, precision));
                assert_eq!(kernels(2, store, precision), store == precision.store());
            }
        }
        assert!(!kernels(2, Store::F32, Precision::F32));
    }

    #[test]
    fn a_panic_leaves_no_tiles_behind() {
        if Bf16Unit::Amx.is_supported() {
            let configure_and_panic = || {
                let _release = Release;
                // SAFETY: CPU and system permit tiles.
                unsafe { Hardware.shape([1, 1]) };
                assert!(!hardware::is_configured(), "as a task would");
            };
            assert!(std::panic::catch_unwind(configure_and_panic).is_err());
            assert!(!hardware::is_configured());
        }
    }
}
