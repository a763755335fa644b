//! Networks of 8 bits in ONNX: what must hold of them, both ways in which files say it as one, and their operators.
//!
//! Called by `onnx` on the decoded protobuf, and by `import`, which has our operators stand in tract's graph in place of
//! tract's.

mod check;
mod import;
mod qoperator;

pub(super) use self::check::{check, constants};
pub(super) use self::import::register;
pub(super) use self::qoperator::rewrite;
