//! The steps that multiply no weights: pools, sums and factors.

pub(crate) mod pointwise;
pub(crate) mod pool;
