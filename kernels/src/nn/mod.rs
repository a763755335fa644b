//! Neural network layers: values in lines of 64 bytes, micro-kernels that multiply them, and the steps around.
//!
//! Rooms, from the bottom; each imports only what stands before it, which `tests/tidy.rs` checks:
//!
//! | room | task |
//! |---|---|
//! | `denormals` | numbers that are too small to matter, as zeros |
//! | `layout` | how values lie in memory, and what a line's 64 bytes mean |
//! | `arithmetic` | a precision, and the instructions that compute it |
//! | `layer` | the descriptions of layers that a program is built from |
//! | `micro` | the micro-kernels of numbers by instruction set: their contract, and the table that chooses one |
//! | `team` | the threads that share an inference |
//! | `arena` | a worker's memory, and where each value lies in it |
//! | `conv` | the algorithms of convolution, among them Winograd's, and the plan of their work |
//! | `steps` | the steps without weights: pools, elementwise steps, the way into and out of lines |
//! | `int8` | the same on bytes: micro-kernels with a contract of their own, direct, Winograd's and depthwise convolutions, steps |
//! | `program` | a network as steps: its builder, which chooses the algorithms (`algorithm`), and the run |
//!
//! What is for tests alone stands apart: `micro::oracle` and `int8::oracle` have the same sums in plain Rust, `testing`
//! has values to test with.

mod arena;
mod arithmetic;
mod conv;
mod denormals;
mod int8;
mod layer;
mod layout;
mod micro;
mod program;
mod steps;
mod team;
#[cfg(test)]
mod testing;

pub use self::arena::memory::Memory;
pub use self::arithmetic::{Arithmetic, Precision};
pub use self::denormals::{FlushDenormals, flush_denormals};
pub use self::int8::{Int8Conv, Int8Own, Int8Residual, Quantization};
pub use self::layer::{Activation, ConvLayer, Pooling, SlidingWindow, Unsupported, Value};
pub use self::layout::input::Input;
pub use self::layout::line::{Line, Plane};
#[cfg(target_arch = "x86_64")]
pub(crate) use self::micro::amx::{spin as spin_tiles, spin_bytes as spin_tiles_of_bytes};
pub use self::program::Program;
pub use self::program::builder::Builder;
pub use self::program::profile::StepProfile;
pub use self::team::{Lead, Team};
