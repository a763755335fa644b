//! The micro-kernels: a few neighbouring pixels times one panel of weights, by instruction set.
//!
//! `tile` and `series` are the contract, `table` chooses by unit and store, the others are the implementations. `oracle`
//! has the same sums in plain Rust, for tests.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;
#[cfg(test)]
pub(crate) mod oracle;
pub(crate) mod series;
pub(crate) mod table;
pub(crate) mod tile;
