//! The builder's methods for pools and elementwise steps.

use super::Work;
use super::builder::Builder;
use crate::nn::layer::{Pooling, SlidingWindow, Unsupported, Value};
use crate::nn::layout::line::Plane;
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
}
