//! 8-bit RGB to the network's normalized NCHW input.
//!
//! Called by `Preprocessor::run` with the crop; the last stage before the batcher, unless the network normalizes
//! itself.

use crate::tensor::{Crop, Tensor};
use kernels::{Normalization, NormalizeKernel};

/// `(x / 255 - mean[c]) / std[c]` for the three channels.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    channels: [Normalization; 3],
}

impl Normalizer {
    /// The three operations in `f32`, in the order and rounding of torchvision's `ToTensor` and `Normalize`.
    pub(super) fn new(kernel: NormalizeKernel, mean: [f32; 3], std: [f32; 3]) -> Normalizer {
        let channels = std::array::from_fn(|c| Normalization::new(kernel, mean[c], std[c]));
        Normalizer { channels }
    }

    /// Normalizes a square crop and makes each channel a plane.
    ///
    /// # Shapes
    /// - `crop`: `[side, 3, side]`: row, channel, column
    /// - returns: `[3, side, side]` `f32`
    pub(super) fn run(&self, crop: &Crop) -> Tensor {
        let side = crop.side();
        let mut data = Vec::with_capacity(3 * side * side);
        for (channel, normalization) in self.channels.iter().enumerate() {
            for row in crop.bytes().chunks_exact(3 * side) {
                normalization.append(&row[channel * side..][..side], &mut data);
            }
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
        let normalizer = Normalizer::new(NormalizeKernel::detect(), IMAGENET_MEAN, IMAGENET_STD);
        let tensor = normalizer.run(&Crop::new(2, crop.to_vec()));
        assert_eq!(tensor.shape(), [3, 2, 2]);
        for (i, value) in tensor.data().iter().enumerate() {
            let (channel, row, column) = (i / 4, i / 2 % 2, i % 2);
            let x = f32::from(crop[row * 6 + channel * 2 + column]);
            assert_eq!(
                *value,
                (x / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            );
        }
    }
}
