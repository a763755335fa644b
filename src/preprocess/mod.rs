//! Bytes of an image to the network's input tensor, with the pixels that training saw.
//!
//! Called by `classifier` on a `prep-N` thread; hands a `[3, H, W]` tensor to the batcher. Never touches the network,
//! the disk or another image.

mod decode;
mod exif;
mod filter;
#[cfg(test)]
mod golden;
mod normalize;
mod pool;
mod resize;
mod sniff;
mod spec;

use std::time::{Duration, Instant};

use crate::kernels::{NormalizeKernel, ResampleKernel};
use crate::tensor::Tensor;

pub use self::exif::ExifMode;
pub use self::pool::{Pool, PoolClosed};
pub use self::sniff::{Format, sniff};
pub use self::spec::{
    IMAGENET_MEAN, IMAGENET_STD, Interpolation, MAX_SIDE, PreprocessSpec, ResizeMode,
};

use image::metadata::Orientation;

use self::normalize::Normalizer;
use self::resize::{Resampler, ResizePlan};

/// What an image may cost at most; checked against its header, before any pixel is decoded.
#[derive(Debug, Clone, Copy)]
pub struct ImageLimits {
    /// Largest width × height, in pixels.
    pub max_pixels: u64,
    /// Largest width or height, in pixels.
    pub max_side: u32,
}

/// Why an image was refused. The text is safe to show to a client, `detail` fields are for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// Nothing was sent.
    #[error("the image is empty: 0 bytes were sent")]
    Empty,
    /// The first bytes are those of no accepted format; `looks_like` names what they are, where that is known.
    #[error(
        "this is not an image in an accepted format{}: send JPEG, PNG, WebP or GIF",
        looks_like.map(|l| format!(" (it looks like {l})")).unwrap_or_default()
    )]
    UnsupportedFormat {
        /// The recognised format that is not accepted.
        looks_like: Option<&'static str>,
    },
    /// The data ends before the image does.
    #[error("the {format} ends before its picture is complete")]
    Truncated {
        /// Format by its first bytes.
        format: Format,
        /// The decoder's words.
        detail: String,
    },
    /// The data contradicts its format.
    #[error("the {format} is damaged and cannot be decoded")]
    Corrupt {
        /// Format by its first bytes.
        format: Format,
        /// The decoder's words.
        detail: String,
    },
    /// The format is accepted, this variant of it is not.
    #[error("this variant of {format} is not supported: {variant}")]
    UnsupportedVariant {
        /// Format by its first bytes.
        format: Format,
        /// What is special about it.
        variant: &'static str,
    },
    /// More pixels than [`ImageLimits::max_pixels`].
    #[error("the image has {width}×{height} = {} pixels, allowed are {max}", u64::from(*width) * u64::from(*height))]
    TooManyPixels {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        max: u64,
    },
    /// A frame that needs more memory than the largest image allowed.
    #[error("the {format} needs more memory to decode than an image of the allowed {max} pixels")]
    TooMuchMemory {
        /// Format by its first bytes.
        format: Format,
        /// The limit, in pixels.
        max: u64,
    },
    /// A side longer than [`ImageLimits::max_side`].
    #[error("the image is {width}×{height}, allowed are {max} pixels a side")]
    SideTooLong {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        max: u32,
    },
}

/// Facts about an uploaded image that its answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// Format by the first bytes, whatever the client called it.
    pub format: Format,
    /// Width in pixels, after orientation.
    pub width: u32,
    /// Height in pixels, after orientation.
    pub height: u32,
}

/// A preprocessed image and what it took.
#[derive(Debug)]
pub struct Preprocessed {
    /// `[3, crop, crop]`, normalized.
    pub tensor: Tensor,
    /// Facts for the answer.
    pub info: ImageInfo,
    /// Time from bytes to RGB pixels.
    pub decode: Duration,
    /// Time from RGB pixels to the tensor.
    pub preprocess: Duration,
}

/// The preprocessing of one model, with its tables made once.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    spec: PreprocessSpec,
    limits: ImageLimits,
    normalizer: Normalizer,
    resample: ResampleKernel,
}

impl Preprocessor {
    /// Prepares the tables for `spec`, which must be valid ([`PreprocessSpec::validate`]).
    #[must_use]
    pub fn new(spec: PreprocessSpec, limits: ImageLimits) -> Preprocessor {
        let normalizer = Normalizer::new(NormalizeKernel::detect(), spec.mean, spec.std);
        Preprocessor {
            spec,
            limits,
            normalizer,
            resample: ResampleKernel::detect(),
        }
    }

    /// What this preprocessor does, as data.
    #[must_use]
    pub fn spec(&self) -> &PreprocessSpec {
        &self.spec
    }

    /// Decodes, orients, resizes, crops and normalizes one image.
    ///
    /// # Shapes
    /// - `bytes`: an encoded image
    /// - returns: a `[3, crop, crop]` tensor
    ///
    /// # Errors
    /// [`PreprocessError`]: the image's fault, each with its cause.
    pub fn run(&self, bytes: &[u8], exif: ExifMode) -> Result<Preprocessed, PreprocessError> {
        let start = Instant::now();
        let format = self::sniff::accepted_format(bytes)?;
        let mut decoder = decode::open(bytes, format, self.limits)?;
        let stored = decoder.size();
        let turn = match exif {
            ExifMode::Apply => decoder.orientation(),
            ExifMode::Ignore => Orientation::NoTransforms,
        };
        let (width, height) = exif::upright_size(stored, turn);
        let planning = Instant::now();
        let plan = ResizePlan::new((width, height), &self.spec, self.resample);
        let region = exif::stored_region(plan.region(), stored, turn);
        let mut resampler = Resampler::new(plan);
        let mut preprocess = planning.elapsed();
        let mut push = |rows: &[u8]| {
            let start = Instant::now();
            resampler.push(rows);
            preprocess += start.elapsed();
        };
        if turn == Orientation::NoTransforms {
            decoder.decode(region, &mut push)?;
        } else {
            let mut pixels = Vec::with_capacity(region.width as usize * region.height as usize * 3);
            decoder.decode(region, &mut |rows| pixels.extend_from_slice(rows))?;
            push(&exif::upright(&pixels, (region.width, region.height), turn));
        }
        let decoded = Instant::now();
        let crop = resampler.finish();
        let tensor = self.normalizer.run(&crop, self.spec.crop as usize);
        let info = ImageInfo {
            format,
            width,
            height,
        };
        Ok(Preprocessed {
            tensor,
            info,
            decode: (decoded - start).saturating_sub(preprocess),
            preprocess: preprocess + decoded.elapsed(),
        })
    }
}
