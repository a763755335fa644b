//! The bfloat16 micro-kernels in plain Rust, one sum for each unit: the oracle of the vector and the tile code.
//!
//! # Numerics
//! Both units multiply two bfloat16 exactly into an `f32` fused multiply-add that rounds to nearest even, takes
//! denormal inputs for zeros, and makes denormal results zeros, whatever MXCSR says. They differ in the order of the
//! sum, so their results differ in the last bits, and one network must not mix them.
//!
//! Source: Intel's Software Developer's Manual, volume 2, operation of `VDPBF16PS`, `TDPBF16PS`, `VCVTNEPS2BF16`.

use crate::features::Bf16Unit;
use crate::nn::layout::line::Line;
use crate::nn::layout::store::Store;
use crate::nn::micro::tile::Tile;

/// Computes `pixels` outputs, `stride` lines apart in the input, of `vectors` × 16 channels, in the order of `unit`.
///
/// A pair `(k, k + 1)` of the input lies in the place of one `f32`, the even one in its lower half; so in the weights.
///
/// # Safety
/// All that `tile` points to is there for so many pixels and vectors, and nobody else uses the output. `store` is
/// `F32`, or `vectors` is 2.
pub(crate) unsafe fn tile_bf16(
    tile: &Tile<'_>,
    [pixels, stride, vectors]: [usize; 3],
    store: Store,
    unit: Bf16Unit,
) {
    for p in 0..pixels {
        let mut sums = [[0.0; 16]; 2];
        for (v, sum) in sums[..vectors].iter_mut().enumerate() {
            // SAFETY: the caller promises all that `tile` points to.
            *sum = unsafe { *(*tile.bias.add(v)).f32() };
            for k in tile.k {
                // SAFETY: the caller promises all that `tile` points to.
                let a = unsafe { *(*tile.a.add(k.a as usize + p * stride)).f32() };
                for (n, sum) in sum.iter_mut().enumerate() {
                    let pair = |i: usize| {
                        // SAFETY: the caller promises all that `tile` points to.
                        let b = unsafe { (*tile.b.add(k.b as usize + i * vectors + v)).f32()[n] };
                        (halves(a[i]), halves(b))
                    };
                    *sum = match unit {
                        Bf16Unit::Avx512 => vdpbf16ps(*sum, pair),
                        Bf16Unit::Amx => tdpbf16ps(*sum, pair),
                    };
                }
            }
        }
        // SAFETY: the caller promises all that `tile` points to.
        unsafe { finish(tile, p, &mut sums[..vectors], store) };
    }
}

/// One block in the order of `vdpbf16ps`: of each pair the odd product first, straight into the sum.
fn vdpbf16ps(sum: f32, pair: impl Fn(usize) -> ([f32; 2], [f32; 2])) -> f32 {
    (0..16).fold(sum, |sum, i| {
        let (a, b) = pair(i);
        fma(a[0], b[0], fma(a[1], b[1], sum))
    })
}

/// One block in the order of `tdpbf16ps`: even and odd products apart from zero on, their sum added to the sum.
fn tdpbf16ps(sum: f32, pair: impl Fn(usize) -> ([f32; 2], [f32; 2])) -> f32 {
    let [even, odd] = (0..16).fold([0.0, 0.0], |[even, odd], i| {
        let (a, b) = pair(i);
        [fma(a[0], b[0], even), fma(a[1], b[1], odd)]
    });
    flush(flush(sum) + flush(even + odd))
}

fn fma(a: f32, b: f32, c: f32) -> f32 {
    flush(flush(a).mul_add(flush(b), flush(c)))
}

/// A denormal becomes a zero of its sign.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() {
        0_f32.copysign(x)
    } else {
        x
    }
}

/// Both bfloat16 of a pair, the even one first.
pub(crate) fn halves(pair: f32) -> [f32; 2] {
    let bits = pair.to_bits();
    [widen(bits as u16), widen((bits >> 16) as u16)]
}

/// The value of a bfloat16.
pub(crate) fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The bfloat16 nearest to `x`, of two equally near ones the even; zero for a denormal, quiet for a NaN.
pub(crate) fn round(x: f32) -> u16 {
    let bits = flush(x).to_bits();
    if x.is_nan() {
        (bits >> 16) as u16 | 0x40
    } else {
        let even = (bits >> 16) & 1;
        ((bits + 0x7fff + even) >> 16) as u16
    }
}

