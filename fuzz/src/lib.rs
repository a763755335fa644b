//! What the fuzz targets share: the service's own sources, and the checks that every input must pass.
//!
//! The rooms from bytes to a tensor, the life of a connection and the parser of uploads are compiled here from the very
//! files the service is made of, without the engine, so that an instrumented build takes a minute or two. Used by
//! `fuzz_targets/*.rs`, each of which is one format or protocol.

// First, for its macro.
#[macro_use]
#[path = "../../src/faults.rs"]
mod faults;

#[path = "../../src/base64.rs"]
pub mod base64;
/// What of the classifier a request names.
#[path = "../../src/engine/wish.rs"]
pub mod classifier;
#[path = "../../src/fair_queue.rs"]
pub mod fair_queue;
#[path = "../../src/heartbeat.rs"]
pub mod heartbeat;
#[path = "../../src/npy/mod.rs"]
pub mod npy;
#[path = "../../src/preprocess/mod.rs"]
pub mod preprocess;
#[path = "../../src/tensor/mod.rs"]
pub mod tensor;
#[path = "../../src/visible.rs"]
pub mod visible;

pub mod desk;
pub mod http;
pub mod image;
pub mod memory;
pub mod oip;
pub mod panics;
pub mod server;
