//! The 8-bit micro-kernel with tiles: up to 32 pixels times 32 outputs in four accumulators.
//!
//! As that for bfloat16, [`crate::nn::micro::amx`], with quads of bytes in place of pairs; a function computes all
//! calls of a panel that a task has, so that the panel's weights behind this one can be fetched meanwhile.

use core::arch::x86_64::{__m512i, _MM_HINT_T1, _mm_prefetch, _mm512_load_si512};
use std::mem::MaybeUninit;

use super::avx512::Ending;
use super::tile::{BLOCK_LINES, FLOAT, Kind, PLAIN, Panel, RESIDUAL, SUM, Target};
use crate::nn::layout::line::Line;
use crate::nn::micro::amx::Hardware;
use crate::nn::micro::amx::Tiles;
use crate::nn::micro::series::{Call, GROUP, Groups, Segment};

/// Bytes from one row of weights or sums to the next: the lines of both vectors.
const PAIR: usize = 2 * size_of::<Line>();

/// Some of the calls of a plane, or of a row of images, for one panel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series<'a> {
    pub(crate) groups: Groups,
    pub(crate) calls: &'a [Call],
    /// The segments that the calls refer to by number.
    pub(crate) segments: &'a [Segment],
    /// The number of the first call among those of the plane.
    pub(crate) first: usize,
    /// Pixels of the output from this one on do not count.
    pub(crate) pixels: u32,
}

/// The micro-kernel for a series of calls.
///
/// # Safety
/// The conditions of [`TileFn`](super::tile::TileFn) hold, with `Target::a` and the others at the planes' first lines;
/// the CPU has AMX for bytes and AVX-512 F, BW and VL, and no other code uses tiles on this thread until
/// [`release`](crate::nn::micro::amx::release), which the caller calls at the end.
pub(crate) type SeriesFn = unsafe fn(&Panel<'_>, Target, &Series<'_>);

/// The kernel that stores results of this kind.
pub(crate) fn kernel(kind: Kind) -> SeriesFn {
    match kind {
        Kind::Plain => on_hardware::<PLAIN>,
        Kind::Residual => on_hardware::<RESIDUAL>,
        Kind::Sum => on_hardware::<SUM>,
        Kind::Float => on_hardware::<FLOAT>,
    }
}

/// # Safety
/// The conditions of [`SeriesFn`] hold.
unsafe fn on_hardware<const KIND: u8>(panel: &Panel<'_>, at: Target, series: &Series<'_>) {
    // SAFETY: the caller promises the conditions of `SeriesFn`, which are those of `run` on the CPU's tiles.
    unsafe { run::<Hardware, KIND>(&mut Hardware, panel, at, series) }
}

/// # Safety
/// The conditions of [`SeriesFn`] hold, apart from the tiles if they are a model's.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn run<T: Tiles, const KIND: u8>(
    tiles: &mut T,
    panel: &Panel<'_>,
    at: Target,
    series: &Series<'_>,
) {
    // SAFETY: the panel's factors are there.
    let ending = unsafe { Ending::new(panel, at) };
    for (number, call) in series.calls.iter().enumerate() {
        let [first, count] = call.segments.map(|n| n as usize);
        let segments = &series.segments[first..first + count];
        let left = |segment: &Segment| segment.up_to(series.pixels);
        let second = segments.iter().any(|segment| left(segment).is_in_second());
        if !second && segments.iter().all(|segment| left(segment).pixels == 0) {
            continue;
        }
        // SAFETY: the caller promises each call's input, and its segments' pixels of the output.
        unsafe {
            let a = at.a.add(call.input as usize);
            let of = (a, series.groups, (series.first + number) * panel.ahead);
            if second {
                one::<T, 2, KIND>(tiles, panel, &ending, of, (segments, series.pixels));
            } else {
                one::<T, 1, KIND>(tiles, panel, &ending, of, (segments, series.pixels));
            }
        }
    }
}

