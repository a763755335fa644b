//! A program step by step: checks shapes, packs weights, and in the end finds a place for every value.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::{Program, Step, Work};
use crate::nn::arena::placement::{Access, Allocation, Scope, allocate};
use crate::nn::arithmetic::{Arithmetic, Precision};
use crate::nn::int8::Quantization;
use crate::nn::layer::Value;
use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;
use crate::nn::steps::convert::Conversion;
use crate::{Normalization, Vectorized};

/// Lines behind the last value that may be read, though not used: what tiles read beyond the last pixels.
const SLACK: usize = 64;

/// Builds a [`Program`].
#[derive(Debug)]
pub struct Builder {
    pub(crate) arithmetic: Arithmetic,
    /// The arithmetic of steps on numbers: single precision in a program of bytes, so that these steps too have the
    /// same bits everywhere.
    pub(crate) numbers: Arithmetic,
    pub(crate) vectorized: Vectorized,
    pub(crate) capacity: usize,
    pub(crate) threads: usize,
    pub(crate) scratch: usize,
    steps: Vec<Step>,
    batch_from: Option<usize>,
    pub(crate) values: Vec<Allocation>,
    pub(crate) inputs: Vec<[usize; 3]>,
    pub(crate) output_sizes: Vec<usize>,
    pub(crate) normalization: Option<[Normalization; 3]>,
    /// By the number of each value that is stored as bytes, what its bytes mean.
    pub(crate) quantizations: BTreeMap<usize, Quantization>,
}

impl Builder {
    /// An empty program with inputs of shapes `[channels, height, width]`, for batches of up to `capacity` images and
    /// up to `threads` that share one.
    #[must_use]
    pub fn new(
        arithmetic: Arithmetic,
        inputs: Vec<[usize; 3]>,
        capacity: usize,
        threads: usize,
    ) -> Builder {
        Builder {
            arithmetic,
            numbers: match arithmetic.precision() {
                Precision::Int8 => arithmetic.with_precision(Precision::F32),
                _ => arithmetic,
            },
            vectorized: arithmetic.vectorized(),
            capacity: capacity.max(1),
            threads: threads.max(1),
            scratch: 0,
            steps: Vec::new(),
            batch_from: None,
            values: Vec::new(),
            inputs,
            output_sizes: Vec::new(),
            normalization: None,
            quantizations: BTreeMap::new(),
        }
    }

    /// The arithmetic that the program will compute with.
    #[must_use]
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// What bytes of the three channels of an image mean, for the convolutions that are added from now on.
    pub fn normalize(&mut self, normalization: [Normalization; 3]) {
        self.normalization = Some(normalization);
    }

    /// From the next step on, all images of a batch are computed at once. Before, one after the other.
    pub fn begin_batch(&mut self) {
        self.batch_from.get_or_insert(self.steps.len());
    }

    /// Input number `input`, with `border` zeros around it.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn enter(&mut self, name: &str, input: usize, border: usize) -> Value {
        let [channels, height, width] = self.inputs[input];
        let store = self.numbers.store();
        let plane = Plane {
            height,
            width,
            border,
        };
        let to = self.value(channels, plane, store, self.is_row(height, width, border));
        let conversion = Conversion {
            vectorized: self.vectorized,
            store,
            channels,
        };
        let work = Work::Enter(input, conversion);
        self.step(name, "enter".into(), 0, work, &[], Some(to))
    }

    /// Makes a value the next output of the program.
    pub fn leave(&mut self, name: &str, value: Value) {
        if self.int8_leave(name, value) {
            return;
        }
        let from = self.values[value.0];
        let pixels = if from.row {
            1
        } else {
            from.plane.height * from.plane.width
        };
        let conversion = Conversion {
            vectorized: self.vectorized,
            store: from.store,
            channels: from.channels,
        };
        self.output_sizes.push(from.channels * pixels);
        let work = Work::Leave(self.output_sizes.len() - 1, conversion);
        self.step(name, "leave".into(), 0, work, &[value], None);
    }

    /// Ends the building: finds a place for every value and returns the program.
    #[must_use]
    pub fn finish(mut self) -> Program {
        let batch_from = self.batch_from.unwrap_or(self.steps.len());
        let accesses: Vec<Access<'_>> = self.steps.iter().map(Step::access).collect();
        let scratch = allocate(&accesses, &mut self.values, batch_from, self.capacity);
        Program {
            arithmetic: self.arithmetic,
            steps: self.steps,
            batch_from,
            values: self.values,
            quantizations: self.quantizations,
            capacity: self.capacity,
            scratch,
            lines: scratch + self.scratch + SLACK,
            threads: self.threads,
            input_sizes: self.inputs.iter().map(|i| i.iter().product()).collect(),
            output_sizes: self.output_sizes,
            profiling: AtomicBool::new(false),
        }
    }

    /// Whether a value of this size is laid out as a row of images: where all images are computed at once.
    pub(crate) fn is_row(&self, height: usize, width: usize, border: usize) -> bool {
        self.batch_from.is_some() && (height, width, border) == (1, 1, 0)
    }

    pub(crate) fn value(
        &self,
        channels: usize,
        plane: Plane,
        store: Store,
        row: bool,
    ) -> Allocation {
        let plane = match row {
            true => Plane {
                height: 1,
                width: self.capacity,
                border: 0,
            },
            false => plane,
        };
        Allocation {
            channels,
            blocks: store.blocks(channels),
            plane,
            store,
            row,
            scope: Scope::Image,
            line: 0,
        }
    }

    pub(crate) fn step(
        &mut self,
        name: &str,
        kind: String,
        flops: u64,
        work: Work,
        reads: &[Value],
        writes: Option<Allocation>,
    ) -> Value {
        let writes = writes.map(|value| {
            self.values.push(value);
            self.values.len() - 1
        });
        self.steps.push(Step {
            name: name.to_owned(),
            kind,
            flops,
            work,
            reads: reads.iter().map(|v| v.0).collect(),
            writes,
            images: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        });
        Value(writes.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;
    use crate::nn::{Input, Team};

    #[test]
    fn mean_of_single_values_is_they() {
        for precision in Precision::FLOATS {
            let Some(arithmetic) = Arithmetic::new(precision, Features::detect()) else {
                println!("SKIPPED: this CPU does not compute {}", precision.name());
                continue;
            };
            let mut builder = Builder::new(arithmetic, vec![[3, 4, 4]], 2, 1);
            let image = builder.enter("image", 0, 0);
            builder.begin_batch();
            let mean = builder.global_mean("mean", image);
            let again = builder.global_mean("again", mean);
            assert_eq!(mean, again);
            builder.leave("out", again);
            let program = builder.finish();
            let (images, mut out) = ([0.5; 2 * 3 * 16], [0.0; 6]);
            Team::new(1).lead(1, |lead| {
                let memory = &mut program.memory();
                program.run(memory, lead, 2, &[Input::F32(&images)], &mut [&mut out]);
            });
            assert_eq!(out, [0.5; 6]);
        }
    }
}
