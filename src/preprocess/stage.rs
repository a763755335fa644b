//! The stages of preprocessing one by one, for whoever wants to see what the network sees.
//!
//! Called by `resnet preprocess`. `Cropped` and `Tensor` come from the code that serves; `Decoded` and `Resized` ask
//! the same decoder and resampler for the whole picture, where serving asks for what the crop needs.

use super::geometry::target_size;
use super::open_image::{OpenImage, completed};
use super::resize::ResizePlan;
use super::watch::Watch;
use super::{ExifMode, PreprocessError, Preprocessor};
use crate::tensor::{Size, Tensor};

/// How far an image is taken on its way to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Decoded and turned upright.
    Decoded,
    /// Decoded, turned upright and resized, all of it.
    Resized,
    /// Resized and then cropped.
    Cropped,
    /// Cropped and then normalized: the network's input.
    Tensor,
}

/// 8-bit RGB pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]`, row-major.
    pub rgb: Vec<u8>,
}

/// What an image is after a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum StageOutput {
    /// The pixels after every stage but the last.
    Pixels(Pixels),
    /// The network's input after the last stage: `[3, height, width]` of the crop.
    Tensor(Tensor),
}

impl Preprocessor {
    /// Takes one image through the stages up to `stage`.
    ///
    /// # Errors
    /// [`PreprocessError`]: the image's fault. [`PreprocessError::TooManyPixels`] also for a resized image of more
    /// pixels than an image may have: one of 1×16384 pixels would become 256×4194304. Serving never makes it whole.
    pub fn stage(
        &self,
        bytes: &[u8],
        exif: ExifMode,
        stage: Stage,
    ) -> Result<StageOutput, PreprocessError> {
        if stage == Stage::Tensor {
            return Ok(StageOutput::Tensor(self.run(bytes, exif, &|| false)?.image));
        }
        let watch = Watch::start(self.options.timeout, &|| false);
        let bytes = completed(bytes, &self.options);
        let mut source = OpenImage::open(&bytes, exif, &self.options)?;
        if stage != Stage::Decoded {
            self.reduce(&mut source);
        }
        let size = source.size();
        let ((width, height), rgb) = match stage {
            Stage::Decoded => (size, source.pixels(&watch)?),
            Stage::Resized => {
                let to = target_size(size, &self.spec);
                self.check_resized(to)?;
                let plan = ResizePlan::whole(source.pose(), &self.spec, self.resample);
                (to, interleaved(&source.resample(plan, &watch)?.0, to.0))
            }
            Stage::Cropped | Stage::Tensor => {
                let Size { height, width } = self.spec.crop;
                let planes = source.resample(self.plan(source.pose()), &watch)?.0;
                ((width, height), interleaved(&planes, width))
            }
        };
        Ok(StageOutput::Pixels(Pixels { width, height, rgb }))
    }

    fn check_resized(&self, (width, height): (u32, u32)) -> Result<(), PreprocessError> {
        let max = self.options.limits.max_pixels;
        if u64::from(width) * u64::from(height) > max {
            return Err(PreprocessError::TooManyPixels { width, height, max });
        }
        Ok(())
    }
}

