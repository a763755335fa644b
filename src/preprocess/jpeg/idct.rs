//! Inverse discrete cosine transforms of one block: 8×8, and the reduced ones that halve, quarter or take an eighth.
//!
//! Called by `planes` for each block that the crop needs.
//!
//! Source: the accurate integer method of the Independent JPEG Group (`jidctint.c`, `jidctred.c`), after Loeffler,
//! Ligtenberg and Moschytz, ICASSP 1989, restated here: the same constants, roundings and shifts, so the same samples.

use super::sequential::Block;

/// Fraction bits of the constants.
const CONST_BITS: u32 = 13;
/// Bits kept beyond the integer between the two passes.
const PASS1_BITS: u32 = 2;

/// A constant in fixed point.
const fn fix(value: f64) -> i32 {
    (value * (1 << CONST_BITS) as f64 + 0.5) as i32
}

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
pub(super) fn inverse(
    size: usize,
    block: &Block,
    last: usize,
    quant: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let dc = i32::from(block[0]).wrapping_mul(i32::from(quant[0]));
    if last == 0 || size == 1 {
        // What the transforms give for a block that is only its mean.
        let value = if size == 1 {
            descale(dc, 3)
        } else {
            descale(dc << PASS1_BITS, PASS1_BITS + 3)
        };
        for row in out.chunks_mut(stride).take(size) {
            row[..size].fill(sample(value));
        }
        return;
    }
    match size {
        8 => full(block, quant, out, stride),
        4 => half(block, quant, out, stride),
        _ => quarter(block, quant, out, stride),
    }
}

fn full(block: &Block, quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut rows = [[0; 8]; 8];
    for ((row, coefficients), steps) in rows
        .iter_mut()
        .zip(block.chunks_exact(8))
        .zip(quant.chunks_exact(8))
    {
        for ((value, &c), &q) in row.iter_mut().zip(coefficients).zip(steps) {
            *value = i32::from(c).wrapping_mul(i32::from(q));
        }
    }
    pass::<{ CONST_BITS - PASS1_BITS }>(&mut rows);
    let mut columns = transposed(&rows);
    pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&mut columns);
    let rows = transposed(&columns);
    for (line, row) in out.chunks_mut(stride).zip(&rows) {
        for (out, &value) in line[..8].iter_mut().zip(row) {
            *out = sample(value);
        }
    }
}

fn transposed(from: &[[i32; 8]; 8]) -> [[i32; 8]; 8] {
    let mut to = [[0; 8]; 8];
    for (y, row) in from.iter().enumerate() {
        for (x, &value) in row.iter().enumerate() {
            to[x][y] = value;
        }
    }
    to
}

/// One dimension of the 8-point transform, on the eight columns side by side.
#[inline(always)]
fn pass<const SHIFT: u32>(x: &mut [[i32; 8]; 8]) {
    for c in 0..8 {
        let mul = |value: i32, constant: f64| value.wrapping_mul(fix(constant));
        // Even part
        let (z2, z3) = (x[2][c], x[6][c]);
        let z1 = mul(z2.wrapping_add(z3), 0.541196100);
        let tmp2 = z1.wrapping_sub(mul(z3, 1.847759065));
        let tmp3 = z1.wrapping_add(mul(z2, 0.765366865));
        let tmp0 = x[0][c].wrapping_add(x[4][c]) << CONST_BITS;
        let tmp1 = x[0][c].wrapping_sub(x[4][c]) << CONST_BITS;
        let tmp10 = tmp0.wrapping_add(tmp3);
        let tmp13 = tmp0.wrapping_sub(tmp3);
        let tmp11 = tmp1.wrapping_add(tmp2);
        let tmp12 = tmp1.wrapping_sub(tmp2);
        // Odd part
        let (tmp0, tmp1, tmp2, tmp3) = (x[7][c], x[5][c], x[3][c], x[1][c]);
        let z1 = tmp0.wrapping_add(tmp3);
        let z2 = tmp1.wrapping_add(tmp2);
        let z3 = tmp0.wrapping_add(tmp2);
        let z4 = tmp1.wrapping_add(tmp3);
        let z5 = mul(z3.wrapping_add(z4), 1.175875602);
        let tmp0 = mul(tmp0, 0.298631336);
        let tmp1 = mul(tmp1, 2.053119869);
        let tmp2 = mul(tmp2, 3.072711026);
        let tmp3 = mul(tmp3, 1.501321110);
        let z1 = mul(z1, 0.899976223).wrapping_neg();
        let z2 = mul(z2, 2.562915447).wrapping_neg();
        let z3 = z5.wrapping_sub(mul(z3, 1.961570560));
        let z4 = z5.wrapping_sub(mul(z4, 0.390180644));
        let tmp0 = tmp0.wrapping_add(z1).wrapping_add(z3);
        let tmp1 = tmp1.wrapping_add(z2).wrapping_add(z4);
        let tmp2 = tmp2.wrapping_add(z2).wrapping_add(z3);
        let tmp3 = tmp3.wrapping_add(z1).wrapping_add(z4);
        x[0][c] = descale(tmp10.wrapping_add(tmp3), SHIFT);
        x[7][c] = descale(tmp10.wrapping_sub(tmp3), SHIFT);
        x[1][c] = descale(tmp11.wrapping_add(tmp2), SHIFT);
        x[6][c] = descale(tmp11.wrapping_sub(tmp2), SHIFT);
        x[2][c] = descale(tmp12.wrapping_add(tmp1), SHIFT);
        x[5][c] = descale(tmp12.wrapping_sub(tmp1), SHIFT);
        x[3][c] = descale(tmp13.wrapping_add(tmp0), SHIFT);
        x[4][c] = descale(tmp13.wrapping_sub(tmp0), SHIFT);
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

fn half(block: &Block, quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut rows = [[0; 8]; 4];
    for c in (0..8).filter(|&c| c != 4) {
        let column = to_four::<{ CONST_BITS - PASS1_BITS + 1 }>(column(block, quant, c));
        for (row, value) in rows.iter_mut().zip(column) {
            row[c] = value;
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

fn quarter(block: &Block, quant: &[u16; 64], out: &mut [u8], stride: usize) {
    let mut rows = [[0; 8]; 2];
    for c in [0, 1, 3, 5, 7] {
        let column = to_two::<{ CONST_BITS - PASS1_BITS + 2 }>(column(block, quant, c));
        for (row, value) in rows.iter_mut().zip(column) {
            row[c] = value;
        }
    }
    for (line, row) in out.chunks_mut(stride).zip(rows) {
        let values = to_two::<{ CONST_BITS + PASS1_BITS + 3 + 2 }>(row);
        for (out, value) in line.iter_mut().zip(values) {
            *out = sample(value);
        }
    }
}

/// A column of a block, multiplied by its quantization steps.
fn column(block: &Block, quant: &[u16; 64], c: usize) -> [i32; 8] {
    std::array::from_fn(|y| i32::from(block[y * 8 + c]).wrapping_mul(i32::from(quant[y * 8 + c])))
}
