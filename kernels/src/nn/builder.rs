//! A program step by step: checks shapes, packs weights, and in the end finds a place for every value.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::conv::{Conv, ConvShape, ConvUse};
use super::depthwise::Depthwise;
use super::edge::Edge;
use super::first::FirstConv;
use super::gather::Gather;
use super::int8::Quantization;
use super::layer::{ConvLayer, Moving, Pooling, Value, check_weights, covers};
use super::line::Plane;
use super::placement::{Place, Placed, place};
use super::pointwise::{Add, Affine};
use super::pool::{GlobalMean, Pool, PoolKind, PoolWindow};
use super::program::{Program, Step, Work};
use super::tile::Store;
use super::winograd::{TileSize, Winograd};
use super::{Arithmetic, Precision, Refusal, Unit};
use crate::{Normalization, Vectorized};

/// Lines behind the last value that may be read, though not used: what tiles read beyond the last pixels.
const SLACK: usize = 64;

/// Tiles of 4 × 4 outputs that an image has at least for Winograd's F(4×4): the micro-kernel's pixels. With fewer,
/// F(2×2) is as fast and its weights are less than half as large.
const WINOGRAD_F4_TILES: usize = 14;

/// Builds a [`Program`].
#[derive(Debug)]
pub struct Builder {
    pub(super) arithmetic: Arithmetic,
    pub(super) vectorized: Vectorized,
    capacity: usize,
    pub(super) threads: usize,
    pub(super) scratch: usize,
    steps: Vec<Step>,
    batch_from: Option<usize>,
    pub(super) values: Vec<Placed>,
    pub(super) inputs: Vec<[usize; 3]>,
    pub(super) output_sizes: Vec<usize>,
    pub(super) normalization: Option<[Normalization; 3]>,
    /// What the bytes of values mean that are stored as bytes, by number.
    pub(super) quantizations: BTreeMap<usize, Quantization>,
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

