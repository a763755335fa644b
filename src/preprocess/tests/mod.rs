//! What the decoders and the resampler make, against Pillow; and pictures written bit by bit.

mod formats;
mod golden;
#[cfg(any(feature = "heic", feature = "avif", feature = "jxl"))]
mod modern;
pub(super) mod webp_writer;
