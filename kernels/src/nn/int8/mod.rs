//! Layers on bytes: 64 channels of a pixel in a line, exact integer sums, one rounding from the sum to the stored byte.
//!
//! For networks whose file says what their bytes mean ([`Quantization`]); nothing here chooses a scale. A step's result
//! is the same bytes on every instruction set, in every batch and on any number of threads, since a sum of integers has
//! no order; [`requantize`] defines the rest.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod conv;
pub(crate) mod convert;
pub(crate) mod depthwise;
pub(crate) mod first;
pub(crate) mod layer;
pub(crate) mod lines;
#[cfg(test)]
mod oracle;
pub(crate) mod pack;
pub(crate) mod pairs;
pub(crate) mod pixels;
pub(crate) mod pointwise;
pub(crate) mod requantize;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
pub(crate) mod winograd;
pub(crate) mod work;

pub use self::layer::{Int8Conv, Int8Own, Int8Residual};
pub use self::requantize::Quantization;
pub(crate) use self::work::{Int8Work, Site};
