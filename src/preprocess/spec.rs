//! What a network was trained on: the resize, crop and normalization of its training pipeline, as data.
//!
//! Read from `models/catalog.toml` or a model's `model.toml`; `registry` hands it to a `Preprocessor`.

use serde::{Deserialize, Serialize};

use crate::tensor::Size;

/// Mean of the ImageNet training set per RGB channel, on the scale 0 to 1.
///
/// Source: torchvision's reference transforms; the value every ResNet of the catalogue was trained with.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of the ImageNet training set per RGB channel, on the scale 0 to 1. Source: as [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Which size an image is resized to before the crop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// The shorter side to `resize`, the longer one in proportion: torchvision's `Resize(resize)`.
    #[default]
    ShorterSide,
    /// Both sides to those of `resize`, whatever the proportion: torchvision's `Resize((height, width))`.
    Stretch,
    /// In proportion, as small as it can be with no side shorter than that of `resize`: timm's for inputs that are not
    /// square.
    Cover,
}

impl ResizeMode {
    /// The word for it in `model.toml` and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ResizeMode::ShorterSide => "shorter-side",
            ResizeMode::Stretch => "stretch",
            ResizeMode::Cover => "cover",
        }
    }
}

/// Where the crop begins if an odd number of rows or columns is too much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropRounding {
    /// Half of what is too much, halves rounded to the even number: torchvision's, as Python's `round` does.
    #[default]
    HalfEven,
    /// Rounded down: that of Hugging Face, TensorFlow, and whoever writes `(height - crop) // 2`.
    Down,
}

impl CropRounding {
    /// The word for it in `model.toml` and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CropRounding::HalfEven => "half-even",
            CropRounding::Down => "down",
        }
    }
}

/// The filter that resizes; both are stretched when shrinking (antialiased), as Pillow does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Pillow's `BILINEAR`: a triangle.
    #[default]
    Bilinear,
    /// Pillow's `BICUBIC`: cubic convolution with `a` = -0.5.
    Bicubic,
}

impl Interpolation {
    /// The word for it in `model.toml` and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        }
    }
}

/// The order in which a network takes the colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue: PyTorch's, and most others'.
    #[default]
    Rgb,
    /// Blue, green, red: Caffe's, of images that `cv2` reads, and Keras' where it has Caffe's weights.
    Bgr,
}

impl Channels {
    /// The word for it in `model.toml` and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Channels::Rgb => "rgb",
            Channels::Bgr => "bgr",
        }
    }
}

/// The preprocessing a network expects: `Resize → CenterCrop(crop) → ToTensor → Normalize(mean, std)`.
///
/// A channel's value is `(pixel · scale / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessSpec {
    /// Size that an image is resized to, as `resize_mode` says; a square for the shorter side.
    pub resize: Size,
    /// How `resize` gives the size of the resized image.
    pub resize_mode: ResizeMode,
    /// The filter of the resize.
    pub interpolation: Interpolation,
    /// The size that is cut out of the middle, which is that of the network's input. Equal to `resize`, it cuts off
    /// what one side has too much, or nothing of a stretched image.
    pub crop: Size,
    /// How the upper left corner of the crop is rounded.
    pub crop_rounding: CropRounding,
    /// The order of the network's channels, and of `mean` and `std`.
    pub channels: Channels,
    /// What white is before `mean` and `std`: 1 where pixels are taken as 0 to 1, 255 where they stay as stored.
    pub scale: f32,
    /// Subtracted per channel, on the scale of `scale`.
    pub mean: [f32; 3],
    /// Divided by per channel after subtracting the mean.
    pub std: [f32; 3],
}

