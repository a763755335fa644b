//! An image on its way to a network: a dense `f32` tensor, NCHW, or the crop's bytes; both owned.
//!
//! Made by preprocess, carried by the batcher, stacked and run by the engine.

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

/// A square crop of a picture, its bytes as they were resized: `[side, 3, side]`, so row, channel, column; the channels
/// in the order in which the network takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crop {
    side: usize,
    bytes: Vec<u8>,
}

impl Crop {
    /// Wraps the bytes of a crop with `side` rows and columns.
    ///
    /// # Panics
    /// If there are not `3 * side * side` bytes: a caller's mistake, never a user's.
    #[must_use]
    pub fn new(side: usize, bytes: Vec<u8>) -> Crop {
        assert_eq!(bytes.len(), 3 * side * side, "bytes of a crop of {side}");
        Crop { side, bytes }
    }

    /// The same with the channels the other way round: BGR of RGB.
    #[must_use]
    pub fn with_reversed_channels(mut self) -> Crop {
        for row in self.bytes.chunks_exact_mut(3 * self.side) {
            let (first, others) = row.split_at_mut(self.side);
            first.swap_with_slice(&mut others[self.side..]);
        }
        self
    }

    /// Rows and columns.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// The bytes in row-major order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An image on its way to a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// Normalized: `[3, side, side]`. Every network takes it.
    Tensor(Tensor),
    /// A quarter of the memory, for a network that normalizes it itself.
    Crop(Crop),
}

impl From<Tensor> for Image {
    fn from(tensor: Tensor) -> Image {
        Image::Tensor(tensor)
    }
}

impl From<Crop> for Image {
    fn from(crop: Crop) -> Image {
        Image::Crop(crop)
    }
}
