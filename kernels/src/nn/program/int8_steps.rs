//! The builder's methods for steps on bytes.

use super::builder::Builder;
use crate::nn::arena::placement::Allocation;
use crate::nn::conv::gather::Gather;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::int8::convert::Conversion;
use crate::nn::int8::first::FirstConv;
use crate::nn::int8::layer::{Int8Conv, refuse};
use crate::nn::int8::lines::LineConversion;
use crate::nn::int8::pack::QuantizedWeights;
use crate::nn::int8::pointwise::{Add, GlobalMean, Map, MaxPool};
use crate::nn::int8::requantize::{LARGEST_SUM, Own, Quantization, Residual, is_bounded};
use crate::nn::int8::tile::Kind;
use crate::nn::int8::work::Int8Work;
use crate::nn::layer::Unsupported;
use crate::nn::layer::{SlidingWindow, Value, covers};
use crate::nn::layout::line::Plane;
use crate::nn::layout::store::Store;
use crate::nn::program;
use crate::nn::steps::pool::PoolWindow;

impl Builder {
    /// What a value's bytes mean.
    fn quantization(&self, value: Value) -> Result<Quantization, Unsupported> {
        match self.quantizations.get(&value.0) {
            Some(quantization) => Ok(*quantization),
            None => refuse("it reads what is not stored as bytes"),
        }
    }

    fn int8_step(
        &mut self,
        name: &str,
        kind: String,
        flops: u64,
        work: Int8Work,
        reads: &[Value],
        (writes, quantization): (Allocation, Option<Quantization>),
    ) -> Value {
        let work = program::Work::Int8(Box::new(work));
        let value = self.step(name, kind, flops, work, reads, Some(writes));
        if let Some(quantization) = quantization {
            self.quantizations.insert(value.0, quantization);
        }
        value
    }

