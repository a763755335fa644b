//! The steps that multiply no weights: in and out of lines, pools, sums and factors.

pub(crate) mod convert;
pub(crate) mod pointwise;
pub(crate) mod pool;
