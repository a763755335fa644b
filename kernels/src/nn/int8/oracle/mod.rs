//! What the micro-kernels for bytes are tested against.

pub(crate) mod sample;
pub(crate) mod scalar;
