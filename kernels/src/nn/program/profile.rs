//! What a step did while profiling was on.

/// A step, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepProfile {
    /// The node's name.
    pub name: String,
    /// The algorithm, as "conv 3×3/1 winograd".
    pub kind: String,
    /// How the work is ordered and cut, as "by image, 2×8 tasks, ahead"; empty where there is nothing to choose.
    pub plan: String,
    /// Bytes of weights, as they are stored.
    pub weights: usize,
    /// Bytes of one image's values that are read and written, as they are stored.
    pub values: usize,
    /// Multiplications and additions of the direct algorithm for one image.
    pub flops: u64,
    /// Images computed.
    pub images: u64,
    /// Time spent, in nanoseconds.
    pub nanoseconds: u64,
}
