//! A worker's memory: the lines themselves, where each value of a program lies in them, and what is left for steps.

pub(crate) mod memory;
pub(crate) mod placement;
pub(crate) mod scratch;
