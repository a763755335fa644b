//! Layers on bytes: 64 channels of a pixel in a line, exact integer sums, one rounding from the sum to the stored byte.
//!
//! For networks whose file says what their bytes mean ([`Quantization`]); nothing here chooses a scale. A step's result
//! is the same bytes on every instruction set, in every batch and on any number of threads, since a sum of integers has
//! no order; [`requantize`] defines the rest.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod builder;
mod conv;
mod edge;
mod first;
mod layer;
mod pack;
mod pixels;
mod pointwise;
mod requantize;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod scalar;
#[cfg(test)]
mod tests;
mod tile;
mod work;

pub use self::layer::{Int8Conv, Int8Residual};
pub use self::requantize::Quantization;
pub(super) use self::work::{Site, Work};
