//! How values lie in memory: lines of 64 bytes.
//!
//! A [`Line`](line::Line) holds one pixel's values of one block of channels: 16 `f32`, 32 bfloat16, or 64 bytes. A
//! value of one image is `[block][row][column]` lines; pixels of a block are neighbours, so the micro-kernel reads them
//! at constant distances without packing, and 64-byte lines never split a cache line. Channels beyond the last are
//! zeros.

pub(crate) mod border;
pub(crate) mod format;
pub(crate) mod input;
pub(crate) mod line;
pub(crate) mod store;
