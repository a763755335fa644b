//! A network of bytes at random, as a program of ours and as nested loops over integers.

use super::super::requantize::{Finish, Own, Residual};
use super::super::{Int8Conv, Int8Own, Int8Residual, Quantization};
use crate::Normalization;
use crate::nn::{Arithmetic, Builder, Program, SlidingWindow};

/// xorshift64 by George Marsaglia.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.next() % n
    }

    fn quantization(&mut self) -> Quantization {
        Quantization {
            scale: (1 + self.below(200)) as f32 * 1e-3,
            zero: [0, 128, 255, self.below(256) as u8][self.below(4)],
        }
    }
}

/// A value `[channels, height, width]` of one image.
#[derive(Clone)]
struct Bytes {
    shape: [usize; 3],
    data: Vec<u8>,
    quantization: Quantization,
}

impl Bytes {
    fn at(&self, channel: usize, y: usize, x: usize) -> u8 {
        let [_, height, width] = self.shape;
        match y < height && x < width {
            true => self.data[(channel * height + y) * width + x],
            false => self.quantization.zero,
        }
    }

    fn map(
        &self,
        shape: [usize; 3],
        quantization: Quantization,
        f: impl Fn(usize, usize, usize) -> u8,
    ) -> Bytes {
        let [channels, height, width] = shape;
        let data = (0..channels * height * width)
            .map(|i| f(i / (height * width), i / width % height, i % width))
            .collect();
        Bytes {
            shape,
            data,
            quantization,
        }
    }
}

/// A convolution with random weights.
pub(super) struct Layer {
    moving: SlidingWindow,
    groups: usize,
    pub(super) outputs: usize,
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
    relu: bool,
    most: f32,
    output: Quantization,
    /// What its sums are rounded to before a value is added; none adds to them as they are.
    own: Option<Int8Own>,
}

impl Layer {
    fn new(
        random: &mut Random,
        [inputs, height, width]: [usize; 3],
        (outputs, groups): (usize, usize),
        size: usize,
        stride: [usize; 2],
    ) -> Layer {
        let kernel = [height, width].map(|side| if size <= side { size } else { 1 });
        let pad = [kernel[0] / 2, kernel[1] / 2];
        let output = [0, 1].map(|d| ([height, width][d] + 2 * pad[d] - kernel[d]) / stride[d] + 1);
        let numbers = inputs / groups * kernel[0] * kernel[1];
        Layer {
            moving: SlidingWindow {
                kernel,
                stride,
                pad_before: pad,
                output,
            },
            groups,
            outputs,
            weights: (0..outputs * numbers)
                .map(|_| random.next() as i8)
                .collect(),
            scales: (0..outputs)
                .map(|_| (1 + random.below(100)) as f32 * 1e-4)
                .collect(),
            bias: (0..outputs)
                .map(|_| random.below(20_000) as i32 - 10_000)
                .collect(),
            relu: random.below(2) == 0,
            most: [0.5, f32::INFINITY][random.below(2)],
            output: random.quantization(),
            own: (random.below(2) == 0).then(|| Int8Own {
                quantization: random.quantization(),
                relu: random.below(2) == 0,
            }),
        }
    }

    fn border(&self, [_, height, width]: [usize; 3]) -> usize {
        let SlidingWindow {
            kernel,
            stride,
            pad_before,
            output,
        } = self.moving;
        (0..2)
            .map(|d| {
                let end = (output[d] - 1) * stride[d] + kernel[d];
                end.saturating_sub([height, width][d] + pad_before[d])
                    .max(pad_before[d])
            })
            .max()
            .unwrap_or(0)
    }

    fn add<'a>(
        &'a self,
        residual: Option<crate::nn::Value>,
        border: usize,
        exact: bool,
    ) -> Int8Conv<'a> {
        Int8Conv {
            moving: self.moving,
            groups: self.groups,
            outputs: self.outputs,
            weights: &self.weights,
            scales: &self.scales,
            bias: &self.bias,
            residual: residual.map(|value| Int8Residual {
                value,
                own: self.own,
            }),
            relu: self.relu,
            most: self.most,
            output: (!exact).then_some(self.output),
            border,
        }
    }

    /// Sums in the naive order.
    fn sum(&self, input: &Bytes, output: usize, [row, column]: [usize; 2]) -> i32 {
        let SlidingWindow {
            kernel: [rows, columns],
            stride,
            pad_before,
            ..
        } = self.moving;
        let inputs = input.shape[0] / self.groups;
        let first = output / (self.outputs / self.groups) * inputs;
        let mut sum = self.bias[output];
        for channel in 0..inputs {
            for ky in 0..rows {
                for kx in 0..columns {
                    let y = (row * stride[0] + ky).wrapping_sub(pad_before[0]);
                    let x = (column * stride[1] + kx).wrapping_sub(pad_before[1]);
                    let value = i32::from(input.at(first + channel, y, x))
                        - i32::from(input.quantization.zero);
                    let weight =
                        self.weights[((output * inputs + channel) * rows + ky) * columns + kx];
                    sum += value * i32::from(weight);
                }
            }
        }
        sum
    }

    fn evaluate(&self, input: &Bytes, residual: Option<&Bytes>) -> Bytes {
        let [height, width] = self.moving.output;
        let own = self.own.filter(|_| residual.is_some());
        let step = own.map_or(self.output, |own| own.quantization).scale;
        let finish = Finish {
            zero: self.output.zero,
            low: if self.relu { self.output.zero } else { 0 },
            residual: residual.map(|r| Residual::new(r.quantization, self.output)),
            own: own.map(|own| Own::new(own.quantization, own.relu, self.output)),
            bound: None,
        };
        input.map([self.outputs, height, width], self.output, |c, y, x| {
            let factor = input.quantization.scale * self.scales[c] / step;
            finish.byte(
                self.sum(input, c, [y, x]),
                factor,
                residual.map(|r| r.at(c, y, x)),
            )
        })
    }
}

