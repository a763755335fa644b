//! The operators of ours that stand in tract's graph: what they compute, and how that becomes a program of kernels.
//!
//! Called by `engine`, whose lowering describes the part of a network that it recognizes as a [`Graph`]; [`compile`]
//! turns that into a [`crate::kernels::nn::Program`], which one operator in tract's graph runs.

mod compile;
pub mod graph;

pub use self::compile::{CompileError, compile};
pub use self::graph::Graph;
