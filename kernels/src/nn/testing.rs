//! Values for the unit tests of convolutions and steps: memory that owns itself, numbers that depend on a seed alone.

use crate::nn::steps::convert::Conversion;

use crate::nn::layout::border::fill_border;
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::nn::{Lead, Team};
use crate::{Isa, Vectorized};

/// All stores of numbers.
pub(crate) const STORES: [Store; 3] = [Store::F32, Store::Bf16, Store::Split];

/// A value of some images of `channels` channels, its border zeroed, everything else NaN to begin with.
pub(crate) struct Value {
    lines: Vec<Line>,
    pub(crate) store: Store,
    pub(crate) channels: usize,
    pub(crate) plane: Plane,
    pub(crate) images: usize,
}

impl Value {
    pub(crate) fn new(store: Store, images: usize, channels: usize, plane: Plane) -> Value {
        let blocks = blocks(store, channels);
        let mut value = Value {
            lines: vec![Line::from_f32([f32::NAN; 16]); images * blocks * plane.lines()],
            store,
            channels,
            plane,
            images,
        };
        let view = value.view();
        for image in 0..images {
            // SAFETY: all of a value that is only used here.
            unsafe { fill_border(view, image, 0, blocks, 0) };
        }
        value
    }

    /// The value of `numbers`, `[images, channels, height, width]`.
    pub(crate) fn of(store: Store, channels: usize, plane: Plane, numbers: &[f32]) -> Value {
        let images = numbers.len() / (channels * plane.height * plane.width);
        let mut value = Value::new(store, images, channels, plane);
        let (conversion, view) = (value.conversion(), value.view());
        // SAFETY: a value that is only used here.
        lead(|lead| unsafe { conversion.enter(lead, numbers, view) });
        value
    }

    pub(crate) fn view(&mut self) -> View {
        View {
            start: self.lines.as_mut_ptr(),
            blocks: blocks(self.store, self.channels),
            plane: self.plane,
        }
    }

    /// The numbers, `[images, channels, height, width]`.
    pub(crate) fn numbers(&mut self) -> Vec<f32> {
        let pixels = self.plane.height * self.plane.width;
        let mut numbers = vec![f32::NAN; self.images * self.channels * pixels];
        let (conversion, view) = (self.conversion(), self.view());
        // SAFETY: a value that is only used here.
        unsafe { conversion.leave(view, &mut numbers) };
        numbers
    }

    /// The bits of all lines, borders and channels beyond the last included.
    pub(crate) fn bits(&self) -> Vec<u32> {
        let words = self.lines.iter().flat_map(|l| *l.words());
        words.collect()
    }

    fn conversion(&self) -> Conversion {
        Conversion {
            vectorized: vectorized(),
            store: self.store,
            channels: self.channels,
        }
    }
}

/// Planes that `channels` channels take.
pub(crate) fn blocks(store: Store, channels: usize) -> usize {
    match store {
        Store::F32 => channels.div_ceil(16),
        Store::Bf16 => channels.div_ceil(32),
        Store::Split => 2 * channels.div_ceil(32),
        Store::U8 => channels.div_ceil(64),
    }
}

/// The widest instruction set of this CPU.
pub(crate) fn vectorized() -> Vectorized {
    Vectorized::new(Isa::detect()).expect("what was detected is supported")
}

/// Runs `work` with a lead that has no helpers.
pub(crate) fn lead<R>(work: impl FnOnce(&Lead<'_>) -> R) -> R {
    Team::new(1).lead(1, work)
}

/// `count` numbers, nearly normally distributed.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let normal = || (0..12).map(|_| uniform()).sum();
    std::iter::repeat_with(normal).take(count).collect()
}

/// A number as it is read again after `store` has rounded it.
pub(crate) fn rounded(store: Store, value: f32) -> f32 {
    let bf16 = |x: f32| {
        let bits = x.to_bits();
        let (down, up) = (bits & 0xffff_0000, (bits & 0xffff_0000) + 0x1_0000);
        let (down, up) = (f32::from_bits(down), f32::from_bits(up));
        let even = |a: f32| a.to_bits() & 0x1_0000 == 0;
        match (x - down).abs().total_cmp(&(up - x).abs()) {
            std::cmp::Ordering::Less => down,
            std::cmp::Ordering::Equal if even(down) => down,
            _ => up,
        }
    };
    match store {
        Store::F32 => value,
        Store::Bf16 => bf16(value),
        Store::Split => bf16(value) + bf16(value - bf16(value)),
        Store::U8 => unreachable!("bytes have no numbers of their own"),
    }
}
