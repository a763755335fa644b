//! What a network was trained on: the resize, crop and normalization of its training pipeline, as data.
//!
//! Read from `models/catalog.toml` or a model's `model.toml`; `registry` hands it to a `Preprocessor`.

use serde::{Deserialize, Serialize};

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
    /// Both sides to `resize`, whatever the proportion: torchvision's `Resize((resize, resize))`.
    Stretch,
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

/// The preprocessing a network expects: `Resize → CenterCrop(crop) → ToTensor → Normalize(mean, std)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessSpec {
    /// Length in pixels that the shorter side is resized to, or both sides, as `resize_mode` says.
    pub resize: u32,
    /// Which size that makes.
    pub resize_mode: ResizeMode,
    /// The filter.
    pub interpolation: Interpolation,
    /// Side in pixels of the square cut out of the middle; the network's input height and width. Equal to `resize`, it
    /// cuts off what the longer side has too much, or nothing of a stretched image.
    pub crop: u32,
    /// Subtracted per RGB channel after scaling to 0–1.
    pub mean: [f32; 3],
    /// Divided by per RGB channel after subtracting the mean.
    pub std: [f32; 3],
}

impl Default for PreprocessSpec {
    /// The ImageNet standard: shorter side 256 by the bilinear filter, center crop 224, ImageNet mean and standard
    /// deviation.
    fn default() -> Self {
        PreprocessSpec {
            resize: 256,
            resize_mode: ResizeMode::ShorterSide,
            interpolation: Interpolation::Bilinear,
            crop: 224,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

/// Largest `resize` and `crop` accepted, in pixels: four times the largest input any published ResNet uses (600 or
/// less), small enough that one tensor stays below 50 MB.
pub const MAX_SIDE: u32 = 2048;

impl PreprocessSpec {
    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// A sentence naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(format!(
                    "{name} is {value}, allowed are 1 to {MAX_SIDE} pixels"
                ));
            }
        }
        if self.crop > self.resize {
            return Err(format!(
                "crop is {}, larger than resize {}: the crop must fit into the resized image",
                self.crop, self.resize
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_of_before_the_modes_means_what_it_meant() {
        let spec: PreprocessSpec = toml::from_str("resize = 232\ncrop = 200").expect("valid");
        assert_eq!(
            (spec.resize_mode, spec.interpolation),
            (ResizeMode::ShorterSide, Interpolation::Bilinear)
        );
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
        for (text, choice) in [
            ("resize_mode = \"squash\"", "`shorter-side` or `stretch`"),
            ("interpolation = \"lanczos\"", "`bilinear` or `bicubic`"),
        ] {
            let error = toml::from_str::<PreprocessSpec>(text).expect_err(text);
            assert!(error.to_string().contains(choice), "{error}");
        }
    }

    #[test]
    fn crop_larger_than_the_resized_image_is_refused_in_every_mode() {
        for resize_mode in [ResizeMode::ShorterSide, ResizeMode::Stretch] {
            let spec = PreprocessSpec {
                resize: 223,
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
