//! The steps that multiply no weights: in and out of lines, pools, sums, products and factors, activations.

pub(crate) mod activate;
mod block;
pub(crate) mod concat;
pub(crate) mod convert;
pub(crate) mod multiply;
pub(crate) mod pointwise;
pub(crate) mod pool;
