//! With which instructions and how exactly networks are computed: the flags that every command with a model has.
//!
//! The names are those of `kernels`; `cli` translates.

use clap::{Args, ValueEnum};

/// Instructions and precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
#[command(next_help_heading = "Performance")]
pub struct ArithmeticConfig {
    /// How the network's values are stored and multiplied
    #[arg(
        long,
        env = "RESNET_PRECISION",
        default_value = "auto",
        value_name = "PRECISION"
    )]
    pub precision: PrecisionChoice,

    /// Highest instruction set to use, in the network and on pixels; what tract computes chooses for itself
    #[arg(long, env = "RESNET_ISA", default_value = "auto", value_name = "ISA")]
    pub isa: IsaChoice,
}

/// A value of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// int8 for a quantized file; else bf16 where the CPU has it and test images then get the answers of f32, else f32
    Auto,
    /// Single precision throughout
    F32,
    /// Nearly single precision, made of three bfloat16 products; AVX512-BF16 or AMX
    #[value(name = "bf16x3")]
    Bf16x3,
    /// bfloat16 values, single precision sums; AVX512-BF16 or AMX
    Bf16,
    /// Bytes, exact sums; for quantized files, which have it anyway: others are refused
    Int8,
}

/// A value of `--isa`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IsaChoice {
    /// The best of this CPU
    Auto,
    /// Plain code; leaves the network to tract's own operators
    Scalar,
    /// AVX2 and FMA, 256-bit vectors
    Avx2,
    /// With products of bytes on 256-bit vectors
    #[value(name = "avx-vnni")]
    AvxVnni,
    /// AVX-512, 512-bit vectors
    Avx512,
    /// With products of bytes on 512-bit vectors
    #[value(name = "avx512-vnni")]
    Avx512Vnni,
    /// With bfloat16 products on 512-bit vectors
    #[value(name = "avx512-bf16")]
    Avx512Bf16,
    /// With products of bfloat16 and bytes on tiles
    Amx,
}

impl IsaChoice {
    /// The value's name; none for `auto`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            IsaChoice::Auto => None,
            IsaChoice::Scalar => Some("scalar"),
            IsaChoice::Avx2 => Some("avx2"),
            IsaChoice::AvxVnni => Some("avx-vnni"),
            IsaChoice::Avx512 => Some("avx512"),
            IsaChoice::Avx512Vnni => Some("avx512-vnni"),
            IsaChoice::Avx512Bf16 => Some("avx512-bf16"),
            IsaChoice::Amx => Some("amx"),
        }
    }
}

impl PrecisionChoice {
    /// The value's name; none for `auto`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            PrecisionChoice::Auto => None,
            PrecisionChoice::F32 => Some("f32"),
            PrecisionChoice::Bf16x3 => Some("bf16x3"),
            PrecisionChoice::Bf16 => Some("bf16"),
            PrecisionChoice::Int8 => Some("int8"),
        }
    }
}
