//! A convolution's weights, still in the memory of whoever imported them.
//!
//! Made by `engine::lower`, scaled by fusion, copied by `compile` one layer at a time: so a network's weights are in
//! memory once before they are packed, however they are folded.

use std::fmt;
use std::sync::Arc;

/// Memory that holds weights.
pub trait Values: Send + Sync {
    /// All of them.
    fn values(&self) -> &[f32];
}

impl Values for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }
}

/// Shared weights `[outputs, inputs / groups, kernel height, kernel width]`, times a factor for each output.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<dyn Values>,
    /// The number of outputs, where memory holds `[inputs, outputs]` instead.
    transposed: Option<usize>,
    /// One an output; empty if all are one.
    scale: Vec<f32>,
}

impl Weights {
    /// Weights in the order of the shape.
    #[must_use]
    pub fn new(shared: Arc<dyn Values>) -> Weights {
        Weights {
            shared,
            transposed: None,
            scale: Vec::new(),
        }
    }

    /// Weights of a matrix that memory holds as `[inputs, outputs]`.
    #[must_use]
    pub fn transposed(shared: Arc<dyn Values>, outputs: usize) -> Weights {
        Weights {
            transposed: Some(outputs),
            ..Weights::new(shared)
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.values().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Multiplies each output's weights by its factor, when they are copied.
    pub fn scale(&mut self, factors: &[f32]) {
        if self.scale.is_empty() {
            self.scale = vec![1.0; factors.len()];
        }
        self.scale
            .iter_mut()
            .zip(factors)
            .for_each(|(s, f)| *s *= f);
    }

    /// A copy in the order of the shape, scaled.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        let shared = self.shared.values();
        let mut values = match self.transposed {
            None => shared.to_vec(),
            Some(outputs) => {
                let of_output = |o: usize| shared[o..].iter().step_by(outputs);
                (0..outputs).flat_map(of_output).copied().collect()
            }
        };
        if !self.scale.is_empty() && !values.is_empty() {
            let size = values.len() / self.scale.len();
            for (kernel, scale) in values.chunks_exact_mut(size).zip(&self.scale) {
                kernel.iter_mut().for_each(|w| *w *= scale);
            }
        }
        values
    }
}

impl From<Vec<f32>> for Weights {
    fn from(values: Vec<f32>) -> Weights {
        Weights::new(Arc::new(values))
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Weights) -> bool {
        self.to_vec() == other.to_vec()
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_order_are_applied_by_the_copy() {
        let mut weights = Weights::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(weights.to_vec(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        weights.scale(&[2.0, -1.0]);
        weights.scale(&[0.5, 10.0]);
        assert_eq!(weights.to_vec(), [1.0, 2.0, 3.0, -40.0, -50.0, -60.0]);
        let memory = Arc::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut weights = Weights::transposed(memory, 2);
        assert_eq!(weights.to_vec(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        weights.scale(&[1.0, 2.0]);
        assert_eq!(weights.to_vec(), [1.0, 3.0, 5.0, 4.0, 8.0, 12.0]);
    }
}
