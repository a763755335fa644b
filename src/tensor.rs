//! The one tensor type: dense `f32`, NCHW, owned; made by preprocess, stacked and run by the engine.

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