fn evaluate_max(input: &Bytes, moving: SlidingWindow) -> Bytes {
    let [height, width] = moving.output;
    let [channels, rows, columns] = input.shape;
    input.map([channels, height, width], input.quantization, |c, y, x| {
        let mut best = 0;
        for ky in 0..moving.kernel[0] {
            for kx in 0..moving.kernel[1] {
                let y = (y * moving.stride[0] + ky).wrapping_sub(moving.pad_before[0]);
                let x = (x * moving.stride[1] + kx).wrapping_sub(moving.pad_before[1]);
                if y < rows && x < columns {
                    best = best.max(input.at(c, y, x));
                }
            }
        }
        best
    })
}

/// A network of all kinds of layers: a convolution of images, a pool, a depthwise layer, a block with a convolution
/// beside it and another depthwise layer inside, a sum of its own, a mean and a fully connected layer.
pub(super) struct Network {
    pub(super) image: [usize; 3],
    input: Quantization,
    pub(super) from_images: bool,
    /// Whether all images of a batch are computed at once from the pool on.
    at_once: bool,
    first: Layer,
    pool: SlidingWindow,
    spread: Layer,
    beside: Layer,
    inner: Layer,
    deep: Layer,
    /// Whether what `deep` reads is added to its results.
    deep_adds: bool,
    last: Layer,
    sum: Quantization,
    other: Quantization,
    mean: Quantization,
    pub(super) classes: Layer,
    exact: bool,
}

impl Network {
    pub(super) fn new(seed: u64) -> Network {
        let random = &mut Random(seed | 1);
        let image = [3, 9 + random.below(40), 9 + random.below(40)];
        let first_size = 1 + random.below(7);
        let first_stride = [1 + random.below(3), 1 + random.below(3)];
        let outputs = 1 + random.below(130);
        let first = Layer::new(random, image, (outputs, 1), first_size, first_stride);
        let [height, width] = first.moving.output;
        let stride = 1 + random.below(2);
        let pool = SlidingWindow {
            kernel: [3, 3],
            stride: [stride; 2],
            pad_before: [1, 1],
            output: [(height - 1) / stride + 1, (width - 1) / stride + 1],
        };
        let pooled = [outputs, pool.output[0], pool.output[1]];
        let size = [3, 5, 1 + random.below(7)][random.below(3)];
        let stride = [1 + random.below(3), 1 + random.below(3)];
        let spread = Layer::new(random, pooled, (outputs, outputs), size, stride);
        let shape = [outputs, spread.moving.output[0], spread.moving.output[1]];
        let wide = 1 + random.below(200);
        let stride = match random.below(3) {
            0 => [1 + random.below(4), 1 + random.below(4)],
            _ => [1 + random.below(2); 2],
        };
        let beside = Layer::new(random, shape, (wide, 1), 1, stride);
        let narrow = 1 + random.below(100);
        let divisors =
            |n: usize| -> Vec<usize> { (1..=n).filter(|g| n.is_multiple_of(*g)).collect() };
        let fitting = divisors(outputs);
        let groups = fitting[random.below(fitting.len())];
        let narrow = match random.below(2) {
            0 => groups * (1 + random.below(100_usize.div_ceil(groups))),
            _ => narrow,
        };
        let groups = if narrow.is_multiple_of(groups) {
            groups
        } else {
            1
        };
        let inner = Layer::new(random, shape, (narrow, groups), 3, stride);
        let [height, width] = inner.moving.output;
        let shape = [narrow, height, width];
        let size = [1, 3, 5, 7][random.below(4)];
        let deep = Layer::new(random, shape, (narrow, narrow), size, [1, 1]);
        let size = 1 + 2 * random.below(2);
        let last = Layer::new(random, shape, (wide, 1), size, [1, 1]);
        let count = 2 + random.below(90);
        Network {
            image,
            input: random.quantization(),
            from_images: random.below(2) == 0,
            at_once: random.below(2) == 0,
            first,
            pool,
            spread,
            beside,
            inner,
            deep,
            deep_adds: random.below(2) == 0,
            last,
            sum: random.quantization(),
            other: random.quantization(),
            mean: random.quantization(),
            classes: Layer::new(random, [wide, 1, 1], (count, 1), 1, [1, 1]),
            exact: random.below(2) == 0,
        }
    }