/// `[rows, 3, columns]` to `[rows, columns, 3]`.
fn interleaved(planes: &[u8], columns: u32) -> Vec<u8> {
    let columns = columns as usize;
    let row = |row: &[u8]| {
        let pixel = |x: usize| [row[x], row[columns + x], row[2 * columns + x]];
        (0..columns).flat_map(pixel).collect::<Vec<_>>()
    };
    planes.chunks_exact(3 * columns).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::geometry::crop_windows;
    use super::*;
    use crate::preprocess::{ImageLimits, ImageOptions, PreprocessSpec};
    use proptest::prelude::*;

    const LIMITS: ImageLimits = ImageLimits {
        max_pixels: 1_000_000,
        max_side: 16_384,
    };

    fn preprocessor(resize: u32, crop: u32) -> Preprocessor {
        let spec = PreprocessSpec {
            resize: Size::square(resize),
            crop: Size::square(crop),
            ..PreprocessSpec::default()
        };
        Preprocessor::new(
            spec,
            ImageOptions {
                limits: LIMITS,
                ..ImageOptions::default()
            },
        )
    }

    fn png(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().expect("a vector takes everything");
        writer
            .write_image_data(rgb)
            .expect("a picture of this size");
        drop(writer);
        bytes
    }

    fn pixels(preprocessor: &Preprocessor, bytes: &[u8], stage: Stage) -> Pixels {
        match preprocessor.stage(bytes, ExifMode::Apply, stage) {
            Ok(StageOutput::Pixels(pixels)) => pixels,
            other => panic!("{stage:?}: {other:?}"),
        }
    }

    proptest! {
        #[test]
        fn crop_of_the_resized_picture_is_the_crop_that_is_served(
            width in 1u32..120, height in 1u32..120, resize in 1u32..90, less in 0u32..90,
        ) {
            let crop = resize.saturating_sub(less).max(1);
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * i % 251) as u8).collect();
            let (bytes, preprocessor) = (png(&rgb, width, height), preprocessor(resize, crop));
            let decoded = pixels(&preprocessor, &bytes, Stage::Decoded);
            prop_assert_eq!((decoded.width, decoded.height, &decoded.rgb), (width, height, &rgb));

            let resized = pixels(&preprocessor, &bytes, Stage::Resized);
            let cropped = pixels(&preprocessor, &bytes, Stage::Cropped);
            prop_assert_eq!(resized.width.min(resized.height), resize);
            prop_assert_eq!((cropped.width, cropped.height), (crop, crop));
            let ((left, _), (top, _)) = crop_windows((resized.width, resized.height), preprocessor.spec());
            let left = left as usize * 3;
            let cut: Vec<u8> = resized.rgb
                .chunks_exact(resized.width as usize * 3)
                .skip(top as usize)
                .take(crop as usize)
                .flat_map(|row| row[left..left + crop as usize * 3].to_vec())
                .collect();
            prop_assert_eq!(&cut, &cropped.rgb);

            let Ok(StageOutput::Tensor(tensor)) = preprocessor.stage(&bytes, ExifMode::Apply, Stage::Tensor) else {
                panic!("a tensor");
            };
            let area = (crop * crop) as usize;
            let PreprocessSpec { mean, std, .. } = preprocessor.spec;
            for (i, &value) in tensor.data().iter().enumerate() {
                let (channel, pixel) = (i / area, i % area);
                let x = f32::from(cropped.rgb[pixel * 3 + channel]);
                prop_assert_eq!(value, (x / 255.0 - mean[channel]) / std[channel]);
            }
        }
    }

    #[test]
    fn resized_picture_beyond_the_limit_is_refused_although_its_crop_is_served() {
        let (strip, preprocessor) = (png(&[9; 3 * 600], 1, 600), preprocessor(64, 64));
        let error = preprocessor
            .stage(&strip, ExifMode::Apply, Stage::Resized)
            .expect_err("64×38400 pixels");
        assert!(
            matches!(
                error,
                PreprocessError::TooManyPixels {
                    width: 64,
                    height: 38_400,
                    max: 1_000_000
                }
            ),
            "{error}"
        );
        assert_eq!(
            pixels(&preprocessor, &strip, Stage::Cropped).rgb,
            [9; 3 * 64 * 64]
        );
    }

    #[test]
    fn stages_are_upright_unless_the_orientation_is_ignored() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/images/exif_orientation_6.jpg"
        );
        let bytes = std::fs::read(path).expect("a fixture");
        let preprocessor = preprocessor(32, 32);
        let size = |exif| match preprocessor.stage(&bytes, exif, Stage::Decoded) {
            Ok(StageOutput::Pixels(p)) => (p.width, p.height),
            other => panic!("{other:?}"),
        };
        assert_eq!(size(ExifMode::Apply), (64, 48));
        assert_eq!(size(ExifMode::Ignore), (48, 64));
    }
}
