//! Winograd's minimal filtering in one dimension: `M` outputs of a window of 3 from `A = M + 2` products.
//!
//! Called by the transforms, once along columns and once along rows.
//!
//! `y = Aᵀ[(G g) ⊙ (Bᵀ d)]`: the product of two polynomials by their values at `A - 1` points and at infinity
//! (Toom-Cook), transposed. For points `0, ±a, ±b, ∞` the rows of `Bᵀ` are the coefficients of the polynomial that is
//! zero at all other points; the divisors stand in `G`, which is computed in double precision when the weights are
//! packed.
//!
//! Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.

use std::ops::{Add, Sub};

/// What a one-dimensional transform is: plain arithmetic on one lane.
pub(crate) trait Scheme<const A: usize, const M: usize> {
    /// `Bᵀ d`.
    fn input(d: [f32; A]) -> [f32; A];

    /// `Aᵀ m`.
    fn output(m: [f32; A]) -> [f32; M];

    /// `G g`.
    fn weights(g: [f64; 3]) -> [f64; A];
}

/// F(2, 3) with the points 0, ±1, ∞.
#[derive(Debug)]
pub(crate) struct F2;

/// F(4, 3) with the points 0, ±3/4, ±3/2, ∞.
///
/// # Numerics
/// All constants are exact. Normal data, 64 to 512 channels, largest error by largest output: 1.4e-6 to 3.2e-6, where
/// the direct sum has 0.7e-6 to 1.9e-6 and F(2, 3) 0.3e-6 to 0.8e-6. The usual points ±1, ±2 have 6e-6 to 23e-6.
#[derive(Debug)]
pub(crate) struct F4;

impl F2 {
    /// `Bᵀ d` for any type that can be added and subtracted.
    #[inline(always)]
    pub(crate) fn forward<T: Copy + Add<Output = T> + Sub<Output = T>>(
        [d0, d1, d2, d3]: [T; 4],
    ) -> [T; 4] {
        [d0 - d2, d2 + d1, d2 - d1, d3 - d1]
    }

    /// `Aᵀ m` for any type that can be added and subtracted.
    #[inline(always)]
    pub(crate) fn inverse<T: Copy + Add<Output = T> + Sub<Output = T>>(
        [m0, m1, m2, m3]: [T; 4],
    ) -> [T; 2] {
        [m0 + (m1 + m2), (m1 - m2) + m3]
    }
}

impl Scheme<4, 2> for F2 {
    #[inline(always)]
    fn input(d: [f32; 4]) -> [f32; 4] {
        F2::forward(d)
    }

    #[inline(always)]
    fn output(m: [f32; 4]) -> [f32; 2] {
        F2::inverse(m)
    }

    #[inline(always)]
    fn weights([g0, g1, g2]: [f64; 3]) -> [f64; 4] {
        [g0, (g0 + g1 + g2) / 2.0, (g0 - g1 + g2) / 2.0, g2]
    }
}

/// The points beside 0 and ∞: ±`P` and ±`Q`.
const P: f32 = 0.75;
const Q: f32 = 1.5;

impl Scheme<6, 4> for F4 {
    #[inline(always)]
    fn input([d0, d1, d2, d3, d4, d5]: [f32; 6]) -> [f32; 6] {
        const PP: f32 = P * P;
        const QQ: f32 = Q * Q;
        let even = [QQ, PP].map(|square| d2.mul_add(-square, d4));
        let odd = [QQ, PP].map(|square| d1.mul_add(-square, d3));
        [
            d0.mul_add(PP * QQ, d2.mul_add(-(PP + QQ), d4)),
            odd[0].mul_add(P, even[0]),
            odd[0].mul_add(-P, even[0]),
            odd[1].mul_add(Q, even[1]),
            odd[1].mul_add(-Q, even[1]),
            d1.mul_add(PP * QQ, d3.mul_add(-(PP + QQ), d5)),
        ]
    }

    #[inline(always)]
    fn output([m0, m1, m2, m3, m4, m5]: [f32; 6]) -> [f32; 4] {
        let (even, odd) = ([m1 + m2, m3 + m4], [m1 - m2, m3 - m4]);
        [
            (m0 + even[0]) + even[1],
            odd[1].mul_add(Q, odd[0] * P),
            even[1].mul_add(Q * Q, even[0] * (P * P)),
            odd[1].mul_add(Q * Q * Q, odd[0].mul_add(P * P * P, m5)),
        ]
    }

    #[inline(always)]
    fn weights([g0, g1, g2]: [f64; 3]) -> [f64; 6] {
        const SQUARES: [f64; 2] = [(P * P) as f64, (Q * Q) as f64];
        /// One divided by the product of the distances to all other points.
        const BY: [f64; 3] = [
            1.0 / (SQUARES[0] * SQUARES[1]),
            1.0 / (2.0 * SQUARES[0] * (SQUARES[0] - SQUARES[1])),
            1.0 / (2.0 * SQUARES[1] * (SQUARES[1] - SQUARES[0])),
        ];
        let even = SQUARES.map(|square| g0 + square * g2);
        let odd = [f64::from(P) * g1, f64::from(Q) * g1];
        [
            g0 * BY[0],
            (even[0] + odd[0]) * BY[1],
            (even[0] - odd[0]) * BY[1],
            (even[1] + odd[1]) * BY[2],
            (even[1] - odd[1]) * BY[2],
            g2,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered<S: Scheme<A, M>, const A: usize, const M: usize>() {
        let d: [f32; A] = std::array::from_fn(|i| [3.0, -1.0, 4.0, 1.0, -5.0, 9.0][i]);
        let g = [2.0, -7.0, 1.0];
        let (d_at, g_at) = (S::input(d), S::weights(g));
        let y = S::output(std::array::from_fn(|i| d_at[i] * g_at[i] as f32));
        for (i, y) in y.into_iter().enumerate() {
            let exact: f32 = (0..3).map(|j| d[i + j] * g[j] as f32).sum();
            assert!((y - exact).abs() < 1e-4, "{y} is not {exact}");
        }
    }

    #[test]
    fn both_schemes_filter() {
        filtered::<F2, 4, 2>();
        filtered::<F4, 6, 4>();
    }
}