    pub(super) fn program(
        &self,
        arithmetic: Arithmetic,
        capacity: usize,
        normalization: Option<[Normalization; 3]>,
    ) -> Program {
        let mut b = Builder::new(arithmetic, vec![self.image], capacity, 2);
        if let Some(normalization) = normalization {
            b.normalize(normalization);
        }
        let first = self.first.add(None, 0, false);
        let image = match self.from_images {
            true => b.int8_first_conv("first", 0, self.input, &first),
            false => {
                let border = self.first.border(self.image);
                let image = b.int8_enter("image", 0, self.input, border);
                b.int8_conv("first", image, &first)
            }
        };
        let border_of =
            |[height, width]: [usize; 2], reader: &Layer| reader.border([0, height, width]);
        let border = border_of(self.pool.output, &self.spread);
        if self.at_once {
            b.begin_batch();
        }
        let pooled = b
            .int8_max_pool("pool", image.unwrap(), self.pool, border)
            .unwrap();
        let border = border_of(self.spread.moving.output, &self.inner);
        let spread = b
            .int8_conv("spread", pooled, &self.spread.add(None, border, false))
            .unwrap();
        let beside = b
            .int8_conv("beside", spread, &self.beside.add(None, 0, false))
            .unwrap();
        let border = border_of(self.inner.moving.output, &self.deep);
        let inner = b
            .int8_conv("inner", spread, &self.inner.add(None, border, false))
            .unwrap();
        let added = self.deep_adds.then_some(inner);
        let border = border_of(self.deep.moving.output, &self.last);
        let deep = b
            .int8_conv("deep", inner, &self.deep.add(added, border, false))
            .unwrap();
        let last = b
            .int8_conv("last", deep, &self.last.add(Some(beside), 1, false))
            .unwrap();
        let sum = b
            .int8_add("sum", [last, beside], self.sum, true, 0)
            .unwrap();
        let other = b
            .int8_map("map", sum, self.other, |x| x.max(0.1), 0)
            .unwrap();
        let mean = b.int8_global_mean("mean", other, self.mean).unwrap();
        let classes = b
            .int8_conv("classes", mean, &self.classes.add(None, 0, self.exact))
            .unwrap();
        b.leave("classes", classes);
        b.finish()
    }

    pub(super) fn evaluate(&self, image: &[f32]) -> Vec<f32> {
        let image = Bytes {
            shape: self.image,
            data: image.iter().map(|x| self.input.quantize(*x)).collect(),
            quantization: self.input,
        };
        let first = self.first.evaluate(&image, None);
        let pooled = evaluate_max(&first, self.pool);
        let spread = self.spread.evaluate(&pooled, None);
        let beside = self.beside.evaluate(&spread, None);
        let inner = self.inner.evaluate(&spread, None);
        let deep = self.deep.evaluate(&inner, self.deep_adds.then_some(&inner));
        let last = self.last.evaluate(&deep, Some(&beside));
        let finish = Finish {
            zero: self.sum.zero,
            low: self.sum.zero,
            residual: Some(Residual::new(beside.quantization, self.sum)),
            own: Some(Own::new(last.quantization, false, self.sum)),
            bound: None,
        };
        let sum = last.map(last.shape, self.sum, |c, y, x| {
            let own = i32::from(last.at(c, y, x)) - i32::from(last.quantization.zero);
            finish.byte(own, 1.0, Some(beside.at(c, y, x)))
        });
        let sum = sum.map(sum.shape, self.other, |c, y, x| {
            let number = self.sum.dequantize(sum.at(c, y, x));
            self.other.quantize(number.max(0.1))
        });
        let [channels, height, width] = sum.shape;
        let count = height * width;
        let mean = sum.map([channels, 1, 1], self.mean, |c, _, _| {
            let all = &sum.data[c * count..][..count];
            let total: i32 = all
                .iter()
                .map(|b| i32::from(*b) - i32::from(self.other.zero))
                .sum();
            let factor = self.other.scale / (count as f32 * self.mean.scale);
            let finish = Finish {
                zero: self.mean.zero,
                low: 0,
                residual: None,
                own: None,
                bound: None,
            };
            finish.byte(total, factor, None)
        });
        if self.exact {
            let factor = |c: usize| self.mean.scale * self.classes.scales[c] / 1.0;
            let bounded = |x: f32| match self.classes.relu {
                // Never gives a negative zero.
                true => (if x > 0.0 { x } else { 0.0 }).min(self.classes.most),
                false => x,
            };
            return (0..self.classes.outputs)
                .map(|c| bounded(self.classes.sum(&mean, c, [0, 0]) as f32 * factor(c)))
                .collect();
        }
        let classes = self.classes.evaluate(&mean, None);
        classes
            .data
            .iter()
            .map(|b| classes.quantization.dequantize(*b))
            .collect()
    }
}
