//! What may be asked of an image beside its classes.
//!
//! Plain values, which every room above knows, also where no engine is built.

/// What is wanted of an image beside its classes; of a network without features there is none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Where the network saw a class.
    pub explain: Option<Explain>,
    /// The mean of each channel of the last feature map.
    pub features: bool,
    /// That map.
    pub feature_map: bool,
}

/// The class that is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// The one with the largest number, the first of equal ones.
    Winner,
    /// This one.
    Class(usize),
}
