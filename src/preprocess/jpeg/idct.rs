//! Inverse transforms of one block: the kernel's to 8×8 samples, and the reduced ones to 4×4, 2×2 and one.
//!
//! Called by `planes` for each block that the crop needs.
//!
//! Source: the accurate integer method of the Independent JPEG Group (`jidctred.c`), restated here with
//! the same constants, roundings and shifts, so the same samples.

use super::sequential::Block;
use kernels::IdctKernel;
use kernels::idct::{CONST_BITS, PASS1_BITS, fix, saturate, wrap};

/// Shifts right with rounding to the nearest.
#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

#[inline(always)]
fn sample(value: i32) -> u8 {
    value.wrapping_add(128).clamp(0, 255) as u8
}

/// Writes the samples of a block: `size`×`size` of them (8, 4, 2 or 1), rows `stride` apart.
///
/// `last` is the zigzag position of the last coefficient that may differ from zero.
#[inline(always)]
pub(super) fn inverse(
    kernel: IdctKernel,
    size: usize,
    block: &Block,
    last: usize,
    quant: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let dc = i32::from(block[0]).wrapping_mul(i32::from(quant[0]));
    if last == 0 || size == 1 {
        // What the transforms give for a block that is only its mean, with their overflows.
        let value = match size {
            // Ten bits with their sign: libjpeg masks what indexes its table of samples.
            1 => descale(dc, 3) << 22 >> 22,
            2 => descale(wrap(dc), 3),
            _ => descale(wrap(dc << PASS1_BITS), PASS1_BITS + 3),
        };
        for row in out.chunks_mut(stride).take(size) {
            row[..size].fill(sample(value));
        }
        return;
    }
    match size {
        8 => kernel.run(block, quant, out, stride),
        4 => half(block, quant, out, stride),
        _ => quarter(block, quant, out, stride),
    }
}

/// Four samples from eight coefficients of one dimension; the fifth takes no part.
#[inline(always)]
fn to_four<const SHIFT: u32>(x: [i32; 8]) -> [i32; 4] {
    let mul = |value: i32, constant: f64| value.wrapping_mul(fix(constant));
    let tmp0 = x[0] << (CONST_BITS + 1);
    let tmp2 = mul(x[2], 1.847759065).wrapping_sub(mul(x[6], 0.765366865));
    let (tmp10, tmp12) = (tmp0.wrapping_add(tmp2), tmp0.wrapping_sub(tmp2));
    let tmp0 = mul(x[5], 1.451774981)
        .wrapping_sub(mul(x[7], 0.211164243))
        .wrapping_sub(mul(x[3], 2.172734803))
        .wrapping_add(mul(x[1], 1.061594337));
    let tmp2 = mul(x[3], 0.899976223)
        .wrapping_sub(mul(x[7], 0.509795579))
        .wrapping_sub(mul(x[5], 0.601344887))
        .wrapping_add(mul(x[1], 2.562915447));
    [
        descale(tmp10.wrapping_add(tmp2), SHIFT),
        descale(tmp12.wrapping_add(tmp0), SHIFT),
        descale(tmp12.wrapping_sub(tmp0), SHIFT),
        descale(tmp10.wrapping_sub(tmp2), SHIFT),
    ]
}

#[inline(always)]
fn half(block: &Block, quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let x = dequantized(block, quant);
    let mut rows = [[0; 8]; 4];
    // The fifth row takes no part.
    let others = block[8..32].iter().chain(&block[40..]);
    if others.fold(0, |any, &c| any | c) == 0 {
        // What the transform gives, but for an overflow.
        rows = [x[0].map(|v| wrap(v << PASS1_BITS)); 4];
    } else {
        for c in 0..8 {
            let column = std::array::from_fn(|y| x[y][c]);
            let column = to_four::<{ CONST_BITS - PASS1_BITS + 1 }>(column);
            for (row, value) in rows.iter_mut().zip(column) {
                row[c] = saturate(value);
            }
        }
    }
    for (line, row) in out.chunks_mut(stride).zip(rows) {
        let values = to_four::<{ CONST_BITS + PASS1_BITS + 3 + 1 }>(row);
        for (out, value) in line.iter_mut().zip(values) {
            *out = sample(value);
        }
    }
}

/// Two samples from the first and the odd coefficients of one dimension.
#[inline(always)]
fn to_two<const SHIFT: u32>(x: [i32; 8]) -> [i32; 2] {
    let mul = |value: i32, constant: f64| value.wrapping_mul(fix(constant));
    let even = x[0] << (CONST_BITS + 2);
    let odd = mul(x[5], 0.850430095)
        .wrapping_sub(mul(x[7], 0.720959822))
        .wrapping_sub(mul(x[3], 1.272758580))
        .wrapping_add(mul(x[1], 3.624509785));
    [
        descale(even.wrapping_add(odd), SHIFT),
        descale(even.wrapping_sub(odd), SHIFT),
    ]
}

#[inline(always)]
fn quarter(block: &Block, quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let x = dequantized(block, quant);
    let mut rows = [[0; 8]; 2];
    for c in 0..8 {
        let column = std::array::from_fn(|y| x[y][c]);
        let column = to_two::<{ CONST_BITS - PASS1_BITS + 2 }>(column);
        for (row, value) in rows.iter_mut().zip(column) {
            row[c] = if c == 0 { value } else { saturate(value) };
        }
    }
    for (line, row) in out.chunks_mut(stride).zip(rows) {
        let values = to_two::<{ CONST_BITS + PASS1_BITS + 3 + 2 }>(row);
        for (out, value) in line.iter_mut().zip(values) {
            *out = sample(value);
        }
    }
}

/// The rows of a block, multiplied by their quantization steps. All columns are transformed side by side, those that
/// take no part too, because that is how the compiler can use vectors.
#[inline(always)]
fn dequantized(block: &Block, quant: &[u16; 64]) -> [[i32; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for ((row, coefficients), steps) in rows
        .iter_mut()
        .zip(block.as_chunks::<8>().0)
        .zip(quant.as_chunks::<8>().0)
    {
        for ((value, &c), &q) in row.iter_mut().zip(coefficients).zip(steps) {
            *value = wrap(i32::from(c).wrapping_mul(i32::from(q)));
        }
    }
    rows
}
