//! The micro-kernels of numbers, by instruction set: pixels (neighbours, or a series of several rows) times one panel of
//! weights. Those of bytes have a contract of their own: [`int8::tile`](crate::nn::int8::tile).
//!
//! `tile` and `series` are the contract, `table` chooses by unit and store, the others are the implementations.
//! `oracle` has the same sums in plain Rust, for tests.

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
