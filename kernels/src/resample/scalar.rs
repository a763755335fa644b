//! The resampler's passes in plain Rust: the fallback on every CPU and the oracle of the vector code.

use super::{HALF, PRECISION_BITS, Weights};

/// Resamples one row: `[width, 3]` interleaved to `[3, outputs]` planes.
pub(super) fn horizontal(weights: &Weights, row: &[u8], out: &mut [u8]) {
    let outputs = weights.len();
    for (i, (first, taps)) in weights.iter().enumerate() {
        let mut sum = [HALF; 3];
        for (pixel, &weight) in row[first * 3..].chunks_exact(3).zip(taps) {
            for (s, &value) in sum.iter_mut().zip(pixel) {
                *s += i32::from(value) * weight;
            }
        }
        for (channel, s) in sum.into_iter().enumerate() {
            out[channel * outputs + i] = clip8(s);
        }
    }
}

/// Columns kept in registers at a time, so that no row of sums is needed.
const COLUMNS: usize = 16;

/// Computes one output row from `taps.len()` rows.
pub(super) fn vertical(taps: &[i32], rows: &[u8], out: &mut [u8]) {
    columns(taps, rows, out, 0);
}

/// The columns of [`vertical`] from `start` on; vector code leaves its tail to it.
pub(super) fn columns(taps: &[i32], rows: &[u8], out: &mut [u8], start: usize) {
    let length = out.len();
    for (block, out) in out[start..].chunks_mut(COLUMNS).enumerate() {
        let at = start + block * COLUMNS;
        let mut sums = [HALF; COLUMNS];
        for (row, &weight) in rows.chunks_exact(length).zip(taps) {
            for (s, &value) in sums.iter_mut().zip(&row[at..at + out.len()]) {
                *s += i32::from(value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = clip8(sum);
        }
    }
}

/// A sum in fixed point to 8 bits, as Pillow's `clip8` does.
fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
