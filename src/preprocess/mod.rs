//! Bytes of an image to the network's input tensor, with the pixels that training saw.
//!
//! Called by `classifier` on a `prep-N` thread; hands a `[3, H, W]` tensor to the batcher, or the bytes that become one
//! where the network normalizes them itself. Never touches the network, the disk or another image.

mod ahead;
#[cfg(feature = "avif")]
mod avif;
mod bmp;
mod bmp_runs;
#[cfg(any(feature = "heic", feature = "avif", feature = "jxl"))]
mod boxes;
mod budget;
mod decode;
mod error;
mod exif;
mod file_name;
mod filter;
mod geometry;
mod gif;
mod gif_head;
#[cfg(feature = "heic")]
mod heic;
#[cfg(feature = "heic")]
mod heic_units;
#[cfg(any(feature = "heic", feature = "avif"))]
mod heif;
mod ico;
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
mod lookalike;
mod mangled;
mod normalize;
mod open_image;
mod options;
mod png;
mod png_chunks;
mod pnm;
mod pool;
mod qoi;
mod resize;
mod samples;
mod schedule;
mod sniff;
mod source;
mod spec;
mod stage;
#[cfg(test)]
mod tests;
mod tga;
mod tiff;
mod tiff_chunks;
mod tiff_directory;
mod tiff_samples;
mod vp8;
mod vp8l;
mod watch;
mod webp;
#[cfg(any(feature = "heic", feature = "avif"))]
mod ycbcr;

use std::time::{Duration, Instant};

use crate::tensor::{Crop, Image, Tensor};
use kernels::{NormalizeKernel, ResampleKernel};

pub use self::budget::MemoryBudget;
pub use self::error::PreprocessError;
pub use self::exif::ExifMode;
pub use self::file_name::named_as_image;
pub use self::geometry::Rectangle;
pub use self::lookalike::looks_like;
pub use self::options::{DamagedImages, DecodeSize, ImageLimits, ImageOptions};
pub use self::pool::{Pool, PoolClosed, PoolTask, UnderWay, most_under_way};
pub use self::sniff::{Format, sniff};
pub use self::source::Source;
pub use self::spec::{
    Channels, CropRounding, IMAGENET_MEAN, IMAGENET_STD, Interpolation, MAX_SIDE, PreprocessSpec,
    ResizeMode,
};
pub use self::stage::{Pixels, Stage, StageOutput};
pub use self::watch::Interest;

use self::normalize::Normalizer;
use self::open_image::{OpenImage, completed};
use self::resize::{Pose, ResizePlan};
use self::watch::Watch;

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
pub struct Preprocessed<T = Tensor> {
    /// The image as far as it was taken.
    pub image: T,
    /// The image's facts for the answer.
    pub info: ImageInfo,
    /// Time from bytes to RGB pixels.
    pub decode: Duration,
    /// Time from RGB pixels to the image as it is.
    pub preprocess: Duration,
}

impl<T: Into<Image>> Preprocessed<T> {
    /// Converts its image, a tensor or a crop, into an [`Image`].
    #[must_use]
    pub fn into_image(self) -> Preprocessed<Image> {
        Preprocessed {
            image: self.image.into(),
            info: self.info,
            decode: self.decode,
            preprocess: self.preprocess,
        }
    }
}

/// The preprocessing of one model, with its tables made once.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    spec: PreprocessSpec,
    options: ImageOptions,
    normalizer: Normalizer,
    resample: ResampleKernel,
}

impl Preprocessor {
    /// Prepares the tables for `spec`, which must be valid ([`PreprocessSpec::validate`]).
    ///
    /// # Panics
    /// If the CPU does not support the instruction set of `options`.
    #[must_use]
    pub fn new(spec: PreprocessSpec, options: ImageOptions) -> Preprocessor {
        const SUPPORTED: &str = "an instruction set that this CPU supports";
        let normalize = NormalizeKernel::new(options.isa).expect(SUPPORTED);
        Preprocessor {
            normalizer: Normalizer::new(normalize, &spec),
            resample: ResampleKernel::new(options.isa).expect(SUPPORTED),
            spec,
            options,
        }
    }

    /// What this preprocessor does, as data.
    #[must_use]
    pub fn spec(&self) -> &PreprocessSpec {
        &self.spec
    }

    /// Decodes, orients, resizes, crops and normalizes one image.
    ///
    /// `interest` is asked now and then whether anybody still waits for the result.
    ///
    /// # Shapes
    /// - `bytes`: an encoded image
    /// - returns: a `[3, height, width]` tensor of the crop's size
    ///
    /// # Errors
    /// [`PreprocessError`], each with its cause; a decoder's panic is one too.
    pub fn run(
        &self,
        bytes: &[u8],
        exif: ExifMode,
        interest: &dyn Interest,
    ) -> Result<Preprocessed, PreprocessError> {
        let cropped = self.crop(bytes, exif, interest)?;
        let start = Instant::now();
        Ok(Preprocessed {
            image: self.normalizer.run(&cropped.image),
            info: cropped.info,
            decode: cropped.decode,
            preprocess: cropped.preprocess + start.elapsed(),
        })
    }

    /// Decodes, orients, resizes and crops one image, as [`Preprocessor::run`] without the normalization.
    ///
    /// # Errors
    /// As of [`Preprocessor::run`].
    pub fn crop(
        &self,
        bytes: &[u8],
        exif: ExifMode,
        interest: &dyn Interest,
    ) -> Result<Preprocessed<Crop>, PreprocessError> {
        let cropped = self.decoded_crop(bytes, exif, interest);
        cropped.map_err(|error| mangled::explained(error, bytes))
    }

    fn decoded_crop(
        &self,
        bytes: &[u8],
        exif: ExifMode,
        interest: &dyn Interest,
    ) -> Result<Preprocessed<Crop>, PreprocessError> {
        let start = Instant::now();
        let watch = Watch::start(self.options.timeout, interest);
        let bytes = completed(bytes, &self.options);
        let mut image = OpenImage::open(&bytes, exif, &self.options)?;
        let info = image.info();
        if !interest.may_decode(u64::from(info.width) * u64::from(info.height)) {
            return Err(PreprocessError::Canceled);
        }
        self.reduce(&mut image);
        let (rgb, resampling) = image.resample(self.plan(image.pose()), &watch)?;
        let crop = Crop::new(self.spec.crop, rgb);
        Ok(Preprocessed {
            image: match self.spec.channels {
                Channels::Rgb => crop,
                Channels::Bgr => crop.with_reversed_channels(),
            },
            info,
            decode: start.elapsed().saturating_sub(resampling),
            preprocess: resampling,
        })
    }

    /// Lets a large picture become smaller while it is decoded, if that is wanted.
    fn reduce(&self, image: &mut OpenImage<'_>) {
        if self.options.size == DecodeSize::Reduced {
            image.reduce(self.spec.resize.longest().saturating_mul(2));
        }
    }

    /// How an image becomes the crop.
    fn plan(&self, pose: Pose) -> ResizePlan {
        ResizePlan::new(pose, &self.spec, self.resample)
    }
}
