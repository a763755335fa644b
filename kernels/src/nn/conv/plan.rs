//! How a convolution's work is ordered and cut on this machine: the rules, each with the measurement behind it.
//!
//! Asked by the convolutions, of numbers and of bytes, when a network is loaded. A plan says what is computed when, by
//! whom, and what is fetched meanwhile; never in which order a sum is made, so **every plan gives the same bits**.
//!
//! The measurements are of ResNet-50 at 224×224 on one core of an Intel Xeon (48 KiB of L1d, 2 MiB of L2) unless said
//! otherwise; `docs/PERFORMANCE.md` has the layers one by one, and what was tried in vain.

use std::fmt;

use crate::Caches;
use crate::nn::arithmetic::{Arithmetic, Unit};

/// Tasks that a step is cut into at least, where it is large enough: enough for a few threads to end together.
const TASKS: usize = 16;

/// Images from which on weights beyond the cache are not fetched ahead: there are enough products for each of them that
/// the hardware's own prefetcher keeps up, and ours costs 5% of layer4 in bfloat16.
const IMAGES_WITHOUT_AHEAD: usize = 4;

/// In which order a batch's images meet the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All weights for one image after the other: where the weights stay in the cache, the images' inputs need not
    /// (14×14 planes of eight images: 2.5 to 2.3 ms an image for layer3 in bfloat16; groups of two to four images, the
    /// other way to get there, are as good and no better).
    ImageByImage,
    /// All images for one panel after the other.
    PanelByPanel,
}

/// A direct convolution's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) order: Order,
    /// Parts of an image's pixels.
    pub(crate) row_chunks: usize,
    /// Parts of the panels of weights.
    pub(crate) panel_chunks: usize,
    /// In batches of fewer images than this, the next panel's weights are fetched while one is multiplied. A line from
    /// the third-level cache takes as long as the products with it of 8 pixels: at one image layer3 and layer4 wait for
    /// their weights 45% of the time in `f32`, and take a sixth less with this in bfloat16.
    pub(crate) ahead_below: usize,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes of one image's input, and of all weights.
    pub(crate) input: usize,
    pub(crate) weights: usize,
    /// Calls or rows of an image, and panels of weights.
    pub(crate) units: usize,
    pub(crate) panels: usize,
}

impl Plan {
    /// The plan for a convolution of that size.
    pub(crate) fn new(arithmetic: Arithmetic, size: Size) -> Plan {
        let Caches { l2, .. } = arithmetic.caches();
        // What a task goes over again and again: half of the cache, the rest is for what passes through.
        let grain = l2 / 2;
        // Units of a task at least, so that a panel comes from the first-level cache for most of them.
        let grain_units = match arithmetic.unit() {
            Unit::Amx => 8,
            Unit::Avx2 | Unit::Avx512 | Unit::Avx512Bf16 => 1,
        };
        let mut row_chunks = size.input.div_ceil(grain).clamp(1, size.units);
        if size.weights <= grain {
            row_chunks = row_chunks
                .max(TASKS.min(size.units / grain_units).next_multiple_of(2))
                .min(size.units);
        }
        let panel_chunks = (size.weights / grain)
            .max(TASKS / row_chunks)
            .clamp(1, size.panels);
        // Five eighths: ResNet-50's largest layer of 14×14 planes has 1.2 MB in bfloat16, and is on this side of 2 MiB.
        let order = match size.weights <= l2 / 8 * 5 {
            true => Order::ImageByImage,
            false => Order::PanelByPanel,
        };
        Plan {
            order,
            row_chunks,
            panel_chunks,
            ahead_below: match order {
                Order::ImageByImage => usize::MAX,
                Order::PanelByPanel => IMAGES_WITHOUT_AHEAD,
            },
        }
    }

    /// Image, part of the panels and part of the rows of a task's number, of `images` images of `row_chunks` parts.
    ///
    /// An image's tasks go along its rows, all panels for one part after the other, and where rows are cut to have
    /// enough tasks, the parts are an even number: so of two threads, each of which begins with half of the tasks, one
    /// mostly has the upper rows in layer after layer, and reads what it wrote itself (layer2 of one image on two
    /// threads: a tenth less time in bfloat16).
    pub(crate) fn task(&self, number: usize, images: usize, row_chunks: usize) -> [usize; 3] {
        match self.order {
            Order::ImageByImage => {
                let within = number % (self.panel_chunks * row_chunks);
                let image = number / (self.panel_chunks * row_chunks);
                [
                    image,
                    within % self.panel_chunks,
                    within / self.panel_chunks,
                ]
            }
            Order::PanelByPanel => {
                let within = number % (images * row_chunks);
                let panel_chunk = number / (images * row_chunks);
                [within / row_chunks, panel_chunk, within % row_chunks]
            }
        }
    }

    /// Whether the next panel's weights are fetched while image `image` of `images` is multiplied: only with the first
    /// image.
    pub(crate) fn looks_ahead(&self, image: usize, images: usize) -> bool {
        image == 0 && images < self.ahead_below
    }
}

impl fmt::Display for Plan {
    /// For people, as "by image, 4×2 tasks, ahead": parts of the panels times parts of the rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::ImageByImage => "by image",
            Order::PanelByPanel => "by panel",
        };
        write!(
            f,
            "{order}, {}×{} tasks",
            self.panel_chunks, self.row_chunks
        )?;
        match self.ahead_below {
            0 => Ok(()),
            usize::MAX => write!(f, ", ahead"),
            images => write!(f, ", ahead below {images} images"),
        }
    }
}

/// Bytes of a chunk of Winograd's tiles, transformed inputs and sums: what stays in the cache beside the weights of a
/// position. With 1 MiB of L2, twice as much is 10% slower with 64 channels and the same with more; with 2 MiB, a
/// quarter to a whole MiB are the same within 1.5%.
pub(crate) fn winograd_chunk_bytes(arithmetic: Arithmetic) -> usize {
    (arithmetic.caches().l2 / 2).min(512 << 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_part_of_each_image_is_one_task(
            image_by_image: bool, images in 1..5_usize, row_chunks in 1..6_usize, panel_chunks in 1..6_usize,
        ) {
            let order = if image_by_image { Order::ImageByImage } else { Order::PanelByPanel };
            let plan = Plan { order, row_chunks, panel_chunks, ahead_below: 0 };
            let tasks = images * row_chunks * panel_chunks;
            let mut parts: Vec<_> = (0..tasks).map(|n| plan.task(n, images, row_chunks)).collect();
            parts.sort_unstable();
            parts.dedup();
            prop_assert_eq!(parts.len(), tasks);
            prop_assert!(parts.iter().all(|&[i, p, r]| i < images && p < panel_chunks && r < row_chunks));
        }
    }
}
