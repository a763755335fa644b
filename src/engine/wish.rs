//! What may be asked of an image beside its classes.
//!
//! Plain values, which every room above knows, also where no engine is built.

/// What is wanted of an image beside its classes; of a network without features there is none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// The class to explain by where the network saw it; none if that is not wanted.
    pub explain: Option<Explain>,
    /// Whether the mean of each channel of the last feature map is wanted.
    pub features: bool,
    /// Whether the last feature map itself is wanted.
    pub feature_map: bool,
}

/// The class that is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// The class with the largest number, the first of equal ones.
    Winner,
    /// The class of this index.
    Class(usize),
}