    /// How the program will compute.
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
        let store = self.arithmetic.store();
        let plane = Plane {
            height,
            width,
            border,
        };
        let to = self.value(channels, plane, store, self.is_row(height, width, border));
        let edge = Edge {
            vectorized: self.vectorized,
            store,
            channels,
        };
        let work = Work::Enter(input, edge);
        self.step(name, "enter".into(), 0, work, &[], Some(to))
    }

    /// The convolution of input number `input`, straight from its images.
    ///
    /// # Errors
    /// [`Refusal`] if no kernel computes it: it has groups or a residual, or more than four channels.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn first_conv(
        &mut self,
        name: &str,
        input: usize,
        layer: &ConvLayer<'_>,
    ) -> Result<Value, Refusal> {
        if layer.residual.is_some() {
            return Err(Refusal("it adds a value".into()));
        }
        let [inputs, height, width] = self.inputs[input];
        let image = Plane {
            height,
            width,
            border: 0,
        };
        let Moving {
            kernel,
            stride,
            pad_before,
            output,
        } = layer.moving;
        check_weights(self.arithmetic, inputs, layer)?;
        let store = match layer.exact {
            true => Store::F32,
            false => self.arithmetic.store(),
        };
        let plane = Plane {
            height: output[0],
            width: output[1],
            border: layer.border,
        };
        let to = self.value(layer.outputs, plane, store, false);
        let shape = ConvShape {
            outputs: layer.outputs,
            inputs,
            groups: layer.groups,
            kernel,
            stride,
            pad: pad_before,
        };
        let about = ConvUse {
            input: image,
            output: plane,
            residual: None,
            relu: layer.relu,
            most: layer.most,
            store,
            across_images: false,
        };
        let first = FirstConv::new(self.arithmetic, shape, about, layer.weights, layer.bias)
            .ok_or_else(|| Refusal("no kernel reads it from images".into()))?;
        let first = match &self.normalization {
            Some(normalization) => first.normalizing(normalization.clone()),
            None => first,
        };
        self.scratch = self.scratch.max(first.scratch_lines(self.threads));
        let kind = format!("conv {}×{}/{} of images", kernel[0], kernel[1], stride[0]);
        let flops = layer.flops();
        let work = Work::First(input, Box::new(first));
        Ok(self.step(name, kind, flops, work, &[], Some(to)))
    }

    /// A convolution.
    ///
    /// # Errors
    /// [`Refusal`] if no kernel computes it.
    pub fn conv(
        &mut self,
        name: &str,
        from: Value,
        layer: &ConvLayer<'_>,
    ) -> Result<Value, Refusal> {
        let refuse = |reason: &str| Err(Refusal(reason.to_owned()));
        let input = self.values[from.0];
        let Moving {
            kernel,
            stride,
            pad_before,
            output: [height, width],
        } = layer.moving;
        let window = kernel[0] * kernel[1];
        check_weights(self.arithmetic, input.channels, layer)?;
        if !covers(input.plane, &layer.moving) && !input.row {
            return refuse("its window reaches beyond the zeros around its input");
        }
        if input.row && (window != 1 || height * width != 1 || pad_before != [0, 0]) {
            return refuse("a window over single values");
        }
        if window == 1
            && pad_before == [0, 0]
            && !input.row
            && Gather::pays(stride, [height, width])
        {
            let seen = self.gather(name, from, stride, [height, width]);
            let moving = Moving {
                stride: [1, 1],
                ..layer.moving
            };
            return self.conv(name, seen, &ConvLayer { moving, ..*layer });
        }
        let store = match layer.exact {
            true => Store::F32,
            false => self.arithmetic.store(),
        };
        let plane = Plane {
            height,
            width,
            border: layer.border,
        };
        let to = self.value(layer.outputs, plane, store, input.row);
        let residual = layer.residual.map(|r| self.values[r.0]);
        if residual.is_some_and(|r| {
            r.channels != layer.outputs
                || r.store != store
                || r.row != input.row
                || [r.plane.height, r.plane.width] != [to.plane.height, to.plane.width]
        }) {
            return refuse("the value to add has another shape");
        }
        let shape = ConvShape {
            outputs: layer.outputs,
            inputs: input.channels,
            groups: layer.groups,
            kernel,
            // From one single value there is nowhere to step to; neighbours are other images.
            stride: if input.row { [1, 1] } else { stride },
            pad: pad_before,
        };
        let about = ConvUse {
            input: input.plane,
            output: to.plane,
            residual: residual.map(|r| r.plane),
            relu: layer.relu,
            most: layer.most,
            store,
            across_images: input.row,
        };
        let Some((work, algorithm)) = self.convolution(shape, about, layer.weights, layer.bias)
        else {
            return refuse("no kernel has its stride or groups");
        };
        let kind = format!("conv {}×{}/{}{algorithm}", kernel[0], kernel[1], stride[0]);
        let reads: Vec<Value> = [Some(from), layer.residual].into_iter().flatten().collect();
        Ok(self.step(name, kind, layer.flops(), work, &reads, Some(to)))
    }

    /// The pixels of a value that are so far apart, side by side.
    pub(super) fn gather(
        &mut self,
        name: &str,
        from: Value,
        stride: [usize; 2],
        [height, width]: [usize; 2],
    ) -> Value {
        let input = self.values[from.0];
        let plane = Plane {
            height,
            width,
            border: 0,
        };
        let to = self.value(input.channels, plane, input.store, false);
        let kind = format!("gather /{}", stride[0]);
        let work = Work::Gather(Gather { stride });
        self.step(name, kind, 0, work, &[from], Some(to))
    }

    /// The fastest algorithm for a convolution, and its name.
    fn convolution(
        &mut self,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<(Work, &'static str)> {
        let tiles = about.output.height.div_ceil(4) * about.output.width.div_ceil(4);
        let size = match tiles {
            WINOGRAD_F4_TILES.. => TileSize::F4,
            _ => TileSize::F2,
        };
        // With vectors, three products of bfloat16 take one and a half times as long as one of single precision. With
        // tiles, the direct sum takes less time than the transforms.
        let plan = match (self.arithmetic.unit(), self.arithmetic.precision()) {
            (Unit::Avx2 | Unit::Avx512, _) | (Unit::Avx512Bf16, Precision::Bf16x3) => {
                Some((size, Precision::F32))
            }
            (Unit::Avx512Bf16, precision) => Some((TileSize::F2, precision)),
            (Unit::Amx, _) => None,
        };
        if let Some(depthwise) = Depthwise::new(self.arithmetic, shape, about, weights, bias) {
            return Some((Work::Depthwise(Box::new(depthwise)), " depthwise"));
        }
        let winograd = plan.and_then(|(size, products)| {
            Winograd::new(self.arithmetic, products, size, shape, about, weights, bias)
        });
        if let Some(winograd) = winograd {
            let lines = (1..=self.threads).map(|t| winograd.scratch_lines(self.capacity, t));
            self.scratch = self.scratch.max(lines.max().unwrap_or(0));
            return Some((Work::Winograd(Box::new(winograd)), " winograd"));
        }
        let conv = Conv::new(self.arithmetic, shape, about, weights, bias)?;
        Some((Work::Conv(Box::new(conv)), ""))
    }

    /// A pool with a window.
    ///
    /// # Errors
    /// [`Refusal`] if a window lies outside of the image.
    pub fn pool(
        &mut self,
        name: &str,
        input: Value,
        pooling: Pooling,
        moving: Moving,
        border: usize,
    ) -> Result<Value, Refusal> {
        let from = self.values[input.0];
        let [height, width] = moving.output;
        let image = [from.plane.height, from.plane.width];
        moving.check_pool(image)?;
        if from.row {
            return Err(Refusal("a window over single values".into()));
        }
        let plane = Plane {
            height,
            width,
            border,
        };
        let to = self.value(from.channels, plane, from.store, false);
        let kind = match pooling {
            Pooling::Max => PoolKind::Max,
            Pooling::Mean => PoolKind::Mean,
            Pooling::MeanWithPad => PoolKind::MeanWithPad,
        };
        let pool = Pool {
            vectorized: self.vectorized,
            store: from.store,
            kind,
            window: PoolWindow {
                kernel: moving.kernel,
                stride: moving.stride,
                pad_before: moving.pad_before,
            },
        };
        let text = format!(
            "{} pool {}×{}/{}",
            if pooling == Pooling::Max {
                "max"
            } else {
                "mean"
            },
            moving.kernel[0],
            moving.kernel[1],
            moving.stride[0]
        );
        Ok(self.step(name, text, 0, Work::Pool(pool), &[input], Some(to)))
    }

    /// The mean of each channel; begins the part that computes all images at once. Single values are their own.
    pub fn global_mean(&mut self, name: &str, input: Value) -> Value {
        self.begin_batch();
        let from = self.values[input.0];
        if from.row {
            return input;
        }
        let single = Plane {
            height: 1,
            width: 1,
            border: 0,
        };
        let to = self.value(from.channels, single, from.store, true);
        let work = Work::GlobalMean(GlobalMean {
            vectorized: self.vectorized,
            store: from.store,
        });
        self.step(name, "global mean".into(), 0, work, &[input], Some(to))
    }

    /// `relu?(value * scale + shift)` by channel, but at most `most`.
    ///
    /// # Errors
    /// [`Refusal`] if there are not as many factors and addends as channels.
    pub fn affine(
        &mut self,
        name: &str,
        input: Value,
        [scale, shift]: [Vec<f32>; 2],
        (relu, most): (bool, f32),
        border: usize,
    ) -> Result<Value, Refusal> {
        let from = self.values[input.0];
        if scale.len() != from.channels || shift.len() != from.channels {
            return Err(Refusal("its factors do not fit its channels".into()));
        }
        let to = self.value(
            from.channels,
            from.plane.with_border(border),
            from.store,
            from.row,
        );
        let work = Work::Affine(Affine {
            vectorized: self.vectorized,
            store: from.store,
            scale,
            shift,
            relu,
            most,
        });
        Ok(self.step(name, "affine".into(), 0, work, &[input], Some(to)))
    }

    /// `relu?(a + b)`.
    ///
    /// # Errors
    /// [`Refusal`] if the two have different shapes.
    pub fn add(
        &mut self,
        name: &str,
        inputs: [Value; 2],
        relu: bool,
        border: usize,
    ) -> Result<Value, Refusal> {
        let [a, b] = inputs.map(|v| self.values[v.0]);
        if a.channels != b.channels
            || a.store != b.store
            || a.row != b.row
            || a.plane.with_border(0) != b.plane.with_border(0)
        {
            return Err(Refusal("it adds values of different shapes".into()));
        }
        let to = self.value(a.channels, a.plane.with_border(border), a.store, a.row);
        let work = Work::Add(Add {
            vectorized: self.vectorized,
            store: a.store,
            relu,
            most: f32::INFINITY,
        });
        Ok(self.step(name, "add".into(), 0, work, &inputs, Some(to)))
    }

    /// A value becomes the next output.
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
        let edge = Edge {
            vectorized: self.vectorized,
            store: from.store,
            channels: from.channels,
        };
        self.output_sizes.push(from.channels * pixels);
        let work = Work::Leave(self.output_sizes.len() - 1, edge);
        self.step(name, "leave".into(), 0, work, &[value], None);
    }

    /// The program, every value in its place.
    #[must_use]
    pub fn finish(mut self) -> Program {
        let batch_from = self.batch_from.unwrap_or(self.steps.len());
        let scratch = place(&self.steps, &mut self.values, batch_from, self.capacity);
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
    pub(super) fn is_row(&self, height: usize, width: usize, border: usize) -> bool {
        self.batch_from.is_some() && (height, width, border) == (1, 1, 0)
    }

    pub(super) fn value(&self, channels: usize, plane: Plane, store: Store, row: bool) -> Placed {
        let plane = match row {
            true => Plane {
                height: 1,
                width: self.capacity,
                border: 0,
            },
            false => plane,
        };
        Placed {
            channels,
            blocks: channels.div_ceil(16 * store.vectors_per_block()) * store.planes_per_block(),
            plane,
            store,
            row,
            place: Place::Image,
            line: 0,
        }
    }

    pub(super) fn step(
        &mut self,
        name: &str,
        kind: String,
        flops: u64,
        work: Work,
        reads: &[Value],
        writes: Option<Placed>,
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
