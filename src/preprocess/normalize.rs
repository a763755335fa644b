//! 8-bit RGB to the network's normalized NCHW input.
//!
//! Called by `Preprocessor::run` with the crop; the last stage before the batcher, unless the network normalizes
//! itself.

use super::PreprocessSpec;
use crate::tensor::{Crop, Tensor};
use kernels::{Normalization, NormalizeKernel};

/// `(x · scale / 255 - mean[c]) / std[c]` for the three channels.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    channels: [Normalization; 3],
}

impl Normalizer {
    /// The three operations in `f32`, in the order and rounding of torchvision's `ToTensor` and `Normalize`.
    pub(super) fn new(kernel: NormalizeKernel, spec: &PreprocessSpec) -> Normalizer {
        let channel = |c| Normalization::new(kernel, spec.scale, spec.mean[c], spec.std[c]);
        Normalizer {
            channels: std::array::from_fn(channel),
        }
    }

    /// Normalizes a crop and makes each channel a plane.
    ///
    /// # Shapes
    /// - `crop`: `[height, 3, width]`: row, channel, column
    /// - returns: `[3, height, width]` `f32`
    pub(super) fn run(&self, crop: &Crop) -> Tensor {
        let size = crop.size();
        let width = size.width as usize;
        let mut data = Vec::with_capacity(size.values());
        for (i, channel) in self.channels.iter().enumerate() {
            for row in crop.bytes().chunks_exact(3 * width) {
                channel.append(&row[i * width..][..width], &mut data);
            }
        }
        Tensor::new(size.shape().to_vec(), data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{IMAGENET_MEAN, IMAGENET_STD};
    use crate::tensor::Size;

    fn normalizer(spec: &PreprocessSpec) -> Normalizer {
        Normalizer::new(NormalizeKernel::detect(), spec)
    }

    #[test]
    fn channels_are_normalized_and_moved_to_planes() {
        let crop = [0, 128, 255, 10, 20, 30, 40, 50, 60, 70, 80, 90];
        for (height, width) in [(2, 2), (1, 4), (4, 1)] {
            let size = Size { height, width };
            let tensor =
                normalizer(&PreprocessSpec::default()).run(&Crop::new(size, crop.to_vec()));
            assert_eq!(tensor.shape(), size.shape());
            let width = width as usize;
            for (i, value) in tensor.data().iter().enumerate() {
                let (channel, row, column) = (i / 4, i % 4 / width, i % width);
                let x = f32::from(crop[(row * 3 + channel) * width + column]);
                assert_eq!(
                    *value,
                    (x / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
                );
            }
        }
    }

    /// Every byte once in each channel, normalized.
    fn all_bytes(spec: &PreprocessSpec) -> Vec<f32> {
        let rows = (0..16_u8).flat_map(|row| [0; 3].map(|_: u8| row).into_iter());
        let bytes = rows.flat_map(|row| (0..16).map(move |column| row * 16 + column));
        let tensor = normalizer(spec).run(&Crop::new(Size::square(16), bytes.collect()));
        tensor.into_data()
    }

    #[test]
    fn pixels_as_stored_are_whole_numbers_before_the_mean() {
        // Keras' mode "caffe", OpenVINO's mean and scale values.
        for (mean, std) in [
            ([103.939, 116.779, 123.68], [1.0; 3]),
            ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ] {
            let spec = PreprocessSpec {
                scale: 255.0,
                mean,
                std,
                ..PreprocessSpec::default()
            };
            for (i, value) in all_bytes(&spec).into_iter().enumerate() {
                let (channel, x) = (i / 256, i % 256);
                let expected = (x as f32 - mean[channel]) / std[channel];
                assert_eq!(
                    value.to_bits(),
                    expected.to_bits(),
                    "{x} of channel {channel}"
                );
            }
        }
    }

    #[test]
    fn any_other_range_is_rounded_once() {
        // Keras' mode "tf": x / 127.5 - 1; and pixels divided by 256.
        for (scale, divisor, mean) in [(2.0, 127.5, 1.0), (255.0 / 256.0, 256.0, 0.0)] {
            let spec = PreprocessSpec {
                scale,
                mean: [mean; 3],
                std: [1.0; 3],
                ..PreprocessSpec::default()
            };
            for (i, value) in all_bytes(&spec).into_iter().enumerate() {
                let expected = (i % 256) as f32 / divisor - mean;
                assert_eq!(
                    value.to_bits(),
                    expected.to_bits(),
                    "{} of {divisor}",
                    i % 256
                );
            }
        }
    }
}