/// Two bfloat16 in the place of one `f32`, the even one first.
pub(crate) fn pair(values: [u16; 2]) -> f32 {
    f32::from_bits(u32::from(values[0]) | u32::from(values[1]) << 16)
}

/// 32 values as a line of bfloat16.
fn pack(values: &[f32; 32]) -> Line {
    Line::from_f32(std::array::from_fn(|i| {
        pair([round(values[2 * i]), round(values[2 * i + 1])])
    }))
}

/// A line of bfloat16 as 32 values.
fn unpack(line: Line) -> [f32; 32] {
    std::array::from_fn(|i| halves(line.f32()[i / 2])[i % 2])
}

/// # Safety
/// All that `tile` points to is there for pixel `p`, and nobody else uses the output.
unsafe fn finish(tile: &Tile<'_>, p: usize, sums: &mut [[f32; 16]], store: Store) {
    // SAFETY: the caller promises the residual's line of the pixel, for each block that `store` has.
    let residual = |block: usize| unsafe { *tile.residual.add(block * tile.residual_stride + p) };
    // SAFETY: the caller promises the output's line of the pixel, for each block that `store` has.
    let put = |block: usize, line| unsafe { *tile.out.add(block * tile.out_stride + p) = line };
    if !tile.residual.is_null() {
        let added: [f32; 32] = match store {
            Store::F32 => {
                let lines: Vec<f32> = (0..sums.len()).flat_map(|v| *residual(v).f32()).collect();
                std::array::from_fn(|i| lines.get(i).copied().unwrap_or(0.0))
            }
            Store::Bf16 => unpack(residual(0)),
            Store::Split => {
                let (high, low) = (unpack(residual(0)), unpack(residual(1)));
                std::array::from_fn(|i| high[i] + low[i])
            }
            Store::U8 => unreachable!("bfloat16 is not stored as bytes"),
        };
        for (sum, r) in sums.as_flattened_mut().iter_mut().zip(added) {
            *sum += r;
        }
    }
    if tile.relu {
        for sum in sums.as_flattened_mut() {
            *sum = if *sum > 0.0 { *sum } else { 0.0 };
            *sum = if *sum < tile.most { *sum } else { tile.most };
        }
    }
    if store == Store::F32 {
        for (v, sum) in sums.iter().enumerate() {
            put(v, Line::from_f32(*sum));
        }
        return;
    }
    let values: [f32; 32] = std::array::from_fn(|i| sums[i / 16][i % 16]);
    put(0, pack(&values));
    if store == Store::Split {
        put(1, pack(&values.map(|x| x - widen(round(x)))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        let ulp = 1.0 / 128.0;
        for (x, expected) in [
            (1.0, 1.0),
            (1.0 + ulp * 0.5, 1.0),
            (1.0 + ulp * 0.5001, 1.0 + ulp),
            (1.0 + ulp * 1.5, 1.0 + 2.0 * ulp),
            (-1.0 - ulp * 0.75, -1.0 - ulp),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (-1e-40, -0.0),
        ] {
            assert_eq!(widen(round(x)).to_bits(), f32::to_bits(expected), "{x}");
        }
        assert!(widen(round(f32::NAN)).is_nan());
        assert!(widen(round(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn units_sum_in_their_own_orders() {
        // 2^24 + 1 rounds to 2^24, so a one counts only if it meets another one first.
        let big = 16_777_216.0;
        let of = |a: [f32; 4]| {
            move |i| {
                (
                    [a.get(2 * i), a.get(2 * i + 1)].map(|x| *x.unwrap_or(&0.0)),
                    [1.0; 2],
                )
            }
        };
        assert_eq!(vdpbf16ps(0.0, of([1.0, 1.0, big, 0.0])), big + 2.0);
        assert_eq!(vdpbf16ps(0.0, of([1.0, big, 1.0, 0.0])), big);
        assert_eq!(tdpbf16ps(0.0, of([1.0, big, 1.0, 0.0])), big + 2.0);
        assert_eq!(tdpbf16ps(big, of([1.0, 0.0, 0.0, 0.0])), big);
        assert_eq!(tdpbf16ps(big, of([1.0, 1.0, 0.0, 0.0])), big + 2.0);
    }

    #[test]
    fn two_bfloat16_hold_sixteen_bits() {
        for x in [1.0 / 3.0, -1234.567, 1e-20, 3e30] {
            let high = widen(round(x));
            let low = widen(round(x - high));
            assert!((high + low - x).abs() <= x.abs() / 65536.0, "{x}");
        }
    }
}
