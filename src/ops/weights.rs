//! A convolution's weights, still in the memory of whoever imported them.
//!
//! Made by `engine::lower`, scaled by fusion, read by `compile` one layer at a time: so a network's weights are in
//! memory once before they are packed, however they are folded.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Memory that holds weights.
pub trait Values: Send + Sync {
    /// All numbers in the memory.
    fn values(&self) -> &[f32];
}

/// Memory that holds weights of 8 bits.
pub trait Int8Values: Send + Sync {
    /// All bytes in the memory.
    fn values(&self) -> &[i8];
}

impl Int8Values for Vec<i8> {
    fn values(&self) -> &[i8] {
        self
    }
}

/// The memory in which weights lie.
#[derive(Clone)]
enum Shared {
    Floats(Arc<dyn Values>),
    Int8(Arc<dyn Int8Values>),
}

impl Values for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }
}

/// Shared weights `[outputs, inputs / groups, kernel height, kernel width]`, times a factor for each output.
#[derive(Clone)]
pub struct Weights {
    shared: Shared,
    /// The number of outputs, where memory holds `[inputs, outputs]` instead.
    transposed: Option<usize>,
    /// The part of each kernel that counts, if that is not all of it.
    part: Option<Part>,
    /// The factor of each output; empty if all are one.
    scale: Vec<f32>,
}

/// Neighbouring rows and columns of kernels.
#[derive(Clone)]
struct Part {
    /// Height and width in memory.
    kernel: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Part {
    /// The kept part of each of some kernels.
    fn of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let [height, width] = self.kernel;
        let kernels = values.chunks_exact(height * width);
        let rows = kernels.flat_map(|kernel| {
            kernel
                .chunks_exact(width)
                .take(self.rows.end)
                .skip(self.rows.start)
        });
        rows.flat_map(|row| &row[self.columns.clone()])
            .copied()
            .collect()
    }

    /// The position in memory of weight `number` of those kept.
    fn place(&self, number: usize) -> usize {
        let (width, kept) = (self.columns.len(), self.rows.len() * self.columns.len());
        let (kernel, within) = (number / kept, number % kept);
        let row = kernel * self.kernel[0] + self.rows.start + within / width;
        row * self.kernel[1] + self.columns.start + within % width
    }
}

impl Weights {
    /// Weights in the order of the shape.
    #[must_use]
    pub fn new(shared: Arc<dyn Values>) -> Weights {
        Weights {
            shared: Shared::Floats(shared),
            transposed: None,
            part: None,
            scale: Vec::new(),
        }
    }

    /// Weights of 8 bits in the order of the shape, each times its output's scale.
    #[must_use]
    pub fn int8(shared: Arc<dyn Int8Values>, scales: Vec<f32>) -> Weights {
        Weights {
            shared: Shared::Int8(shared),
            transposed: None,
            part: None,
            scale: scales,
        }
    }

    /// Weights of 8 bits of a matrix that memory holds as `[inputs, outputs]`, each times its output's scale.
    #[must_use]
    pub fn int8_transposed(shared: Arc<dyn Int8Values>, scales: Vec<f32>) -> Weights {
        Weights {
            transposed: Some(scales.len()),
            ..Weights::int8(shared, scales)
        }
    }

    /// The bytes in the order of the shape, and each output's scale, if they are of 8 bits.
    #[must_use]
    pub fn as_int8(&self) -> Option<(Cow<'_, [i8]>, &[f32])> {
        match &self.shared {
            Shared::Floats(_) => None,
            Shared::Int8(shared) => Some((self.shaped(shared.values()), &self.scale)),
        }
    }

