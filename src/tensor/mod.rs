//! An image on its way to a network: a dense `f32` tensor, NCHW, a client's own numbers as they came, or the crop's
//! bytes.
//!
//! Made by preprocess, carried by the batcher, stacked and run by the engine.

mod size;

use bytes::Bytes;

pub use self::size::{Sides, Size};

/// A dense row-major `f32` array with its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// Wraps `data` with its shape.
    ///
    /// # Panics
    /// If the product of `shape` is not the length of `data`: a caller's mistake, never a user's.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Tensor {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "shape {shape:?} does not describe {} values",
            data.len()
        );
        Tensor { shape, data }
    }

    /// A tensor of zeros.
    #[must_use]
    pub fn zeros(shape: Vec<usize>) -> Tensor {
        let len = shape.iter().product();
        Tensor {
            shape,
            data: vec![0.0; len],
        }
    }

    /// The extent of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Gives the values up, in row-major order.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}

/// A crop of a picture, its bytes as they were resized: `[height, 3, width]`, so row, channel, column; the channels in the
/// order in which the network takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crop {
    size: Size,
    bytes: Vec<u8>,
}

impl Crop {
    /// Wraps the bytes of a crop of this size.
    ///
    /// # Panics
    /// If there are not three bytes for each of its pixels: a caller's mistake, never a user's.
    #[must_use]
    pub fn new(size: Size, bytes: Vec<u8>) -> Crop {
        assert_eq!(bytes.len(), size.values(), "bytes of a crop of {size}");
        Crop { size, bytes }
    }

    /// The crop with its channels the other way round: BGR of RGB.
    #[must_use]
    pub fn with_reversed_channels(mut self) -> Crop {
        let width = self.size.width as usize;
        for row in self.bytes.chunks_exact_mut(3 * width) {
            let (first, others) = row.split_at_mut(width);
            first.swap_with_slice(&mut others[width..]);
        }
        self
    }

    /// The rows and columns of the crop.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// The bytes in row-major order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A network's input as its client has sent it, part of the body that it came in: `[3, height, width]` `f32`,
/// little-endian, at any alignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    bytes: Bytes,
}

impl Values {
    /// Wraps the numbers of an image of this size.
    ///
    /// # Panics
    /// If there are not four bytes for each of its values: a caller's mistake, never a user's.
    #[must_use]
    pub fn new(size: Size, bytes: Bytes) -> Values {
        assert_eq!(bytes.len(), 4 * size.values(), "values of {size}");
        Values { bytes }
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / 4
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The numbers in row-major order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f32> {
        let (values, _) = self.bytes.as_chunks::<4>();
        values.iter().map(|value| f32::from_le_bytes(*value))
    }
}

/// An image on its way to a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// Normalized: `[3, height, width]`. Every network takes it.
    Tensor(Tensor),
    /// Normalized, as the client has sent it.
    Values(Values),
    /// A quarter of the memory, for a network that normalizes it itself.
    Crop(Crop),
}

impl From<Tensor> for Image {
    fn from(tensor: Tensor) -> Image {
        Image::Tensor(tensor)
    }
}

impl From<Values> for Image {
    fn from(values: Values) -> Image {
        Image::Values(values)
    }
}

impl From<Crop> for Image {
    fn from(crop: Crop) -> Image {
        Image::Crop(crop)
    }
}
