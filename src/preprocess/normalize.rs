//! 8-bit RGB to the network's normalized NCHW input.
//!
//! Called by `Preprocessor::run` with the crop; the last stage before the batcher.

use crate::tensor::Tensor;

/// `(x / 255 - mean[c]) / std[c]` for all 256 values of the three channels.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    table: Box<[[f32; 256]; 3]>,
}

impl Normalizer {
    /// Tabulates the three operations in `f32`, in the order and rounding of torchvision's `ToTensor` and `Normalize`.
    pub(super) fn new(mean: [f32; 3], std: [f32; 3]) -> Normalizer {
        let mut table = Box::new([[0.0; 256]; 3]);
        for (channel, row) in table.iter_mut().enumerate() {
            for (value, out) in row.iter_mut().enumerate() {
                *out = (value as f32 / 255.0 - mean[channel]) / std[channel];
            }
        }
        Normalizer { table }
    }

    /// Normalizes a square crop and moves HWC to CHW in one pass.
    ///
    /// # Shapes
    /// - `crop`: `[side, side, 3]` `u8`
    /// - returns: `[3, side, side]` `f32`
    pub(super) fn run(&self, crop: &[u8], side: usize) -> Tensor {
        let area = side * side;
        let mut data = vec![0.0; 3 * area];
        let (red, rest) = data.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let [r, g, b] = &*self.table;
        for (((pixel, red), green), blue) in crop.chunks_exact(3).zip(red).zip(green).zip(blue) {
            *red = r[usize::from(pixel[0])];
            *green = g[usize::from(pixel[1])];
            *blue = b[usize::from(pixel[2])];
        }
        Tensor::new(vec![3, side, side], data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{IMAGENET_MEAN, IMAGENET_STD};

    #[test]
    fn channels_are_normalized_and_moved_to_planes() {
        let crop = [0, 128, 255, 10, 20, 30, 40, 50, 60, 70, 80, 90];
        let tensor = Normalizer::new(IMAGENET_MEAN, IMAGENET_STD).run(&crop, 2);
        assert_eq!(tensor.shape(), [3, 2, 2]);
        for (i, value) in tensor.data().iter().enumerate() {
            let (channel, pixel) = (i / 4, i % 4);
            let x = f32::from(crop[pixel * 3 + channel]);
            assert_eq!(
                *value,
                (x / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            );
        }
    }
}
