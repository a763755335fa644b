//! The arithmetic of the hot loops, once portable and once for each instruction set; the only room with `unsafe`.
//!
//! Called by the rooms that own the mathematics: they hand over weights and slices, kernels know no image and no model.
//! Imports nothing of ours, allocates only when a kernel value is made, and never reads or writes outside of the
//! slices it is given.
//!
//! The contract of every kernel here: a kernel value can only be made when the CPU supports its instruction set, so
//! holding one is the proof that its code may run; and its result is that of the scalar code, bit for bit, for every
//! length.

#![allow(
    unsafe_code,
    reason = "instruction sets and unaligned loads; the one room where unsafe may live"
)]

mod caches;
pub mod color;
mod features;
pub mod idct;
pub mod nn;
mod normalize;
pub mod peak;
mod resample;
mod vectorize;

pub use self::caches::Caches;
pub use self::color::ColorKernel;
pub use self::features::{Bf16Unit, Features, Int8Unit};
pub use self::idct::IdctKernel;
pub use self::normalize::{Normalization, NormalizeKernel};
pub use self::resample::{HorizontalPass, PRECISION_BITS, ResampleKernel, VerticalPass, Weights};
pub use self::vectorize::{Task, Vectorized};

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the compiler makes of plain Rust; runs everywhere and is the oracle of the others.
    Scalar,
    /// x86-64 with AVX2, and what every CPU that has it has too: FMA, BMI, LZCNT and POPCNT. 256-bit vectors.
    Avx2,
    /// x86-64 with AVX-512 F, BW and VL beside all of [`Isa::Avx2`]: 512-bit vectors and masks.
    Avx512,
}

impl Isa {
    /// All instruction sets, the widest last.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The widest instruction set that this CPU supports. Whoever builds kernels keeps the answer.
    #[must_use]
    pub fn detect() -> Isa {
        Isa::ALL
            .into_iter()
            .rfind(|isa| isa.is_supported())
            .unwrap_or(Isa::Scalar)
    }

    /// Whether this CPU has the instruction set, and the operating system saves its registers.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
                    && is_x86_feature_detected!("lzcnt")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The instruction set's name in lower case, as in logs and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detected_isa_is_supported_and_none_wider_is() {
        let isa = Isa::detect();
        assert!(isa.is_supported());
        assert!(Isa::ALL.iter().all(|i| *i <= isa || !i.is_supported()));
    }

    #[test]
    fn kernels_exist_exactly_for_supported_isas() {
        for isa in Isa::ALL {
            assert_eq!(ResampleKernel::new(isa).is_some(), isa.is_supported());
            assert_eq!(NormalizeKernel::new(isa).is_some(), isa.is_supported());
            assert_eq!(ColorKernel::new(isa).is_some(), isa.is_supported());
            assert_eq!(IdctKernel::new(isa).is_some(), isa.is_supported());
            assert_eq!(Vectorized::new(isa).is_some(), isa.is_supported());
        }
    }
}
