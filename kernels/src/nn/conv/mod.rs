//! Convolutions of numbers: the algorithms, their weights in the order of their use, and the plan of their work.
//!
//! Which algorithm computes a convolution is decided in [`program::algorithm`](crate::nn::program::algorithm).

pub(crate) mod calls;
pub(crate) mod depthwise;
pub(crate) mod direct;
pub(crate) mod first;
pub(crate) mod gather;
pub(crate) mod pack;
pub(crate) mod patches;
pub(crate) mod pixels;
pub(crate) mod plan;
pub(crate) mod shape;
pub(crate) mod winograd;
