//! How the colors of a picture become the values of a network's input.
//!
//! Decided by `registry` for a network that `import` has read; used for test images, and by what normalizes bytes.

/// What becomes of a pixel from 0 to 1 in each channel: `(pixel · scale − mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorValues {
    /// The value of white before mean and deviation are applied.
    pub scale: f32,
    /// Subtracted from the scaled pixel, by channel of the network.
    pub mean: [f32; 3],
    /// Divides the difference, by channel of the network.
    pub std: [f32; 3],
}

impl ColorValues {
    /// Pixels from 0 to 1 as they are.
    pub const UNIT: ColorValues = ColorValues {
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// The value of a pixel from 0 to 1.
    pub(super) fn value(&self, channel: usize, pixel: f32) -> f32 {
        (pixel * self.scale - self.mean[channel]) / self.std[channel]
    }
}