impl Default for PreprocessSpec {
    /// The ImageNet standard: shorter side 256 by the bilinear filter, center crop 224, ImageNet mean and standard
    /// deviation.
    fn default() -> Self {
        PreprocessSpec {
            resize: Size::square(256),
            resize_mode: ResizeMode::ShorterSide,
            interpolation: Interpolation::Bilinear,
            crop: Size::square(224),
            crop_rounding: CropRounding::HalfEven,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

/// Largest `resize` and `crop` accepted, in pixels: four times the largest input any published ResNet uses (600 or
/// less), small enough that one tensor stays below 50 MB.
pub const MAX_SIDE: u32 = 2048;

/// Allowed values of `scale`: whatever the range of pixels was, it had an end, and 16 bits are the most that are stored.
const MIN_SCALE: f32 = 0.001;
const MAX_SCALE: f32 = 65535.0;

impl PreprocessSpec {
    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// A sentence naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<(), String> {
        let PreprocessSpec { resize, crop, .. } = self;
        for (name, size) in [("resize", resize), ("crop", crop)] {
            let allowed = 1..=MAX_SIDE;
            if !allowed.contains(&size.height) || !allowed.contains(&size.width) {
                return Err(format!(
                    "{name} is {size}, allowed are 1 to {MAX_SIDE} pixels"
                ));
            }
        }
        if self.resize_mode == ResizeMode::ShorterSide && !resize.is_square() {
            return Err(format!(
                "resize is {resize}, but resize_mode \"shorter-side\" takes one number: allowed are \"stretch\" and \
                 \"cover\" for height and width"
            ));
        }
        if crop.height > resize.height || crop.width > resize.width {
            return Err(format!(
                "crop is {crop}, larger than resize {resize}: the crop must fit into the resized image"
            ));
        }
        if !(MIN_SCALE..=MAX_SCALE).contains(&self.scale) {
            return Err(format!(
                "scale is {}, allowed are {MIN_SCALE} to {MAX_SCALE}: 1 for pixels from 0 to 1, 255 for pixels as stored",
                self.scale
            ));
        }
        if let Some(mean) = self.mean.iter().find(|m| !m.is_finite()) {
            return Err(format!("mean holds {mean}, allowed are finite numbers"));
        }
        if let Some(std) = self.std.iter().find(|s| !s.is_finite() || **s <= 0.0) {
            return Err(format!(
                "std holds {std}, allowed are finite numbers above 0"
            ));
        }
        self.validate_range()
    }

    /// Checks that mean and deviation are numbers of the pixels' range.
    fn validate_range(&self) -> Result<(), String> {
        let scale = self.scale;
        // What is subtracted from pixels of 0 to `scale`, and what divides them, is no more than that; 1 divides by nothing.
        let above = |limit: f32| move |value: &&f32| value.abs() > limit.max(1.0);
        let beyond = [("mean", &self.mean), ("std", &self.std)]
            .into_iter()
            .find_map(|(name, values)| Some((name, values.iter().find(above(scale))?)));
        if let Some((name, value)) = beyond {
            let hint = match scale < 255.0 {
                true => "; for a network that takes pixels from 0 to 255, write scale = 255",
                false => "",
            };
            return Err(format!(
                "{name} holds {value}, but pixels are 0 to {scale}{hint}"
            ));
        }
        let is_small = |value: &f32| *value != 0.0 && value.abs() < 1.0;
        let small = [("mean", &self.mean), ("std", &self.std)]
            .into_iter()
            .find(|(_, values)| values.iter().all(is_small));
        match small {
            Some((name, values)) if scale >= 100.0 => Err(format!(
                "{name} is {values:?}, but pixels are 0 to {scale}: give it on that scale, or leave scale out for pixels \
                 from 0 to 1"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_of_before_the_modes_means_what_it_meant() {
        let spec: PreprocessSpec = toml::from_str("resize = 232\ncrop = 200").expect("valid");
        assert_eq!(
            (spec.resize_mode, spec.interpolation, spec.crop_rounding),
            (
                ResizeMode::ShorterSide,
                Interpolation::Bilinear,
                CropRounding::HalfEven
            )
        );
        assert_eq!(
            (spec.resize, spec.crop),
            (Size::square(232), Size::square(200))
        );
    }

    #[test]
    fn sides_that_differ_are_height_and_width() {
        let of = |text: &str| toml::from_str::<PreprocessSpec>(text).expect(text);
        let spec = of("resize = [200, 300]\ncrop = [192, 288]\nresize_mode = \"cover\"");
        assert_eq!(spec.validate(), Ok(()));
        assert_eq!((spec.crop.height, spec.crop.width), (192, 288));
        let json = serde_json::to_value(&spec).expect("plain values");
        assert_eq!(json["resize"], serde_json::json!([200, 300]));
        assert_eq!(json["resize_mode"], spec.resize_mode.name());
        for (text, words) in [
            (
                "resize = [200, 300]\ncrop = 200",
                "resize is [200, 300], but resize_mode \"shorter-side\" takes one number",
            ),
            (
                "resize = 256\ncrop = [224, 288]",
                "crop is [224, 288], larger than resize 256",
            ),
            (
                "resize = [64, 32]\ncrop = [32, 64]\nresize_mode = \"stretch\"",
                "crop is [32, 64], larger than resize [64, 32]",
            ),
            ("crop = [0, 224]", "crop is [0, 224], allowed are 1 to 2048"),
            ("resize = [256, 2049]", "resize is [256, 2049], allowed"),
        ] {
            let error = of(text).validate().expect_err(text);
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn modes_are_spelled_as_documented_and_others_are_refused_with_the_choice() {
        let text = "resize_mode = \"stretch\"\ninterpolation = \"bicubic\"\nresize = 224";
        let spec: PreprocessSpec = toml::from_str(text).expect("valid");
        assert_eq!(spec.resize_mode, ResizeMode::Stretch);
        assert_eq!(spec.interpolation, Interpolation::Bicubic);
        assert_eq!(spec.validate(), Ok(()));
        let json = serde_json::to_value(&spec).expect("plain values");
        assert_eq!(json["resize_mode"], "stretch");
        assert_eq!(json["interpolation"], spec.interpolation.name());
        assert_eq!(json["crop_rounding"], spec.crop_rounding.name());
        for (text, choice) in [
            (
                "resize_mode = \"squash\"",
                "`shorter-side`, `stretch`, `cover`",
            ),
            ("interpolation = \"lanczos\"", "`bilinear` or `bicubic`"),
            ("crop_rounding = \"up\"", "`half-even` or `down`"),
        ] {
            let error = toml::from_str::<PreprocessSpec>(text).expect_err(text);
            assert!(error.to_string().contains(choice), "{error}");
        }
    }

    #[test]
    fn mean_and_deviation_must_be_of_the_pixels_range() {
        let of = |text: &str| {
            let spec: PreprocessSpec = toml::from_str(text).expect(text);
            spec.validate()
        };
        for (text, words) in [
            (
                "mean = [123.675, 116.28, 103.53]",
                "mean holds 123.675, but pixels are 0 to 1; for a network that takes pixels from 0 to 255, write scale = 255",
            ),
            (
                "mean = [0.485, 0.456, 1.5]",
                "mean holds 1.5, but pixels are 0 to 1",
            ),
            ("mean = [-123.0, 0.0, 0.0]", "mean holds -123, but"),
            (
                "mean = [0, 0, 0]\nstd = [255, 255, 255]",
                "std holds 255, but pixels are 0 to 1",
            ),
            (
                "scale = 2\nmean = [2.5, 2.5, 2.5]\nstd = [1, 1, 1]",
                "mean holds 2.5, but pixels are 0 to 2",
            ),
            (
                "scale = 255",
                "mean is [0.485, 0.456, 0.406], but pixels are 0 to 255",
            ),
            (
                "scale = 255\nmean = [123.675, 116.28, 103.53]",
                "std is [0.229, 0.224, 0.225], but pixels are 0 to 255",
            ),
            (
                "scale = 255\nmean = [300, 0, 0]\nstd = [1, 1, 1]",
                "mean holds 300, but pixels are 0 to 255",
            ),
            ("scale = 0", "scale is 0, allowed are 0.001 to 65535"),
            ("scale = -1", "scale is -1"),
            ("scale = inf", "scale is inf"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.starts_with(words), "{text}: {error}");
        }
        for text in [
            "channels = \"bgr\"\nscale = 255\nmean = [103.939, 116.779, 123.68]\nstd = [1, 1, 1]",
            "scale = 255\nmean = [0, 0, 0]\nstd = [255, 255, 255]",
            "scale = 255\nmean = [127.5, 127.5, 127.5]\nstd = [127.5, 127.5, 127.5]",
            "scale = 2\nmean = [1, 1, 1]\nstd = [1, 1, 1]",
            "mean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]",
            "mean = [0, 0, 0]\nstd = [1, 1, 1]",
            "mean = [1, 1, 1]\nstd = [0.5, 0.5, 0.5]",
        ] {
            assert_eq!(of(text), Ok(()), "{text}");
        }
        let error =
            toml::from_str::<PreprocessSpec>("channels = \"gbr\"").expect_err("no such order");
        assert!(error.to_string().contains("`rgb` or `bgr`"), "{error}");
    }

    #[test]
    fn crop_larger_than_the_resized_image_is_refused_in_every_mode() {
        for resize_mode in [
            ResizeMode::ShorterSide,
            ResizeMode::Stretch,
            ResizeMode::Cover,
        ] {
            let spec = PreprocessSpec {
                resize: Size::square(223),
                resize_mode,
                ..PreprocessSpec::default()
            };
            let error = spec.validate().expect_err("224 of 223");
            assert!(
                error.contains("crop is 224, larger than resize 223"),
                "{error}"
            );
        }
    }
}
