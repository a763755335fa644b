//! What a program is given: images of numbers, or of bytes that its first convolution normalizes.
//!
//! Passed by `ops::Region` to `Program::run`.

use std::ops::Range;

/// The images of one input of a program.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// `[images, channels, height, width]`.
    F32(&'a [f32]),
    /// `[images, height, channels, width]`; only where [`crate::nn::program::Program::takes_bytes`].
    Bytes(&'a [u8]),
}

impl<'a> Input<'a> {
    /// Values of all images.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Input::F32(values) => values.len(),
            Input::Bytes(values) => values.len(),
        }
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The values in `range`.
    pub(crate) fn part(self, range: Range<usize>) -> Input<'a> {
        match self {
            Input::F32(values) => Input::F32(&values[range]),
            Input::Bytes(values) => Input::Bytes(&values[range]),
        }
    }
}
