//! What the fuzz targets share: the service's own sources, and the checks that every input must pass.
//!
//! The rooms from bytes to a tensor are compiled here from the very files the service is made of, without the engine,
//! so that an instrumented build takes a minute. Used by `fuzz_targets/*.rs`, each of which is one format.

#[path = "../../src/kernels/mod.rs"]
pub mod kernels;
#[path = "../../src/npy/mod.rs"]
pub mod npy;
#[path = "../../src/preprocess/mod.rs"]
pub mod preprocess;
#[path = "../../src/tensor.rs"]
pub mod tensor;

pub mod image;
pub mod memory;
pub mod panics;
