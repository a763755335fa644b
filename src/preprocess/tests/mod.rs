//! What the decoders and the resampler make, against Pillow; and pictures written bit by bit.

mod formats;
mod golden;
#[cfg(feature = "heic")]
mod heic;
pub(super) mod webp_writer;
