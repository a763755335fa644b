//! What the micro-kernels for bytes are tested against.

mod depthwise;
pub(crate) mod sample;
pub(crate) mod scalar;
