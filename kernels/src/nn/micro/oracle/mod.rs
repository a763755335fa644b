//! What the micro-kernels are tested against: the same sums in plain Rust, tiles in software, and inputs for both.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_model;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_sample;
pub(crate) mod bf16;
pub(crate) mod sample;
pub(crate) mod scalar;