    /// The values in memory in the order of the shape: borrowed, if they lie so.
    fn shaped<'v, T: Copy + Default>(&self, values: &'v [T]) -> Cow<'v, [T]> {
        match (self.transposed, &self.part) {
            (Some(outputs), _) => Cow::Owned(in_order(values, outputs)),
            (None, Some(part)) => Cow::Owned(part.of(values)),
            (None, None) => Cow::Borrowed(values),
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

    /// The number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        let all = match &self.shared {
            Shared::Floats(shared) => shared.values().len(),
            Shared::Int8(shared) => shared.values().len(),
        };
        match &self.part {
            Some(part) => {
                all / (part.kernel[0] * part.kernel[1]) * part.rows.len() * part.columns.len()
            }
            None => all,
        }
    }

    /// Whether there are no weights.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps those rows and columns of each kernel, of so many in all; nothing else is read any more.
    ///
    /// # Panics
    /// If a part has been kept already, or they are those of a matrix that memory holds as `[inputs, outputs]`.
    pub fn keep(&mut self, kernel: [usize; 2], [rows, columns]: [Range<usize>; 2]) {
        assert!(
            self.part.is_none() && self.transposed.is_none(),
            "{self:?} are whole kernels"
        );
        self.part = Some(Part {
            kernel,
            rows,
            columns,
        });
    }

    /// Multiplies each output's weights by its factor, when they are read.
    pub fn scale(&mut self, factors: &[f32]) {
        if self.scale.is_empty() {
            self.scale = vec![1.0; factors.len()];
        }
        self.scale
            .iter_mut()
            .zip(factors)
            .for_each(|(s, f)| *s *= f);
    }

    /// A copy of those of one output, of `inputs` each, scaled; none if there is no such output.
    #[must_use]
    pub fn of_output(&self, output: usize, inputs: usize) -> Option<Vec<f32>> {
        let outputs = self.len().checked_div(inputs)?;
        if output >= outputs {
            return None;
        }
        let scale = self.scale.get(output).copied().unwrap_or(1.0);
        let places = (0..inputs).map(|i| match (self.transposed, &self.part) {
            (Some(outputs), _) => output + i * outputs,
            (None, Some(part)) => part.place(output * inputs + i),
            (None, None) => output * inputs + i,
        });
        Some(match &self.shared {
            Shared::Floats(shared) => {
                let values = shared.values();
                places.map(|at| values[at] * scale).collect()
            }
            Shared::Int8(shared) => {
                let values = shared.values();
                places.map(|at| f32::from(values[at]) * scale).collect()
            }
        })
    }

    /// All weights in the order of the shape, scaled: borrowed, if they lie so.
    #[must_use]
    pub fn scaled(&self) -> Cow<'_, [f32]> {
        let mut values = match &self.shared {
            Shared::Floats(shared) => self.shaped(shared.values()),
            Shared::Int8(shared) => {
                let values = self.shaped(shared.values());
                Cow::Owned(values.iter().map(|w| f32::from(*w)).collect())
            }
        };
        if self.scale.iter().any(|scale| *scale != 1.0) && !values.is_empty() {
            let size = values.len() / self.scale.len();
            let kernels = values.to_mut().chunks_exact_mut(size);
            for (kernel, scale) in kernels.zip(&self.scale) {
                kernel.iter_mut().for_each(|w| *w *= scale);
            }
        }
        values
    }
}

/// Rows and columns that are moved together: both sides of the move stay in the first-level cache.
const TILE: usize = 32;

/// A matrix `[inputs, outputs]` as `[outputs, inputs]`.
fn in_order<T: Copy + Default>(values: &[T], outputs: usize) -> Vec<T> {
    let inputs = values.len() / outputs.max(1);
    if inputs == 0 {
        return Vec::new();
    }
    let mut moved = vec![T::default(); values.len()];
    for first in (0..inputs).step_by(TILE) {
        for (o, row) in moved.chunks_exact_mut(inputs).enumerate() {
            let until = inputs.min(first + TILE);
            for (i, to) in (first..until).zip(&mut row[first..until]) {
                *to = values[i * outputs + o];
            }
        }
    }
    moved
}

