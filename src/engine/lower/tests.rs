//! Lowered networks against tract's own, with the nested loops of `ops::reference` in place of kernels.
