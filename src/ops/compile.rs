//! A graph to a program: which algorithm computes which node, where its values lie, how its weights are packed.

use super::Graph;
use crate::kernels::nn::{Arithmetic, Program};

/// Why a graph has no program here; tract computes it then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Something that no kernel of ours does.
    #[error("node \"{node}\": {reason}")]
    Unsupported {
        /// Its name.
        node: String,
        /// What it is that is not supported.
        reason: String,
    },
    /// Weights that are NaN or infinite.
    #[error("node \"{node}\": a weight is {value}: the weights are damaged")]
    NotFinite {
        /// Its name.
        node: String,
        /// NaN or an infinity, as text.
        value: String,
    },
}

/// Packs the weights and lays out the memory of `graph`.
///
/// # Errors
/// [`CompileError`], naming the node.
pub fn compile(graph: &Graph, arithmetic: Arithmetic) -> Result<Program, CompileError> {
    let _ = (graph, arithmetic);
    Err(CompileError::Unsupported {
        node: String::new(),
        reason: "not yet".into(),
    })
}