impl From<Vec<f32>> for Weights {
    fn from(values: Vec<f32>) -> Weights {
        Weights::new(Arc::new(values))
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Weights) -> bool {
        self.scaled() == other.scaled()
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
    fn bytes_keep_their_scales_apart() {
        let memory: Arc<dyn Int8Values> = Arc::new(vec![1_i8, 2, 3, -128]);
        let mut weights = Weights::int8(Arc::clone(&memory), vec![0.5, 2.0]);
        assert_eq!(*weights.scaled(), [0.5, 1.0, 6.0, -256.0]);
        weights.scale(&[2.0, 1.0]);
        let (bytes, scales) = weights.as_int8().unwrap();
        assert_eq!((&*bytes, scales), (&[1, 2, 3, -128][..], &[1.0, 2.0][..]));
        let weights = Weights::int8_transposed(memory, vec![0.5, 2.0]);
        assert_eq!(&*weights.as_int8().unwrap().0, [1, 3, 2, -128]);
        assert_eq!(*weights.scaled(), [0.5, 1.5, 4.0, -256.0]);
        assert!(Weights::from(vec![1.0]).as_int8().is_none());
    }

    #[test]
    fn weights_of_an_output_are_its_row() {
        let floats = Arc::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let int8: Arc<dyn Int8Values> = Arc::new(vec![1_i8, 2, 3, 4, 5, -6]);
        let mut scaled = Weights::new(Arc::<Vec<f32>>::clone(&floats));
        scaled.scale(&[2.0, -1.0]);
        for weights in [
            Weights::new(Arc::<Vec<f32>>::clone(&floats)),
            Weights::transposed(floats, 2),
            scaled,
            Weights::int8(Arc::clone(&int8), vec![0.5, 2.0]),
            Weights::int8_transposed(int8, vec![0.5, 2.0]),
        ] {
            let whole = weights.scaled();
            let rows: Vec<_> = (0..3).map(|o| weights.of_output(o, 3)).collect();
            assert_eq!(rows[0].as_deref(), Some(&whole[..3]));
            assert_eq!(rows[1].as_deref(), Some(&whole[3..]));
            assert_eq!(rows[2], None);
            assert_eq!(weights.of_output(0, 0), None);
        }
    }

    #[test]
    fn kept_parts_are_all_that_is_read() {
        let kernels: Vec<f32> = (0..24_u8).map(f32::from).collect(); // [2, 2, 2, 3]
        let bytes: Vec<i8> = (0..24).collect();
        for mut weights in [
            Weights::from(kernels),
            Weights::int8(Arc::new(bytes), vec![1.0, 1.0]),
        ] {
            weights.keep([2, 3], [1..2, 0..2]);
            assert_eq!(weights.len(), 8);
            let kept = [3.0, 4.0, 9.0, 10.0, 15.0, 16.0, 21.0, 22.0];
            assert_eq!(*weights.scaled(), kept);
            weights.scale(&[1.0, -1.0]);
            assert_eq!(weights.of_output(0, 4).as_deref(), Some(&kept[..4]));
            let second = weights.of_output(1, 4).unwrap();
            assert_eq!(second, [-15.0, -16.0, -21.0, -22.0]);
            assert_eq!(weights.of_output(2, 4), None);
            if let Some((bytes, _)) = weights.as_int8() {
                assert_eq!(*bytes, [3, 4, 9, 10, 15, 16, 21, 22]);
            }
        }
    }

    #[test]
    fn factors_and_order_are_applied_by_the_copy() {
        let mut weights = Weights::from(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(*weights.scaled(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        weights.scale(&[2.0, -1.0]);
        weights.scale(&[0.5, 10.0]);
        assert_eq!(*weights.scaled(), [1.0, 2.0, 3.0, -40.0, -50.0, -60.0]);
        let memory = Arc::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut weights = Weights::transposed(memory, 2);
        assert_eq!(*weights.scaled(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        weights.scale(&[1.0, 2.0]);
        assert_eq!(*weights.scaled(), [1.0, 3.0, 5.0, 4.0, 8.0, 12.0]);
    }

    #[test]
    fn weights_are_copied_only_where_the_copy_differs() {
        let mut weights = Weights::from(vec![1.0, 2.0]);
        assert!(matches!(weights.scaled(), Cow::Borrowed(_)));
        weights.scale(&[1.0]);
        assert!(matches!(weights.scaled(), Cow::Borrowed(_)));
        weights.scale(&[2.0]);
        assert_eq!(weights.scaled(), Cow::Owned::<[f32]>(vec![2.0, 4.0]));
    }

    #[test]
    fn matrix_of_any_size_is_transposed() {
        for (inputs, outputs) in [(0, 3), (1, 1), (TILE - 1, 2), (TILE + 1, 5), (3 * TILE, 40)] {
            let values: Vec<usize> = (0..inputs * outputs).collect();
            let moved = in_order(&values, outputs);
            assert_eq!(moved.len(), values.len());
            for (at, value) in moved.into_iter().enumerate() {
                let (output, input) = (at / inputs, at % inputs);
                assert_eq!(value, input * outputs + output, "[{inputs}, {outputs}]");
            }
        }
    }
}
