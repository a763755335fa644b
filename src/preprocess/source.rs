//! What a client sends of an image: the encoded file, or pixels or numbers that it has preprocessed itself.
//!
//! Given to `classifier`, which decodes the first and sorts the second on its `prep-N` threads; the numbers go to the
//! network as they are.

use bytes::Bytes;

use super::{Channels, Preprocessor};
use crate::tensor::{Crop, Image, Values};

/// One image as its client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An encoded image of any size.
    Encoded(Bytes),
    /// Pixels at the network's size: `[height, width, 3]` RGB, row-major.
    Pixels(Bytes),
    /// The network's own input: `[3, height, width]` `f32`, little-endian, normalized, in its order of channels.
    Values(Bytes),
}

impl From<Bytes> for Source {
    fn from(encoded: Bytes) -> Source {
        Source::Encoded(encoded)
    }
}

impl Source {
    /// The bytes of the file, the pixels or the values.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Source::Encoded(bytes) | Source::Pixels(bytes) | Source::Values(bytes) => bytes,
        }
    }

    /// The same kind of source with other bytes in place of its own.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Bytes) -> Bytes) -> Source {
        match self {
            Source::Encoded(bytes) => Source::Encoded(change(bytes)),
            Source::Pixels(bytes) => Source::Pixels(change(bytes)),
            Source::Values(bytes) => Source::Values(change(bytes)),
        }
    }
}

impl Preprocessor {
    /// Pixels that are at the network's size already, as the crop of a decoded image is.
    ///
    /// # Shapes
    /// - `pixels`: `[height, width, 3]` RGB, of the size of `crop`
    /// - returns: `[height, 3, width]`, the channels in the network's order
    ///
    /// # Panics
    /// If there are not as many: whoever takes them from a client checks that.
    #[must_use]
    pub fn pixels(&self, pixels: &[u8]) -> Crop {
        let size = self.spec.crop;
        assert_eq!(pixels.len(), size.values(), "pixels of a crop of {size}");
        let mut bytes = Vec::with_capacity(pixels.len());
        for row in pixels.chunks_exact(3 * size.width as usize) {
            for channel in 0..3 {
                bytes.extend(row.iter().skip(channel).step_by(3));
            }
        }
        let crop = Crop::new(size, bytes);
        match self.spec.channels {
            Channels::Rgb => crop,
            Channels::Bgr => crop.with_reversed_channels(),
        }
    }

    /// The crop as a network takes it that does not normalize.
    #[must_use]
    pub fn normalize(&self, crop: &Crop) -> Image {
        self.normalizer.run(crop).into()
    }

    /// Values that are the network's input already; they stay where they are.
    ///
    /// # Shapes
    /// - `values`: `[3, height, width]` `f32`, little-endian, of the size of `crop`
    ///
    /// # Panics
    /// If there are not as many: whoever takes them from a client checks that.
    #[must_use]
    pub fn values(&self, values: &Bytes) -> Values {
        Values::new(self.spec.crop, values.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{ImageOptions, PreprocessSpec};
    use crate::tensor::Size;

    fn preprocessor(channels: Channels) -> Preprocessor {
        let spec = PreprocessSpec {
            resize: Size::square(2),
            crop: Size::square(2),
            channels,
            ..PreprocessSpec::default()
        };
        Preprocessor::new(spec, ImageOptions::default())
    }

    #[test]
    fn pixels_are_sorted_by_channel_in_the_networks_order() {
        let pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let rgb = preprocessor(Channels::Rgb).pixels(&pixels);
        assert_eq!(rgb.bytes(), [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
        let bgr = preprocessor(Channels::Bgr).pixels(&pixels);
        assert_eq!(bgr.bytes(), [3, 6, 2, 5, 1, 4, 9, 12, 8, 11, 7, 10]);
    }

    #[test]
    fn values_are_the_input_whatever_the_order_and_wherever_they_lie() {
        let values: Vec<f32> = (0..12_u8).map(|i| f32::from(i) / 7.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        for before in 0..4 {
            let body = [&vec![0; before], &bytes[..]].concat();
            let body = Bytes::from(body).slice(before..);
            let taken = preprocessor(Channels::Bgr).values(&body);
            assert_eq!(taken.len(), 12);
            assert!(taken.iter().eq(values.iter().copied()), "{before}");
        }
    }
}