    /// Input number `input` as bytes, with `border` lines of zero around it.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn int8_enter(
        &mut self,
        name: &str,
        input: usize,
        quantization: Quantization,
        border: usize,
    ) -> Value {
        let [channels, height, width] = self.inputs[input];
        let plane = Plane {
            height,
            width,
            border,
        };
        let row = self.is_row(height, width, border);
        let to = self.value(channels, plane, Store::U8, row);
        let conversion = Conversion {
            vectorized: self.vectorized,
            quantization,
            channels,
            row,
        };
        let work = Int8Work::Enter(input, conversion);
        let to = (to, Some(quantization));
        self.int8_step(name, "quantize".into(), 0, work, &[], to)
    }

    /// The convolution of input number `input`, straight from its images; `quantization` is what their values are
    /// rounded to.
    ///
    /// # Errors
    /// [`Unsupported`] if no kernel computes it.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn int8_first_conv(
        &mut self,
        name: &str,
        input: usize,
        quantization: Quantization,
        layer: &Int8Conv<'_>,
    ) -> Result<Value, Unsupported> {
        let [inputs, height, width] = self.inputs[input];
        layer.check(inputs)?;
        if layer.residual.is_some() || layer.output.is_none() {
            return refuse("it adds a value, or is not stored as bytes");
        }
        let [rows, columns] = layer.moving.output;
        let output = Plane {
            height: rows,
            width: columns,
            border: layer.border,
        };
        let (kind, finish, factor) = layer.finish(quantization, None)?;
        let shape = layer.shape(inputs);
        let about = ConvUse {
            input: Plane {
                height,
                width,
                border: 0,
            },
            output,
            residual: None,
            relu: layer.relu,
            most: f32::INFINITY,
            store: Store::U8,
            across_images: false,
        };
        let source = layer.source(inputs, &factor, quantization.zero, kind);
        let parts = (quantization, finish);
        let first = FirstConv::new(self.arithmetic, shape, about, &source, parts)?;
        let first = match &self.normalization {
            Some(normalization) => first.normalizing(normalization),
            None => first,
        };
        self.scratch = self.scratch.max(first.scratch_lines(self.threads));
        let text = format!("{} of images", layer.text(""));
        let to = self.value(layer.outputs, output, Store::U8, false);
        let work = Int8Work::First(input, Box::new(first));
        Ok(self.int8_step(name, text, layer.flops(), work, &[], (to, layer.output)))
    }

    /// A convolution of bytes.
    ///
    /// # Errors
    /// [`Unsupported`] if no kernel computes it.
    pub fn int8_conv(
        &mut self,
        name: &str,
        from: Value,
        layer: &Int8Conv<'_>,
    ) -> Result<Value, Unsupported> {
        let input = self.values[from.0];
        let quantization = self.quantization(from)?;
        layer.check(input.channels)?;
        let SlidingWindow {
            kernel,
            pad_before,
            output: [height, width],
            ..
        } = layer.moving;
        if !input.row && !covers(input.plane, &layer.moving) {
            return refuse("its window reaches beyond the zeros around its input");
        }
        if input.row && (kernel != [1, 1] || height * width != 1 || pad_before != [0, 0]) {
            return refuse("a window over single values");
        }
        if kernel == [1, 1]
            && pad_before == [0, 0]
            && !input.row
            && Gather::pays(layer.moving.stride, [height, width])
        {
            let seen = self.gather(name, from, layer.moving.stride, [height, width]);
            self.quantizations.insert(seen.0, quantization);
            let moving = SlidingWindow {
                stride: [1, 1],
                ..layer.moving
            };
            return self.int8_conv(name, seen, &Int8Conv { moving, ..*layer });
        }
        let plane = Plane {
            height,
            width,
            border: layer.border,
        };
        let store = match layer.output {
            Some(_) => Store::U8,
            None => Store::F32,
        };
        let mut to = self.value(layer.outputs, plane, store, input.row);
        // A panel's outputs beyond the last are computed too.
        to.blocks = layer.outputs.div_ceil(64) * if store == Store::U8 { 1 } else { 4 };
        let residual = layer.residual.map(|r| self.values[r.value.0]);
        if residual.is_some_and(|r| {
            r.channels != layer.outputs
                || r.store != Store::U8
                || r.row != input.row
                || [r.plane.height, r.plane.width] != [to.plane.height, to.plane.width]
        }) {
            return refuse("the value to add has another shape");
        }
        let added = match layer.residual {
            Some(residual) => Some(self.quantization(residual.value)?),
            None => None,
        };
        let (kind, finish, factor) = layer.finish(quantization, added)?;
        let mut shape = layer.shape(input.channels);
        if input.row {
            // From one single value there is nowhere to step to; neighbours are other images.
            shape.stride = [1, 1];
        }
        let about = ConvUse {
            input: input.plane,
            output: to.plane,
            residual: residual.map(|r| r.plane),
            relu: layer.relu,
            most: f32::INFINITY,
            store,
            across_images: input.row,
        };
        let source = layer.source(input.channels, &factor, quantization.zero, kind);
        let (work, algorithm) = self.int8_convolution(shape, about, &source, finish)?;
        let reads: Vec<Value> = std::iter::once(from)
            .chain(layer.residual.map(|r| r.value))
            .collect();
        let (text, to) = (layer.text(algorithm), (to, layer.output));
        Ok(self.int8_step(name, text, layer.flops(), work, &reads, to))
    }

    /// The largest value under a window.
    ///
    /// # Errors
    /// [`Unsupported`] if a window lies outside of the image.
    pub fn int8_max_pool(
        &mut self,
        name: &str,
        input: Value,
        moving: SlidingWindow,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        let quantization = self.quantization(input)?;
        moving.check_pool([from.plane.height, from.plane.width])?;
        if from.row {
            return refuse("a window over single values");
        }
        let plane = Plane {
            height: moving.output[0],
            width: moving.output[1],
            border,
        };
        let to = self.value(from.channels, plane, Store::U8, false);
        let pool = MaxPool {
            vectorized: self.vectorized,
            window: PoolWindow {
                kernel: moving.kernel,
                stride: moving.stride,
                pad_before: moving.pad_before,
            },
        };
        let text = format!("max pool {} int8", moving.name());
        let to = (to, Some(quantization));
        Ok(self.int8_step(name, text, 0, Int8Work::MaxPool(pool), &[input], to))
    }

    /// The mean of each channel; begins the part that computes all images at once.
    ///
    /// # Errors
    /// [`Unsupported`] if the scales are too far apart.
    pub fn int8_global_mean(
        &mut self,
        name: &str,
        input: Value,
        output: Quantization,
    ) -> Result<Value, Unsupported> {
        self.begin_batch();
        let from = self.values[input.0];
        let quantization = self.quantization(input)?;
        if !(quantization.scale / output.scale).is_normal() {
            return refuse("the scales of its mean are too far apart");
        }
        if from.row {
            // Images are neighbours there, and each is one value.
            return match quantization == output {
                true => Ok(input),
                false => self.int8_map(name, input, output, |x| x, 0),
            };
        }
        // The largest mean in the output's steps has to stay a number that rounds.
        if 255.0 * (quantization.scale / output.scale) >= LARGEST_SUM {
            return refuse("the scales of its mean are too far apart");
        }
        let single = Plane {
            height: 1,
            width: 1,
            border: 0,
        };
        let to = self.value(from.channels, single, Store::U8, true);
        let work = Int8Work::GlobalMean(GlobalMean {
            vectorized: self.vectorized,
            from: quantization,
            to: output,
        });
        let to = (to, Some(output));
        Ok(self.int8_step(name, "global mean int8".into(), 0, work, &[input], to))
    }

    /// `relu?(a + b)`.
    ///
    /// # Errors
    /// [`Unsupported`] if the two have different shapes, or scales too far apart.
    pub fn int8_add(
        &mut self,
        name: &str,
        inputs: [Value; 2],
        output: Quantization,
        relu: bool,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let [a, b] = inputs.map(|v| self.values[v.0]);
        let (own, other) = (self.quantization(inputs[0])?, self.quantization(inputs[1])?);
        if a.channels != b.channels
            || a.row != b.row
            || a.plane.with_border(0) != b.plane.with_border(0)
        {
            return refuse("it adds values of different shapes");
        }
        let residual = Residual::new(other, output);
        let own_zero = own.zero;
        let own = Own::new(own, false, output);
        if !is_bounded(Some(own), residual) {
            return refuse("the scales of its sum are too far apart");
        }
        let to = self.value(a.channels, a.plane.with_border(border), Store::U8, a.row);
        let work = Int8Work::Add(Add {
            vectorized: self.vectorized,
            own,
            residual,
            zero: output.zero,
            low: if relu { output.zero } else { 0 },
            own_zero,
            row: a.row,
        });
        let to = (to, Some(output));
        Ok(self.int8_step(name, "add int8".into(), 0, work, &inputs, to))
    }

    /// Another byte for each, as `of` says of what it means.
    ///
    /// # Errors
    /// [`Unsupported`] if the value has no bytes.
    pub fn int8_map(
        &mut self,
        name: &str,
        input: Value,
        output: Quantization,
        of: impl Fn(f32) -> f32,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        let quantization = self.quantization(input)?;
        let byte = |i: usize| output.quantize(of(quantization.dequantize(i as u8)));
        let to = self.value(
            from.channels,
            from.plane.with_border(border),
            Store::U8,
            from.row,
        );
        let work = Int8Work::Map(Map {
            table: Box::new(std::array::from_fn(byte)),
            row: from.row,
        });
        let to = (to, Some(output));
        Ok(self.int8_step(name, "map int8".into(), 0, work, &[input], to))
    }

    /// The numbers that a value's bytes mean, for steps on numbers; `border` lines of zero around them.
    ///
    /// # Errors
    /// [`Unsupported`] if the value has no bytes.
    pub fn dequantize(
        &mut self,
        name: &str,
        input: Value,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        let quantization = self.quantization(input)?;
        let plane = from.plane.with_border(border);
        let to = self.value(from.channels, plane, Store::F32, from.row);
        let work = Int8Work::Dequantize(LineConversion {
            vectorized: self.vectorized,
            quantization,
            row: from.row,
        });
        Ok(self.int8_step(name, "dequantize".into(), 0, work, &[input], (to, None)))
    }

    /// The bytes for a value of numbers, with `border` lines of zero around them.
    ///
    /// # Errors
    /// [`Unsupported`] if the value is not stored as `f32`.
    pub fn quantize(
        &mut self,
        name: &str,
        input: Value,
        quantization: Quantization,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        if from.store != Store::F32 {
            return refuse("it makes bytes of what is not stored as numbers");
        }
        let plane = from.plane.with_border(border);
        let to = self.value(from.channels, plane, Store::U8, from.row);
        let work = Int8Work::Quantize(LineConversion {
            vectorized: self.vectorized,
            quantization,
            row: from.row,
        });
        let to = (to, Some(quantization));
        Ok(self.int8_step(name, "quantize".into(), 0, work, &[input], to))
    }

    /// A value of bytes becomes the next output, as numbers.
    pub(crate) fn int8_leave(&mut self, name: &str, value: Value) -> bool {
        let Some(quantization) = self.quantizations.get(&value.0).copied() else {
            return false;
        };
        let from = self.values[value.0];
        let pixels = match from.row {
            true => 1,
            false => from.plane.height * from.plane.width,
        };
        self.output_sizes.push(from.channels * pixels);
        let conversion = Conversion {
            vectorized: self.vectorized,
            quantization,
            channels: from.channels,
            row: from.row,
        };
        let work = program::Work::Int8(Box::new(Int8Work::Leave(
            self.output_sizes.len() - 1,
            conversion,
        )));
        self.step(name, "dequantize".into(), 0, work, &[value], None);
        true
    }
}

impl<'a> Int8Conv<'a> {
    fn shape(&self, inputs: usize) -> ConvShape {
        ConvShape {
            outputs: self.outputs,
            inputs,
            groups: self.groups,
            kernel: self.moving.kernel,
            stride: self.moving.stride,
            pad: self.moving.pad_before,
        }
    }

    fn source<'s>(
        &self,
        inputs: usize,
        factor: &'s [f32],
        zero: u8,
        kind: Kind,
    ) -> QuantizedWeights<'s>
    where
        'a: 's,
    {
        QuantizedWeights {
            weights: self.weights,
            inputs: inputs / self.groups,
            window: self.moving.kernel[0] * self.moving.kernel[1],
            bias: self.bias,
            factor,
            zero,
            kind,
        }
    }

    fn text(&self, algorithm: &str) -> String {
        format!("conv {}{algorithm} int8", self.moving.name())
    }
}
