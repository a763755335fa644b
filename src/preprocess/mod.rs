//! Bytes of an image to the network's input tensor, with the pixels that training saw.
//!
//! Called by `classifier` on a `prep-N` thread; hands a `[3, H, W]` tensor to the batcher. Never touches the network,
//! the disk or another image.

mod budget;
mod decode;
mod exif;
#[cfg(test)]
mod formats;
mod gif;
mod jpeg;
mod normalize;
mod png;
mod pool;
mod resize;
mod samples;
mod sniff;
mod spec;
mod stage;
mod watch;
mod webp;

use std::time::{Duration, Instant};

use crate::tensor::Tensor;

pub use self::exif::ExifMode;
pub use self::pool::{Pool, PoolClosed};
pub use self::sniff::{Format, sniff};
pub use self::spec::{IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, PreprocessSpec};
pub use self::stage::{Pixels, Stage, StageOutput};

use self::decode::{Decoder, Region, RowSink};
use self::exif::Orientation;
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
}

impl Preprocessor {
    /// Prepares the tables for `spec`, which must be valid ([`PreprocessSpec::validate`]).
    #[must_use]
    pub fn new(spec: PreprocessSpec, limits: ImageLimits) -> Preprocessor {
        let normalizer = Normalizer::new(spec.mean, spec.std);
        Preprocessor {
            spec,
            limits,
            normalizer,
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
        let mut source = self.open(bytes, exif)?;
        let plan = self.plan(source.size());
        let (crop, resampling) = source.resample(&plan)?;
        let resampled = Instant::now();
        let tensor = self.normalizer.run(&crop, self.spec.crop as usize);
        Ok(Preprocessed {
            tensor,
            info: source.info(),
            decode: (resampled - start).saturating_sub(resampling),
            preprocess: resampling + resampled.elapsed(),
        })
    }

    fn open<'a>(
        &self,
        bytes: &'a [u8],
        exif: ExifMode,
    ) -> Result<UprightSource<'a>, PreprocessError> {
        let format = self::sniff::accepted_format(bytes)?;
        let decoder = decode::open(bytes, format, self.limits)?;
        let turn = match exif {
            ExifMode::Apply => decoder.orientation(),
            ExifMode::Ignore => Orientation::NoTransforms,
        };
        Ok(UprightSource {
            decoder,
            format,
            turn,
        })
    }

    /// How an upright image of this size becomes the crop.
    fn plan(&self, size: (u32, u32)) -> ResizePlan {
        ResizePlan::new(size, self.spec.resize, self.spec.crop)
    }
}

/// An image whose header has been read, seen upright.
struct UprightSource<'a> {
    decoder: Box<dyn Decoder + 'a>,
    format: Format,
    turn: Orientation,
}

impl UprightSource<'_> {
    fn size(&self) -> (u32, u32) {
        exif::upright_size(self.decoder.size(), self.turn)
    }

    fn info(&self) -> ImageInfo {
        let (width, height) = self.size();
        ImageInfo {
            format: self.format,
            width,
            height,
        }
    }

    /// Decodes and hands the rows of a region of the upright image to `sink`, from top to bottom.
    fn decode(&mut self, region: Region, sink: &mut RowSink<'_>) -> Result<(), PreprocessError> {
        let region = exif::stored_region(region, self.decoder.size(), self.turn);
        if self.turn == Orientation::NoTransforms {
            return self.decoder.decode(region, sink);
        }
        let mut pixels = Vec::with_capacity(region.width as usize * region.height as usize * 3);
        self.decoder
            .decode(region, &mut |rows| pixels.extend_from_slice(rows))?;
        sink(&exif::upright(
            &pixels,
            (region.width, region.height),
            self.turn,
        ));
        Ok(())
    }

    /// What the plan makes of the image, `[rows, columns, 3]`, and how long that took besides decoding.
    fn resample(&mut self, plan: &ResizePlan) -> Result<(Vec<u8>, Duration), PreprocessError> {
        let mut resampler = Resampler::new(plan);
        let mut spent = Duration::ZERO;
        self.decode(plan.region(), &mut |rows| {
            let start = Instant::now();
            resampler.push(rows);
            spent += start.elapsed();
        })?;
        let last = Instant::now();
        let pixels = resampler.finish();
        Ok((pixels, spent + last.elapsed()))
    }
}
