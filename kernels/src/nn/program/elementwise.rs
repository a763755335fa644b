//! The builder's methods for pools and elementwise steps.

use super::Work;
use super::builder::Builder;
use crate::nn::arena::placement::Allocation;
use crate::nn::layer::{Activation, Pooling, SlidingWindow, Unsupported, Value};
use crate::nn::layout::line::Plane;
use crate::nn::steps::activate::Activate;
use crate::nn::steps::concat::Concat;
use crate::nn::steps::multiply::{Factor, Multiply};
use crate::nn::steps::pointwise::{Add, Affine};
use crate::nn::steps::pool::{GlobalMean, Pool, PoolKind, PoolWindow};

impl Builder {
    /// A pool with a window.
    ///
    /// # Errors
    /// [`Unsupported`] if a window lies outside of the image.
    pub fn pool(
        &mut self,
        name: &str,
        input: Value,
        pooling: Pooling,
        moving: SlidingWindow,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        let [height, width] = moving.output;
        let image = [from.plane.height, from.plane.width];
        moving.check_pool(image)?;
        if from.row {
            return Err(Unsupported("a window over single values".into()));
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
        let of = if pooling == Pooling::Max {
            "max"
        } else {
            "mean"
        };
        let text = format!("{of} pool {}", moving.name());
        Ok(self.step(name, text, 0, Work::Pool(pool), &[input], Some(to)))
    }

    /// The mean of each channel. Single values are their own mean, so `input` itself is returned where images are in a
    /// row.
    pub fn global_mean(&mut self, name: &str, input: Value) -> Value {
        let from = self.values[input.0];
        if from.row {
            return input;
        }
        let single = Plane {
            height: 1,
            width: 1,
            border: 0,
        };
        let in_row = self.is_row(1, 1, 0);
        let to = self.value(from.channels, single, from.store, in_row);
        let work = Work::GlobalMean(GlobalMean {
            vectorized: self.vectorized,
            store: from.store,
            in_row,
        });
        self.step(name, "global mean".into(), 0, work, &[input], Some(to))
    }

    /// `relu?(value * scale + shift)` by channel, but at most `most`.
    ///
    /// # Errors
    /// [`Unsupported`] if there are not as many factors and addends as channels.
    pub fn affine(
        &mut self,
        name: &str,
        input: Value,
        [scale, shift]: [Vec<f32>; 2],
        (relu, most): (bool, f32),
        border: usize,
    ) -> Result<Value, Unsupported> {
        let from = self.values[input.0];
        if scale.len() != from.channels || shift.len() != from.channels {
            return Err(Unsupported("its factors do not fit its channels".into()));
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
    /// [`Unsupported`] if the two have different shapes.
    pub fn add(
        &mut self,
        name: &str,
        inputs: [Value; 2],
        relu: bool,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let [a, b] = inputs.map(|v| self.values[v.0]);
        if a.channels != b.channels
            || a.store != b.store
            || a.row != b.row
            || a.plane.with_border(0) != b.plane.with_border(0)
        {
            return Err(Unsupported("it adds values of different shapes".into()));
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

    /// An activation of every number.
    pub fn activate(
        &mut self,
        name: &str,
        input: Value,
        activation: Activation,
        border: usize,
    ) -> Value {
        let from = self.values[input.0];
        let plane = from.plane.with_border(border);
        let to = self.value(from.channels, plane, from.store, from.row);
        let work = Work::Activate(Activate {
            vectorized: self.vectorized,
            store: from.store,
            activation,
            channels: from.channels,
        });
        let kind = activation.name().to_owned();
        self.step(name, kind, 0, work, &[input], Some(to))
    }

    /// `relu?(value * factor + addend)`; the factor has the value's shape, or one number a channel.
    ///
    /// # Errors
    /// [`Unsupported`] if the shapes are others.
    pub fn multiply(
        &mut self,
        name: &str,
        [value, factor]: [Value; 2],
        addend: Option<Value>,
        relu: bool,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let [from, by] = [value, factor].map(|v| self.values[v.0]);
        let same = |other: &Allocation| {
            other.row == from.row && other.plane.with_border(0) == from.plane.with_border(0)
        };
        let single = Plane {
            height: 1,
            width: 1,
            border: 0,
        };
        let factor_is = if same(&by) {
            Some(Factor::Each)
        } else if by.row && !from.row {
            Some(Factor::ChannelInRow)
        } else if by.plane.with_border(0) == single && !from.row && !by.row {
            Some(Factor::Channel)
        } else {
            None
        };
        let added = addend.map(|a| self.values[a.0]);
        let alike =
            |other: &Allocation| other.channels == from.channels && other.store == from.store;
        let fits = alike(&by) && added.is_none_or(|a| alike(&a) && same(&a));
        let Some(factor_is) = factor_is.filter(|_| fits) else {
            return Err(Unsupported(
                "it multiplies values of different shapes".into(),
            ));
        };
        let plane = from.plane.with_border(border);
        let to = self.value(from.channels, plane, from.store, from.row);
        let work = Work::Multiply(Multiply {
            vectorized: self.vectorized,
            store: from.store,
            factor: factor_is,
            relu,
        });
        let reads: Vec<Value> = [value, factor].into_iter().chain(addend).collect();
        Ok(self.step(name, "multiply".into(), 0, work, &reads, Some(to)))
    }

    /// The channels of several values, one after the other.
    ///
    /// # Errors
    /// [`Unsupported`] if there is none, or their shapes differ in more than channels.
    pub fn concat(
        &mut self,
        name: &str,
        inputs: &[Value],
        border: usize,
    ) -> Result<Value, Unsupported> {
        let parts: Vec<Allocation> = inputs.iter().map(|v| self.values[v.0]).collect();
        let fits = parts.first().filter(|first| {
            parts.iter().all(|part| {
                (part.store, part.row, part.plane.with_border(0))
                    == (first.store, first.row, first.plane.with_border(0))
            })
        });
        let Some(first) = fits.copied() else {
            return Err(Unsupported("it joins values of different shapes".into()));
        };
        let channels: Vec<usize> = parts.iter().map(|part| part.channels).collect();
        let plane = first.plane.with_border(border);
        let to = self.value(channels.iter().sum(), plane, first.store, first.row);
        let work = Work::Concat(Concat {
            vectorized: self.vectorized,
            store: first.store,
            channels,
        });
        Ok(self.step(name, "concat".into(), 0, work, inputs, Some(to)))
    }
}