/// One call in `GROUPS` groups of pixels.
///
/// # Safety
/// The conditions of [`run`] hold, and no segment is beyond the groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn one<T: Tiles, const GROUPS: usize, const KIND: u8>(
    tiles: &mut T,
    panel: &Panel<'_>,
    ending: &Ending,
    of: (*const u8, Groups, usize),
    (segments, pixels): (&[Segment], u32),
) {
    let mut sums = MaybeUninit::<[Line; 4 * GROUP]>::uninit();
    let sums = sums.as_mut_ptr().cast::<Line>();
    // SAFETY: `sums` has room for the lines of all rows, the rest is the caller's promise.
    unsafe { multiply::<T, GROUPS>(tiles, panel, of, sums) };
    for segment in segments {
        let segment = segment.up_to(pixels);
        let pixels = usize::from(segment.pixels);
        let (row, out, residual) = (
            usize::from(segment.row),
            segment.out as usize,
            segment.residual as usize,
        );
        for p in (0..pixels & !1).step_by(2) {
            // SAFETY: `multiply` wrote two lines for each row.
            unsafe {
                let pair = [of_pixel(sums, row + p), of_pixel(sums, row + p + 1)];
                ending.two::<KIND>([out + p, residual + p], pair);
            }
        }
        if pixels % 2 == 1 {
            let p = pixels - 1;
            // SAFETY: `multiply` wrote two lines for the last row too.
            unsafe { ending.one::<KIND>([out + p, residual + p], of_pixel(sums, row + p)) };
        }
    }
}

/// # Safety
/// Two lines of that row are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn of_pixel(sums: *const Line, row: usize) -> [__m512i; 2] {
    // SAFETY: the caller promises the row's two lines; lines are aligned.
    unsafe {
        let line = sums.add(2 * row);
        [
            _mm512_load_si512(line.cast()),
            _mm512_load_si512(line.add(1).cast()),
        ]
    }
}

/// The sums of all rows, `[row][vector]`, the second group's from row 16 on.
///
/// # Safety
/// The conditions of [`one`] hold; `sums` has two lines for each row of `GROUPS` groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn multiply<T: Tiles, const GROUPS: usize>(
    tiles: &mut T,
    panel: &Panel<'_>,
    (a, groups, fetched): (*const u8, Groups, usize),
    sums: *mut Line,
) {
    let Groups { rows, step, second } = groups;
    // SAFETY: for all of it: the tiles are shaped first; a step of zero bytes loads the same line of offsets into each
    // row; a group's rows are 64 bytes that the input has, the weights' rows 16 lines of a block of 32. Fetching an
    // address that is not there does nothing.
    unsafe {
        tiles.shape(rows);
        tiles.load::<0>(panel.offset, 0);
        tiles.load::<1>(panel.offset.add(1), 0);
        if GROUPS == 2 {
            tiles.load::<2>(panel.offset, 0);
            tiles.load::<3>(panel.offset.add(1), 0);
        }
        let mut b = panel.b;
        let mut next = panel
            .b
            .wrapping_add(panel.k.len() * BLOCK_LINES + fetched.min(BLOCK_LINES - panel.ahead));
        for k in panel.k {
            let a = a.add(k.a as usize);
            tiles.load::<4>(a.cast(), step);
            tiles.load::<6>(b, PAIR);
            tiles.dot_bytes::<0, 4, 6>();
            tiles.load::<7>(b.add(1), PAIR);
            tiles.dot_bytes::<1, 4, 7>();
            if GROUPS == 2 {
                tiles.load::<5>(a.add(second).cast(), step);
                tiles.dot_bytes::<2, 5, 6>();
                tiles.dot_bytes::<3, 5, 7>();
            }
            for line in 0..panel.ahead {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(line).cast());
            }
            b = b.add(BLOCK_LINES);
            next = next.wrapping_add(BLOCK_LINES);
        }
        tiles.store::<0>(sums, PAIR);
        tiles.store::<1>(sums.add(1), PAIR);
        if GROUPS == 2 {
            let sums = sums.add(2 * GROUP);
            tiles.store::<2>(sums, PAIR);
            tiles.store::<3>(sums.add(1), PAIR);
        }
    }
}
