//! A model that is being served: what it is, how images become its input, and what it has done.
//!
//! Made by `Classifier::start`; its threads ask it for each image.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{RecentClasses, Statistics};
use crate::preprocess::{ExifMode, ImageInfo, Interest, PreprocessError, Preprocessor, Source};
use crate::registry::LoadedModel;
use crate::tensor::Image;

/// A model that is being served.
#[derive(Debug)]
pub struct ServedModel {
    /// The loaded model: its name, network, preprocessing and labels.
    pub info: LoadedModel,
    pub(super) preprocessor: Preprocessor,
    pub(super) lane: usize,
    pub(super) statistics: Arc<Statistics>,
    pub(super) recent_classes: Arc<RecentClasses>,
}

/// An image as its network takes it.
pub(super) struct TakenImage {
    pub(super) image: Image,
    /// Format and size of an encoded image; none of pixels and values, which are no file.
    pub(super) info: Option<ImageInfo>,
    pub(super) decode: Duration,
    pub(super) preprocess: Duration,
}

impl ServedModel {
    /// The counts and times of the model's requests so far.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The classes that its images got of late.
    #[must_use]
    pub fn recent_classes(&self) -> &RecentClasses {
        &self.recent_classes
    }

    /// One image as its network takes it: normalization is left to a network that does it itself.
    pub(super) fn take(
        &self,
        source: &Source,
        exif: ExifMode,
        interest: &dyn Interest,
    ) -> Result<TakenImage, PreprocessError> {
        let preprocessor = &self.preprocessor;
        let takes_bytes = self.info.model.spec().takes_bytes;
        let start = Instant::now();
        let image: Image = match source {
            Source::Encoded(bytes) => {
                let preprocessed = match takes_bytes {
                    true => preprocessor.crop(bytes, exif, interest)?.into_image(),
                    false => preprocessor.run(bytes, exif, interest)?.into_image(),
                };
                return Ok(TakenImage {
                    image: preprocessed.image,
                    info: Some(preprocessed.info),
                    decode: preprocessed.decode,
                    preprocess: preprocessed.preprocess,
                });
            }
            Source::Pixels(bytes) => {
                let crop = preprocessor.pixels(bytes);
                match takes_bytes {
                    true => crop.into(),
                    false => preprocessor.normalize(&crop),
                }
            }
            Source::Values(bytes) => return Ok(self.take_values(bytes)),
        };
        Ok(TakenImage {
            image,
            info: None,
            decode: Duration::ZERO,
            preprocess: start.elapsed(),
        })
    }

    /// The network's own numbers, for which there is nothing to do.
    pub(super) fn take_values(&self, values: &Bytes) -> TakenImage {
        TakenImage {
            image: self.preprocessor.values(values).into(),
            info: None,
            decode: Duration::ZERO,
            preprocess: Duration::ZERO,
        }
    }
}
