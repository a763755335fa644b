//! The most that one core can multiply: chains of multiplications and additions that never leave the registers.
//!
//! Called by `cli` for `bench engine --profile`, which times it and divides what a step reaches by it. The chains are
//! independent and more than latency times throughput of any CPU with these instructions, so no multiplier waits.

use super::features::{Bf16Unit, Int8Unit};
use super::nn::{Arithmetic, Precision};

/// Multiplies `rounds` times and tells how many multiplications and additions that were; none where no such loop is
/// written for the instructions.
///
/// Three bfloat16 products count as one of [`Precision::Bf16x3`], rounded down.
#[must_use]
pub fn spin(arithmetic: Arithmetic, rounds: u64) -> Option<u64> {
    let features = arithmetic.features();
    let operations = match (arithmetic.precision(), features.bf16) {
        (Precision::F32, _) => spin_f32(features.isa, rounds)?,
        (Precision::Int8, _) => spin_int8(features.int8, rounds)?,
        (_, unit) => spin_bf16(unit?, rounds)?,
    };
    Some(match arithmetic.precision() {
        Precision::Bf16x3 => operations / 3,
        _ => operations,
    })
}

/// Cycles that `rounds` of a chain of multiplications take, after it has run: the clock, for who times it. Each waits
/// for the one before, three cycles on every x86-64 core with the vectors we use. None where no such chain is written.
///
/// Source: Intel's Optimization Reference Manual and AMD's Software Optimization Guides, latency of `imul r64, r64`.
#[must_use]
pub fn chain(rounds: u64) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut left = rounds.max(1);
        // SAFETY: changes two registers and flags, and ends when the first is zero, which it is not at first.
        unsafe {
            std::arch::asm!(
                "2:",
                "imul {x}, {x}",
                "imul {x}, {x}",
                "imul {x}, {x}",
                "imul {x}, {x}",
                "dec {left}",
                "jnz 2b",
                x = inout(reg) 3_u64 => _,
                left = inout(reg) left,
                options(nomem, nostack),
            );
        }
        debug_assert_eq!(left, 0);
        Some(rounds.max(1) * 4 * 3)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = rounds;
        None
    }
}

#[cfg(target_arch = "x86_64")]
fn spin_f32(isa: super::Isa, rounds: u64) -> Option<u64> {
    match isa {
        super::Isa::Scalar => None,
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        super::Isa::Avx2 => Some(unsafe { x86::avx2(rounds) }),
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        super::Isa::Avx512 => Some(unsafe { x86::avx512(rounds) }),
    }
}

#[cfg(target_arch = "x86_64")]
fn spin_bf16(unit: Bf16Unit, rounds: u64) -> Option<u64> {
    match unit {
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        Bf16Unit::Avx512 => Some(unsafe { x86::avx512_bf16(rounds) }),
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        Bf16Unit::Amx => Some(unsafe { super::nn::spin_tiles(rounds) }),
    }
}

#[cfg(target_arch = "x86_64")]
fn spin_int8(unit: Option<Int8Unit>, rounds: u64) -> Option<u64> {
    match unit {
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        None => Some(unsafe { x86::avx2_bytes(rounds) }),
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        Some(Int8Unit::AvxVnni) => Some(unsafe { x86::avx_vnni(rounds) }),
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        Some(Int8Unit::Avx512Vnni) => Some(unsafe { x86::avx512_vnni(rounds) }),
        // SAFETY: an `Arithmetic` exists only where the CPU supports its features.
        Some(Int8Unit::Amx) => Some(unsafe { super::nn::spin_tiles_of_bytes(rounds) }),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn spin_int8(_: Option<Int8Unit>, _: u64) -> Option<u64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn spin_f32(_: super::Isa, _: u64) -> Option<u64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn spin_bf16(_: Bf16Unit, _: u64) -> Option<u64> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Factors near 1 and small addends keep the sums finite for ever.
    const FACTOR: f32 = 0.999;
    const ADDEND: f32 = 0.001;

    /// 12 chains of 8 lanes; with the two operands they leave 2 of 16 registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: u64) -> u64 {
        let (a, b) = (_mm256_set1_ps(FACTOR), _mm256_set1_ps(ADDEND));
        let (a, b) = (black_box(a), black_box(b));
        let mut sums = [b; 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
        rounds * 12 * 8 * 2
    }

    /// 24 chains of 16 lanes.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: u64) -> u64 {
        let (a, b) = (_mm512_set1_ps(FACTOR), _mm512_set1_ps(ADDEND));
        let (a, b) = (black_box(a), black_box(b));
        let mut sums = [b; 24];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
        rounds * 24 * 16 * 2
    }

    /// 24 chains of 16 lanes, two products a lane.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn avx512_bf16(rounds: u64) -> u64 {
        let zero = black_box(_mm512_setzero_ps());
        let pairs = _mm512_cvtne2ps_pbh(zero, zero);
        let mut sums = [zero; 24];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        black_box(sums);
        rounds * 24 * 16 * 2 * 2
    }

    /// 24 chains of 16 lanes, four products a lane.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512_vnni(rounds: u64) -> u64 {
        let ones = black_box(_mm512_set1_epi8(1));
        let mut sums = [black_box(_mm512_setzero_si512()); 24];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, ones, ones);
            }
        }
        black_box(sums);
        rounds * 24 * 16 * 4 * 2
    }

    /// 12 chains of 8 lanes, two products of words a lane.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2_bytes(rounds: u64) -> u64 {
        let ones = black_box(_mm256_set1_epi16(1));
        let mut sums = [black_box(_mm256_setzero_si256()); 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                let products = black_box(_mm256_madd_epi16(ones, ones));
                *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(products, products));
            }
        }
        black_box(sums);
        rounds * 12 * 8 * 2 * 2
    }

    /// 12 chains of 8 lanes, four products a lane.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn avx_vnni(rounds: u64) -> u64 {
        let ones = black_box(_mm256_set1_epi8(1));
        let mut sums = [black_box(_mm256_setzero_si256()); 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, ones, ones);
            }
        }
        black_box(sums);
        rounds * 12 * 8 * 4 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    #[test]
    fn chain_takes_three_cycles_a_link() {
        assert!(chain(0).is_none_or(|cycles| cycles == 12));
        assert!(chain(5).is_none_or(|cycles| cycles == 60));
    }

    #[test]
    fn operations_are_counted_where_there_is_a_loop() {
        for features in Features::supported() {
            for precision in Precision::ALL {
                let Some(arithmetic) = Arithmetic::new(precision, features) else {
                    continue;
                };
                let counts = [1, 3].map(|rounds| spin(arithmetic, rounds));
                assert!(counts[0].is_some(), "{arithmetic:?}");
                if let [Some(one), Some(three)] = counts {
                    let rounded = 3 * one..=3 * one + 2;
                    assert!(one > 0 && rounded.contains(&three), "{arithmetic:?}");
                }
            }
        }
    }
}
