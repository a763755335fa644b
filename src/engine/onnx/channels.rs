//! A value's channels as sums of the input's, and what becomes of them where some are picked or meet a constant.
//!
//! Used by `walk`, which follows them through a graph, and by `pixels`, which tells what they say.

use super::numbers::Numbers;

/// Most channels of a value; no known preprocessing has half as many.
pub(super) const MAX_CHANNELS: usize = 64;

/// A channel as the input's three, each times its weight, and a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Channel {
    pub(super) weights: [f32; 3],
    pub(super) shift: f32,
}

impl Channel {
    /// What becomes of the same number in all three.
    pub(super) fn gain(&self) -> f32 {
        self.weights.iter().sum()
    }

    /// The only channel of the input that it is made of.
    pub(super) fn source(&self) -> Option<usize> {
        let mut sources = (0..3).filter(|i| self.weights[*i] != 0.0);
        match (sources.next(), sources.next()) {
            (only, None) => only,
            _ => None,
        }
    }

    pub(super) fn map(self, weight: f32, shift: f32) -> Channel {
        Channel {
            weights: self.weights.map(|w| w * weight),
            shift: self.shift * weight + shift,
        }
    }

    pub(super) fn plus(self, other: Channel, factor: f32) -> Channel {
        let weights = [0, 1, 2].map(|i| self.weights[i] + factor * other.weights[i]);
        Channel {
            weights,
            shift: self.shift + factor * other.shift,
        }
    }
}

/// A value whose channels are known, and which of its axes they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) channels: Vec<Channel>,
    pub(super) axis: usize,
    pub(super) rank: usize,
}

impl Value {
    /// The input, `[N, 3, height, width]`.
    pub(super) fn input() -> Value {
        let channel = |i: usize| Channel {
            weights: std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 }),
            shift: 0.0,
        };
        Value {
            channels: (0..3).map(channel).collect(),
            axis: 1,
            rank: 4,
        }
    }

    /// Whether the numbers are still those of the input, in whatever order.
    pub(super) fn is_untouched(&self) -> bool {
        let plain = |c: &Channel| c.source().is_some() && c.gain() == 1.0 && c.shift == 0.0;
        self.channels.iter().all(plain)
    }

    pub(super) fn with(&self, channels: Vec<Channel>) -> Value {
        Value {
            channels,
            ..self.clone()
        }
    }

    /// The axis that a file counts from the front, or from behind.
    pub(super) fn position(&self, axis: f64) -> Option<usize> {
        let from_front = if axis < 0.0 {
            axis + self.rank as f64
        } else {
            axis
        };
        (0.0..self.rank as f64)
            .contains(&from_front)
            .then_some(from_front as usize)
    }

    pub(super) fn picked(&self, indices: &[usize]) -> Option<Value> {
        (indices.len() <= MAX_CHANNELS).then_some(())?;
        let channels = indices.iter().map(|i| self.channels.get(*i).copied());
        let channels: Vec<Channel> = channels.collect::<Option<_>>()?;
        (!channels.is_empty()).then(|| self.with(channels))
    }

    /// The number of a constant that meets each channel; the mean of those that meet one.
    pub(super) fn meeting(&self, constant: &Numbers) -> Option<Vec<f32>> {
        let dims = &constant.dims;
        let missing = self.rank.checked_sub(dims.len())?;
        let position = self.axis.checked_sub(missing);
        // A single channel may have lost its axis, the last one.
        let position = position.filter(|p| *p < dims.len());
        let extent = position.map_or(1, |p| dims[p]);
        let stride: usize = position.map_or(1, |p| dims[p + 1..].iter().product());
        if constant.values.is_empty() || dims.iter().product::<usize>() != constant.values.len() {
            return None;
        }
        let mut sums = vec![0.0; extent];
        for (i, value) in constant.values.iter().enumerate() {
            sums[if position.is_some() {
                i / stride % extent
            } else {
                0
            }] += value;
        }
        let each = constant.values.len() as f64 / extent as f64;
        let mut means = sums.iter().map(|sum| (sum / each) as f32).cycle();
        let count = self.channels.len();
        match extent {
            1 => Some(means.by_ref().take(count).collect()),
            _ if extent == count => Some(means.by_ref().take(extent).collect()),
            _ => None,
        }
    }
}

/// A value without an axis, which is not that of several channels.
pub(super) fn without_axis(value: Value, axis: usize) -> Option<Value> {
    if axis == value.axis && value.channels.len() > 1 {
        return None;
    }
    Some(Value {
        axis: value.axis - usize::from(axis < value.axis),
        rank: value.rank.checked_sub(1)?,
        ..value
    })
}
