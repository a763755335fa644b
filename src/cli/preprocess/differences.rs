//! The differences of two arrays whose values belong together in pairs.
//!
//! Called by `compare`, which knows which axis is which.

use super::compare::Layout;
use crate::npy::Values;

/// The differences of paired values.
#[derive(Debug)]
pub(super) struct Differences {
    values: usize,
    /// Values that are not the same.
    pub(super) differing: usize,
    /// The sum of all differences.
    pub(super) sum: f64,
    /// The largest difference, the first of equal ones.
    pub(super) largest: Difference,
    /// Values that differ by 0, 1, 2 and more.
    histogram: [usize; 4],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Difference {
    /// The absolute difference; infinite where one of the two is no number.
    pub(super) size: f64,
    /// The position: row, column, channel.
    at: [usize; 3],
    ours: f64,
    reference: f64,
}

/// An array's values by row, column and channel.
pub(super) struct View<'a> {
    values: &'a Values,
    strides: [usize; 3],
    /// The number of the last channel, where channels are counted from it.
    last_channel: Option<usize>,
}

impl<'a> View<'a> {
    /// The view of an array of this layout and extent: rows, columns and channels.
    pub(super) fn new(
        values: &'a Values,
        layout: Layout,
        [rows, columns, channels]: [usize; 3],
    ) -> View<'a> {
        View {
            values,
            strides: match layout {
                Layout::Nhwc => [columns * channels, channels, 1],
                Layout::Nchw => [columns, 1, rows * columns],
            },
            last_channel: None,
        }
    }

    /// The view with its channels in reverse order.
    pub(super) fn reversed(self, channels: usize) -> View<'a> {
        View {
            last_channel: channels.checked_sub(1),
            ..self
        }
    }

    fn at(&self, [row, column, channel]: [usize; 3]) -> f64 {
        let channel = self.last_channel.map_or(channel, |last| last - channel);
        let [of_row, of_column, of_channel] = self.strides;
        let i = row * of_row + column * of_column + channel * of_channel;
        match self.values {
            Values::U8(v) => f64::from(v[i]),
            Values::F32(v) => f64::from(v[i]),
        }
    }
}

impl Differences {
    /// Pairs the values at the same place.
    pub(super) fn between(ours: &View, reference: &View, extent: [usize; 3]) -> Differences {
        let [rows, columns, channels] = extent;
        let mut all = Differences {
            values: rows * columns * channels,
            differing: 0,
            sum: 0.0,
            largest: Difference {
                size: 0.0,
                at: [0; 3],
                ours: 0.0,
                reference: 0.0,
            },
            histogram: [0; 4],
        };
        for row in 0..rows {
            for column in 0..columns {
                for channel in 0..channels {
                    let at = [row, column, channel];
                    all.add(at, ours.at(at), reference.at(at));
                }
            }
        }
        all
    }

    fn add(&mut self, at: [usize; 3], ours: f64, reference: f64) {
        let size = match (ours - reference).abs() {
            size if size.is_nan() => f64::INFINITY,
            size => size,
        };
        self.histogram[if size > 2.0 { 3 } else { size.ceil() as usize }] += 1;
        self.differing += usize::from(size > 0.0);
        self.sum += size;
        if size > self.largest.size {
            self.largest = Difference {
                size,
                at,
                ours,
                reference,
            };
        }
    }

    /// The mean difference.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.values.max(1) as f64
    }

    /// Hands key and value of each line of a report to `row`.
    pub(super) fn rows(&self, row: &mut impl FnMut(&str, &str), histogram: bool) {
        let share = self.differing as f64 * 100.0 / self.values.max(1) as f64;
        row(
            "differing",
            &format!("{} of {} values ({share:.4}%)", self.differing, self.values),
        );
        if self.differing > 0 {
            let Difference {
                size,
                at: [y, x, c],
                ours,
                reference,
            } = self.largest;
            row(
                "largest",
                &format!(
                    "{} at row {y}, column {x}, channel {c}: {} here, {} in the reference",
                    number(size),
                    number(ours),
                    number(reference)
                ),
            );
            row("mean", &number(self.mean()));
        }
        if histogram {
            let [equal, one, two, more] = self.histogram;
            row(
                "by size",
                &format!("0: {equal}, 1: {one}, 2: {two}, more: {more}"),
            );
        }
    }
}

/// A whole number as such, another with five significant digits.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (4.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_five_digits() {
        for (value, text) in [
            (9.0, "9"),
            (0.25, "0.25000"),
            (123.456_78, "123.46"),
            (1.234_567e-7, "0.00000012346"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
