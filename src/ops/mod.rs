//! The operators of ours that stand in tract's graph: what they compute, and how that becomes a program of kernels.
//!
//! Called by `engine`, whose lowering describes the part of a network that it recognizes as a [`Graph`]; [`fuse`]
//! simplifies it, [`compile`] turns it into a [`kernels::nn::Program`], and a [`Region`] is the operator in
//! tract's graph that runs the program.

mod compile;
mod compile_int8;
mod fuse;
pub mod graph;
mod kept;
mod linear;
#[cfg(test)]
pub(crate) mod oracle;
mod region;
mod stride;
#[cfg(test)]
mod tests;
mod weights;

pub use self::compile::{CompileError, compile};
pub use self::fuse::fuse;
pub use self::graph::Graph;
pub use self::kept::Kept;
pub use self::linear::{DequantizeLinear, Linear, QuantizeLinear};
pub use self::region::{Region, RegionOutput, SharedTeam};
pub use self::stride::Stride;
pub use self::weights::{Int8Values, Values, Weights};
